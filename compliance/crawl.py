"""The same application under two servers, asked the same by a crawler that logs in, follows links and posts forms: both
have to answer alike, by status, header fields and body.

Each server has a copy of the database. What differs by itself is named in `ALONE` and `VARYING`: who sent it, when, and
secrets that are new with each page.
"""

from __future__ import annotations

import http.client
import re
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

from compliance.outcome import Outcome

ALONE = {
    "date": "the time of the answer",
    "server": "who it is",
    "connection": "how long connections are kept is the server's to decide",
    "keep-alive": "as connection",
    "transfer-encoding": "how an answer without a length is framed is the server's to decide",
    "content-length": "bodies are compared; some name the port",
}
"""Fields that are not compared, and why."""
VARYING = (
    (rb'(name="csrf(?:_?middleware)?_?token"[^>]*value=")[^"]*', rb"\1-"),
    (rb'(nonce[="-]+)[\w+/=-]+', rb"\1-"),
    (rb"/(?:skerry|gunicorn|uvicorn)(?=&#x27;)", rb"/COPY"),
    (rb"127\.0\.0\.1:\d+", rb"HOST"),
    (rb"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?[ap]\.?m\.?)?", rb"TIME"),
    (rb"\b(midnight|noon)\b|\d+ (p|a)\.m\.", rb"TIME"),
    (rb'("?(?:query_ms|duration_ms|ms)"?: ?|Queries took |took )[\d.]+', rb"\1-"),
    (rb"csrf[-_]?token&quot;: &quot;[^&]*", rb"csrf"),
    (rb"(csrfmiddlewaretoken=)\w+", rb"\1-"),
    (rb'(?i)("csrf_?token": ?")[^"]*', rb"\1-"),
    (rb"\b[0-9a-f]{32,64}\b", rb"HASH"),
    (rb"\b0x[0-9a-f]{8,16}\b", rb"ADDRESS"),
    (rb"\b([a-z]+)1\d{13,15}\b", rb"\1-"),  # Django's page for an error: where its frames lie in memory
)
"""What stands in bodies and differs each time: secrets, addresses, times."""
SKIPPED = re.compile(r"logout|signout|/delete/|jsi18n|/export|userbar|password_change/done")
UNSENT = ("file", "submit", "button", "image", "reset")
SECONDS = 60.0


@dataclass
class Form:
    """`fields` as (name, value), with what a user would have typed in."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)


class Page(HTMLParser):
    """The links and forms of one page, in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[Form] = []
        self._form: Form | None = None
        self._select = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        elif tag in ("link", "script", "img"):
            self.links += [found[name] for name in ("href", "src") if found.get(name)]
        elif tag == "form":
            self._form = Form(found.get("action", ""), found.get("method", "get").lower())
            self.forms.append(self._form)
        elif self._form is not None:
            self._take(self._form, tag, found)

    def _take(self, form: Form, tag: str, found: dict[str, str]) -> None:
        name, kind = found.get("name", ""), found.get("type", "text").lower()
        if tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            if found.get("value") and (
                "selected" in found or not any(n == self._select for n, _ in form.fields)
            ):
                form.fields = [each for each in form.fields if each[0] != self._select]
                form.fields.append((self._select, found["value"]))
        elif tag == "textarea" and name:
            form.fields.append((name, "crawled"))
        elif tag == "input" and name and kind not in UNSENT:
            if kind in ("checkbox", "radio"):
                if "checked" in found:
                    form.fields.append((name, found.get("value", "on")))
            else:
                form.fields.append((name, found.get("value") or _typed(kind)))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = ""


def _typed(kind: str) -> str:
    return {"number": "7", "email": "a@example.org", "url": "https://example.org/", "hidden": "",
            "date": "2024-02-29", "password": "crawled-1"}.get(kind, "crawled")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def compared(self) -> list[tuple[str, str]]:
        """The fields as they are compared: cookies by name and attributes."""
        found = []
        for name, value in self.fields:
            if name == "set-cookie":
                value = re.sub(r"=[^;]*", "=-", value, count=1)
                value = re.sub(r"expires=[^;]*", "expires=-", value, flags=re.I)
            if name not in ALONE:
                found.append((name, _plain(value.encode("latin-1")).decode("latin-1")))
        return sorted(found)


class Client:
    """One server, with the cookies that it has set."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cookies: dict[str, str] = {}

    def ask(self, method: str, target: str, fields: Sequence[tuple[str, str]] = ()) -> Answer:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        if not self._cookies:
            headers = {}
        data = None
        if method == "POST":
            data = urlencode(fields)
            headers |= {
                "Content-Type": "application/x-www-form-urlencoded",
                "Referer": f"http://127.0.0.1:{self._port}{target}",
            }
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
        try:
            connection.request(method, target, data, headers)
            answer = connection.getresponse()
            found = tuple((name.lower(), value) for name, value in answer.getheaders())
            body = answer.read()
        finally:
            connection.close()
        for name, value in found:
            if name == "set-cookie":
                key, _, rest = value.partition("=")
                self._cookies[key.strip()] = rest.partition(";")[0]
        return Answer(answer.status, found, body)

    def wait(self, target: str, seconds: float = 120.0) -> None:
        """Until it answers. Raises RuntimeError."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                self.ask("HEAD", target)
                self._cookies.clear()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"nobody answers on port {self._port}")


def _plain(body: bytes) -> bytes:
    body = body.partition(b'<div id="traceback">')[
        0
    ]  # of Django's page for an error: variables of that process
    for pattern, by in VARYING:
        body = re.sub(pattern, by, body)
    return re.sub(rb'(class="|"modelNames": \[")([^">]*(?:", "[^">]*)*)', _ordered, body)


def _ordered(found: re.Match[bytes]) -> bytes:
    """What an application makes of a set, whose order goes by addresses in memory."""
    return found[1] + b" ".join(sorted(re.split(rb'[ ",]+', found[2])))


def _difference(first: Answer, second: Answer) -> str:
    """What is not alike; empty when nothing is."""
    if first.status != second.status:
        return f"status {first.status}, {second.status}"
    if first.compared != second.compared:
        return f"fields {sorted(set(first.compared) ^ set(second.compared))}"
    ours, theirs = _plain(first.body), _plain(second.body)
    if ours != theirs:
        at = next(
            (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
            min(len(ours), len(theirs)),
        )
        return f"body at {at}: {ours[max(0, at - 60) : at + 60]!r}, {theirs[max(0, at - 60) : at + 60]!r}"
    return ""


def crawl(
    ours: int,
    theirs: int,
    begin: str,
    login: dict[str, str],
    *,
    most: int = 60,
    visited: list[str] | None = None,
) -> Outcome:
    """Ask both servers for `begin` and what can be reached from there, at most so many pages and forms. A form with
    the fields of `login` is filled in with them. `visited`: gets a line for each, with the status of ours."""
    visited = [] if visited is None else visited
    outcome = Outcome()
    clients = (Client(ours), Client(theirs))
    seen = {begin}
    waiting: deque[str] = deque([begin])
    while waiting and outcome.total < most:
        target = waiting.popleft()
        answers = [client.ask("GET", target) for client in clients]
        outcome.note(not (found := _difference(*answers)), f"GET {target}: {found}")
        visited.append(f"GET {target} {answers[0].status}")
        _follow(answers[0], target, seen, waiting)
        if "text/html" not in dict(answers[0].fields).get("content-type", ""):
            continue
        pages = [Page(answer.body.decode("utf-8", "replace")) for answer in answers]
        for number, form in enumerate(pages[0].forms):
            action = _inside(urljoin(target, form.action or target), target)
            names = sorted(name for name, _ in form.fields)
            key = f"{form.method} {action} {names}"
            if action is None or key in seen or number >= len(pages[1].forms) or SKIPPED.search(action):
                continue
            seen.add(key)
            given = []
            for client, page in zip(clients, pages, strict=True):
                values = [(name, login.get(name, value)) for name, value in page.forms[number].fields]
                query = f"{action.partition('?')[0]}?{urlencode(values)}"
                given.append(
                    client.ask("POST", action, values) if form.method == "post" else client.ask("GET", query)
                )
            outcome.note(not (found := _difference(*given)), f"{form.method.upper()} {action}: {found}")
            visited.append(f"{form.method.upper()} {action} {given[0].status}")
            _follow(given[0], action, seen, waiting, posted=form.method == "post")
    for client in clients:
        client.ask("HEAD", begin)
    return outcome


def _follow(
    answer: Answer, target: str, seen: set[str], waiting: deque[str], *, posted: bool = False
) -> None:
    """Note what leads on from here."""
    fields = dict(answer.fields)
    links = []
    if "location" in fields:
        # What an answer leads to is looked at again: it may have changed.
        found = _inside(urljoin(target, fields["location"]), target)
        if found is not None and not SKIPPED.search(found) and (found not in seen or posted):
            seen.add(found)
            waiting.append(found)
    if "text/html" in fields.get("content-type", ""):
        links += Page(answer.body.decode("utf-8", "replace")).links
    for link in links:
        found = _inside(urljoin(target, link), target)
        if found is not None and found not in seen and not SKIPPED.search(found):
            seen.add(found)
            waiting.append(found)


def _inside(url: str, target: str) -> str | None:
    """The target of a URL of the same server."""
    parts = urlsplit(url)
    if parts.scheme not in ("", "http") or parts.hostname not in (None, "127.0.0.1"):
        return None
    return (parts.path or target) + (f"?{parts.query}" if parts.query else "")
