"""gunicorn's request corpora (MIT): requests in the raw, and what they mean, or that they have to be refused.

They come with gunicorn's source archive from the package index. What differs by choice is listed here with its reason;
anything else that differs is a failure.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compliance.outcome import Outcome

VERSION = "27.0.1"
SILENT_SECONDS = 1.0
_REASONS = {
    "a target has no fragment and no user (RFC 9112 section 3.2, RFC 9110 section 4.2.4)": (
        "valid/005", "valid/rfc9112_target_absolute_userinfo_01",
    ),
    "the only transfer coding here is chunked, any other is 501 (RFC 9112 section 6.1)": (
        "valid/025", "valid/025_line", "valid/029", "valid/030", "valid/rfc9112_smuggle_gzip_chunked_01",
        "valid/rfc9112_smuggle_te_identity_chunked_01",
    ),
    "no white space in a chunk extension (llhttp)": ("valid/013",),
    "an application's answer to HTTP/1.0 ends the connection": ("valid/022",),
    "no space before a colon, no folded line (RFC 9112 section 5)": (
        "valid/028", "valid/compat_obs_fold", "valid/compat_obs_fold_huge",
    ),
    "methods are those that are registered (llhttp)": ("valid/031", "valid/031compat", "valid/031compat2"),
    "the body is not complete": ("valid/099",),
    "the server answers OPTIONS * itself": ("valid/rfc9112_target_asterisk_options_01",),
    "this server is no proxy: CONNECT is 501": (
        "valid/rfc9112_target_authority_connect_01", "valid/rfc9112_target_authority_ipv6_01",
    ),
    "gunicorn's limits are smaller: ours are 8 KiB for a target, 32 KiB and 100 fields for a head": (
        "invalid/006", "invalid/007", "invalid/008", "invalid/017", "invalid/limit_header_default_01",
    ),
    "a limit that gunicorn's case sets by itself": ("invalid/010", "invalid/011", "invalid/012"),
    "X-Forwarded-Ssl is not read": ("invalid/019",),
    "only an option of gunicorn's refuses names with _; here they are left out of a WSGI environ": (
        "invalid/040", "invalid/chunked_07",
    ),
    "a second Content-Type frames nothing; the first one counts": ("invalid/041",),
    "trailers are dropped": ("invalid/rfc9110_trailer_forbidden_host_01",),
    "empty lines before a request are skipped (RFC 9112 section 2.2)": ("invalid/rfc9112_leading_crlf_02",),
}  # fmt: skip
DIFFERENT = {name: reason for reason, names in _REASONS.items() for name in names}
"""Name of a case -> why ours differs by choice."""


def source(directory: Path) -> Path:
    """gunicorn's source, fetched once. Raises RuntimeError when the index does not have it."""
    found = directory / f"gunicorn-{VERSION}"
    if not found.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-binary", ":all:", "--dest", str(directory), f"gunicorn=={VERSION}"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(
                f"gunicorn's source could not be fetched: {done.stderr.strip().splitlines()[-1]}"
            )
        with tarfile.open(directory / f"gunicorn-{VERSION}.tar.gz") as archive:
            archive.extractall(directory, filter="data")
    return found


@dataclass(frozen=True, slots=True)
class Case:
    """`wanted`: method, target and body of each request; None: refused."""

    name: str
    data: bytes
    wanted: list[list[str]] | None


def cases(directory: Path) -> Iterator[Case]:
    """All of both corpora."""
    folder = source(directory) / "tests" / "requests"
    sys.path.insert(0, str(source(directory)))  # the expectations name its classes
    for kind in ("valid", "invalid"):
        for path in sorted((folder / kind).glob("*.http")):
            wanted = expected(path.with_suffix(".py"))
            yield Case(f"{kind}/{path.stem}", raw(path.read_bytes()), wanted)


def raw(text: bytes) -> bytes:
    """The bytes that a file stands for: its line ends are none, those of the request are written as escapes."""
    data = text.replace(b"\n", b"").replace(b"\\r\\n", b"\r\n").replace(b"\\r", b"\r").replace(b"\\n", b"\n")
    data = data.replace(b"\\0", b"\0").replace(b"\\t", b"\t")
    data = re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda found: bytes((int(found[1], 16),)), data)
    return re.sub(
        rb"(?:(?m:^)|(?<=\}))([A-Z-]+ \S+ HTTP/1\.1\r\n)((?:[^\r\n]+\r\n)*)(?=\r\n)", _with_host, data
    )


def _with_host(found: re.Match[bytes]) -> bytes:
    """Of a head that has none: gunicorn does not ask for one."""
    line, fields = found[1], found[2]
    before = found.string[: found.start()]
    in_a_body = b"Content-Length: 24\r\n" in before and before.endswith(b"\r\n\r\n")
    has_one = in_a_body or b"\nhost:" in b"\n" + fields.lower()
    return line + (b"" if has_one else b"Host: example.com\r\n") + fields


def expected(path: Path) -> list[list[str]] | None:
    """What a file says that its requests mean, None: refused."""
    names: dict[str, Any] = {"uri": lambda text: text, "cfg": None}
    exec(compile(path.read_text(), str(path), "exec"), names)
    found = names["request"]
    if isinstance(found, type):
        return None
    requests = found if isinstance(found, list) else [found]
    return [[each["method"], _path(_text(each["uri"])), _text(each.get("body", b""))] for each in requests]


def _path(target: str) -> str:
    """Of an absolute target what a server calls its own."""
    return re.sub(r"^https?://[^/?]*", "", target) or "/"


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def heard(port: int, data: bytes, *, half_close: bool = False) -> tuple[bytes, bool]:
    """What a server says to these bytes until it closes or is silent for a while; whether it closed."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.settimeout(SILENT_SECONDS)
        try:
            sock.sendall(data)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
            while part := sock.recv(65_536):
                found += part
        except TimeoutError:
            return found, False
        except OSError:
            pass
    return found, True


def understood(answers: bytes) -> tuple[list[int], list[list[str]]]:
    """The statuses, and what the 200s say."""
    statuses = [int(each) for each in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answers)]
    said: list[list[str]] = []
    for body in re.findall(rb"\r\n\r\n(\[.*?\])(?=HTTP/1|$)", answers, re.DOTALL):
        try:
            said.append(json.loads(body))
        except ValueError:
            pass
    return statuses, said


def run(port: int, directory: Path, *, choices: bool) -> Outcome:
    """All of them against one server. `choices`: what differs by ours is no failure."""
    outcome = Outcome()
    for case in cases(directory):
        statuses, said = understood(heard(port, case.data, half_close=True)[0])
        refused = any(status >= 400 for status in statuses) or not statuses
        good = refused if case.wanted is None else said == case.wanted
        shown = f"{case.name}: {statuses or 'closed'}"
        if case.wanted is not None and not good:
            shown += f" {said} != {case.wanted}"
        outcome.note(good, shown, DIFFERENT.get(case.name) if choices else None)
    return outcome
