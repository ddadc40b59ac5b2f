"""What pages of other origins may do (the Fetch standard's CORS protocol). Pure; lines are made at start.

`app.cors("https://page.example")` lets pages read and write; SKERRY_ORIGINS lets them listen and read. A view is
wrapped once, when the application is composed: its answer gets the ready lines of the origin that asks, on the lane as
on the ASGI side. Mounted applications say for themselves what they allow.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypedDict

from skerry.errors import DeclarationError
from skerry.http.auth import SAFE_METHODS
from skerry.http.headers import Headers
from skerry.http.origin import allowed, listed
from skerry.http.reply import Response, check_field, response_of
from skerry.http.request import Request
from skerry.http.routes import Missing

ORIGIN = re.compile(r"https?://([^/\s:@*]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?")
REQUEST_FIELDS = (
    "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "Prefer",
    "Skerry-Position", "X-Request-ID",
)  # fmt: skip
ANSWER_FIELDS = ("ETag", "Location", "Retry-After", "Skerry-Command", "Skerry-Position")


class CorsOptions(TypedDict, total=False):
    """What `cors` takes beside the origins: see `Application.cors`."""

    request_fields: Iterable[str]
    answer_fields: Iterable[str]
    credentials: bool
    max_age_seconds: int


@dataclass(frozen=True, slots=True)
class Cors:
    """`writers`: origins whose pages may read and write, `readers`: read only (also `:PORT`, pages of this host); `*`
    is everybody. `request_fields` they may send beyond `REQUEST_FIELDS`, `answer_fields` they may see beyond
    `ANSWER_FIELDS`. `credentials`: with cookies. `max_age_seconds`: how long a browser remembers what is allowed.
    Raises DeclarationError for what contradicts itself."""

    writers: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    request_fields: tuple[str, ...] = ()
    answer_fields: tuple[str, ...] = ()
    credentials: bool = False
    max_age_seconds: int = 600

    def __post_init__(self) -> None:
        for origin in self.writers:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise DeclarationError(f"cors: {origin!r} is no origin: http(s)://HOST[:PORT], or *")
        if self.credentials and "*" in self.writers:
            raise DeclarationError(
                "cors: credentials for everybody (*) are refused by browsers: name the origins"
            )
        for name in (*self.request_fields, *self.answer_fields):
            try:
                check_field(name, "")
            except ValueError as error:
                raise DeclarationError(f"cors: {error}") from error

    def __bool__(self) -> bool:
        return bool(self.writers or self.readers)


class Crossing:
    """The ready lines of one application."""

    def __init__(self, cors: Cors) -> None:
        self.cors = cors
        more = "Access-Control-Allow-Credentials: true\r\n" if cors.credentials else ""
        shown = ", ".join((*ANSWER_FIELDS, *cors.answer_fields))
        self._ends = f"{more}Access-Control-Expose-Headers: {shown}\r\n"
        self._everybody = {
            writes: "*" in cors.writers or (not writes and "*" in cors.readers) for writes in (True, False)
        }
        # Who asks without an origin gets another answer than a page, unless both get the same.
        self._plain = {
            writes: "" if every else "Vary: Origin\r\n" for writes, every in self._everybody.items()
        }
        self._lines = {
            origin.rstrip("/").lower(): self._made(origin.rstrip("/"), "Vary: Origin\r\n")
            for origin in cors.writers
        }

    def lines(self, method: str, headers: Headers, host: str | None = None) -> str:
        """What an answer to this says about other origins."""
        writes = method not in SAFE_METHODS
        if self._everybody[writes] and not self.cors.credentials:
            return self._made("*", "")
        origin = headers.get("origin")
        if origin is None:
            return self._plain[writes]
        ready = self._lines.get(origin.lower())
        if ready is None and not writes and self._may_read(origin, headers, host):
            ready = self._made(origin, "Vary: Origin\r\n")
        return ready if ready is not None else self._plain[writes]

    def preflight(self, missing: Missing, headers: Headers, host: str | None = None) -> Response | None:
        """The answer to a browser that asks before it sends; None when this is no such question, or not allowed."""
        wanted, origin = headers.get("access-control-request-method"), headers.get("origin")
        if wanted is None or origin is None:
            return None
        writer = listed(origin, self.cors.writers)
        if not writer and not self._may_read(origin, headers, host):
            return None
        methods = sorted(missing.allowed - {"OPTIONS"} if writer else missing.allowed & {"GET", "HEAD"})
        fields = {
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": ", ".join((*REQUEST_FIELDS, *self.cors.request_fields)),
            "Access-Control-Max-Age": str(self.cors.max_age_seconds),
            "Vary": "Access-Control-Request-Method, Access-Control-Request-Headers",
        }
        answer = Response(b"", 204, headers=fields)
        answer.head += self.lines("GET" if not writer else wanted, headers, host)
        return answer

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A composed view whose answers have the lines, whatever kind they are."""

        def called(request: Request, *parameters: Any) -> Any:
            return self.crossed(call(request, *parameters), request)

        return called

    def crossed(self, answer: Any, request: Request) -> Any:
        """That answer with its lines; one that is still to come gets them when it comes."""
        if answer.__class__ is Response:
            return self._with_lines(answer, request)
        if isinstance(answer, asyncio.Future):
            return self._later(answer, request)
        if inspect.iscoroutine(answer):
            return self._awaited(answer, request)
        if callable(answer) and hasattr(answer, "status_code"):
            _add(answer, self.lines(request.method, request.headers, request.peer.host))
            return answer
        return self._with_lines(response_of(answer), request)

    def _with_lines(self, answer: Response, request: Request) -> Response:
        lines = self.lines(request.method, request.headers, request.peer.host)
        if not lines:
            return answer
        made = answer.copy()  # a view may give the same answer to many
        made.head += lines
        return made

    async def _awaited(self, answer: Any, request: Request) -> Any:
        return self.crossed(await answer, request)

    def _later(self, answer: asyncio.Future[Any], request: Request) -> asyncio.Future[Any]:
        """A future of our own: who waits for this one must not cancel the view's."""
        result: asyncio.Future[Any] = answer.get_loop().create_future()

        def done(given: asyncio.Future[Any]) -> None:
            if result.done():
                return
            if given.cancelled():
                result.cancel()
                return
            error = given.exception()
            if error is not None:
                result.set_exception(error)
                return
            try:
                result.set_result(self.crossed(given.result(), request))
            except Exception as failed:
                result.set_exception(failed)

        answer.add_done_callback(done)
        return result

    def _may_read(self, origin: str, headers: Headers, host: str | None) -> bool:
        readers = self.cors.readers
        return (
            bool(readers)
            and allowed(origin, host or headers.get("host") or "", readers)
            and origin.isprintable()
        )

    def _made(self, origin: str, vary: str) -> str:
        return f"Access-Control-Allow-Origin: {origin}\r\n{vary}{self._ends}"


def _add(answer: Any, lines: str) -> None:
    """To an answer of Starlette's, unless it says for itself who may see it."""
    fields = getattr(answer, "raw_headers", None)
    if fields is None or any(name.lower() == b"access-control-allow-origin" for name, _ in fields):
        return
    for line in filter(None, lines.split("\r\n")):
        name, _, value = line.partition(": ")
        fields.append((name.lower().encode("ascii"), value.encode("latin-1")))


def reading(cors: Cors | None, origins: Iterable[str]) -> Cors:
    """With these origins as readers."""
    given = cors or Cors()
    return Cors(
        given.writers, (*given.readers, *origins), given.request_fields, given.answer_fields, given.credentials,
        given.max_age_seconds,
    )  # fmt: skip
