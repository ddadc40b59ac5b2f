"""What a WSGI host has to do, as tests: PEP 3333, and what adapters have got wrong (lost bodies, spoofed fields,
`close` not called, answers held back). For hosts on real sockets.

    class TestMine(WsgiSuite):
        @pytest.fixture
        async def serve(self) -> AsyncIterator[Serve]: ...      # serve(application) -> the port on 127.0.0.1

A host needs at least four threads that work at the same time, or more as they wait.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from wsgiref.validate import validator

from skerry.testing.raw_http import SECONDS, RawConnection, ask, until

WsgiApp = Callable[[dict[str, Any], Any], Any]
Serve = Callable[[WsgiApp], Awaitable[int]]
Headers = list[tuple[str, str]]
PLAIN: Headers = [("Content-Type", "text/plain")]


class Closing:
    """An iterable that notes when and where it is closed. `after`: raise there, so many parts on."""

    def __init__(self, parts: list[bytes], *, after: int | None = None) -> None:
        self._parts, self._after = parts, after
        self.thread = threading.get_ident()
        self.closed: list[int] = []

    def __iter__(self) -> Iterator[bytes]:
        for number, part in enumerate(self._parts):
            if number == self._after:
                raise ValueError("as the test wants it")
            yield part

    def close(self) -> None:
        self.closed.append(threading.get_ident())


class WsgiSuite:
    """See the module."""

    keeps_reason = True
    """Whether the reason phrase of a status arrives (ASGI has none)."""

    # The environ

    async def test_the_environ_says_who_what_and_where(self, serve: Serve) -> None:
        """Every key that PEP 3333 asks for, with values of the right type."""
        seen: list[dict[str, Any]] = []

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            seen.append(dict(environ))
            start("200 OK", PLAIN)
            return [b"ok"]

        port = await serve(app)
        await ask(
            port,
            "POST /caf%C3%A9/a%2Fb?x=1&y=%20 HTTP/1.1",
            "Content-Type: text/x",
            "Content-Length: 0",
            "X-A: 1",
        )
        [environ] = seen
        assert all(type(environ[key]) is str for key in environ if key.isupper()), environ
        assert environ["REQUEST_METHOD"] == "POST"
        assert environ["PATH_INFO"] == "/café/a/b".encode().decode("latin-1")
        assert environ["QUERY_STRING"] == "x=1&y=%20"
        assert environ["SERVER_PORT"] == str(port)
        assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
        assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/x", "0")
        assert environ["HTTP_X_A"] == "1"
        assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(environ)
        assert environ["wsgi.version"] == (1, 0)
        assert environ["wsgi.url_scheme"] == "http"
        assert environ["wsgi.run_once"] is False
        assert {"wsgi.multithread", "wsgi.multiprocess", "wsgi.errors", "SCRIPT_NAME"} <= set(environ)
        if "RAW_URI" in environ:
            assert environ["RAW_URI"] == "/caf%C3%A9/a%2Fb?x=1&y=%20"

    async def test_nobody_passes_for_a_field_of_a_proxy(self, serve: Serve) -> None:
        """A name with an underscore is not merged with the real one; cookies are one line."""

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("200 OK", PLAIN)
            return [f"{environ.get('HTTP_X_FORWARDED_FOR')}|{environ.get('HTTP_COOKIE')}".encode()]

        fields = ("X_Forwarded_For: evil", "X-Forwarded-For: good", "Cookie: a=1", "Cookie: b=2")
        assert (await ask(await serve(app), "GET / HTTP/1.1", *fields)).body == b"good|a=1; b=2"

    async def test_nothing_stays_from_one_request_to_the_next(self, serve: Serve) -> None:
        """Neither in context variables nor in the environ."""
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="clean")

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("200 OK", PLAIN)
            found = f"{variable.get()} {environ.get('mine')}"
            variable.set("dirty")
            environ["mine"] = environ["HTTP_HOST"] = "dirty"
            return [found.encode()]

        wire = await RawConnection.open(await serve(app))
        for _ in range(8):
            assert (await wire.ask("GET / HTTP/1.1")).body == b"clean None"
        wire.close()

    # The head

    async def test_status_reason_and_values_arrive_as_given(self, serve: Serve) -> None:
        """Latin-1 is allowed in values (and raised UnicodeEncodeError in others)."""

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("404 Nowhere", [*PLAIN, ("X-Name", "café"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
            return [b"ok"]

        wire = await RawConnection.open(await serve(app))
        await wire.send("GET / HTTP/1.1")
        raw = await wire.reader.readuntil(b"\r\n\r\n")
        assert raw.startswith(b"HTTP/1.1 404 Nowhere\r\n" if self.keeps_reason else b"HTTP/1.1 404 ")
        assert "x-name: café".encode("latin-1") in raw.replace(b"X-Name", b"x-name")
        assert raw.lower().count(b"set-cookie: ") == 2
        wire.close()

    async def test_the_head_waits_for_the_first_part(self, serve: Serve) -> None:
        """Until then it may be replaced, with exc_info; what comes then is the error page, not 200."""

        def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            start("200 OK", PLAIN)
            yield b""
            try:
                raise LookupError("found out late")
            except LookupError:
                start("500 Oh", [*PLAIN, ("X-Error", "yes")], sys.exc_info())
            yield b"sorry"

        found = await ask(await serve(app), "GET / HTTP/1.1")
        assert (found.status, found.headers["x-error"], found.body) == (500, "yes", b"sorry")

    async def test_after_the_head_exc_info_is_raised_again(self, serve: Serve) -> None:
        """The answer is cut off: a client must not take it for complete."""
        raised: list[BaseException] = []

        def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            start("200 OK", PLAIN)
            yield b"begun"
            try:
                raise LookupError("found out late")
            except LookupError:
                try:
                    start("500 Oh", PLAIN, sys.exc_info())
                except LookupError as error:
                    raised.append(error)
                    raise
            yield b"never"

        found = await ask(await serve(app), "GET / HTTP/1.1")
        # A host that has not sent it yet may still say that it failed.
        assert (found.status, found.body, found.ended) == (200, b"begun", True) or found.status == 500
        assert len(raised) == 1

    async def test_what_would_break_the_message_is_refused(self, serve: Serve) -> None:
        """Hop-by-hop fields, line ends in values, parts that are no bytes, a body without a head, no answer: 500."""

        def app(environ: dict[str, Any], start: Any) -> Any:
            match environ["PATH_INFO"]:
                case "/hop":
                    start("200 OK", [("Connection", "close")])
                case "/split":
                    start("200 OK", [("X-A", "1\r\nX-B: 2")])
                case "/text":
                    start("200 OK", PLAIN)
                    return ["text"]
                case "/lazy":
                    start("200 OK", PLAIN)
                    return iter(["text"])
                case "/headless":
                    return [b"body"]
                case "/nothing":
                    return None
                case "/exit":
                    raise SystemExit(3)
                case "/raises":
                    raise ValueError("as the test wants it")
                case _:
                    start("200 OK", PLAIN)
            return [b"ok"]

        port = await serve(app)
        for path in ("/hop", "/split", "/text", "/lazy", "/headless", "/nothing", "/exit", "/raises"):
            found = await ask(port, f"GET {path} HTTP/1.1")
            assert (path, found.status) == (path, 500)
            assert b"Traceback" not in found.body
            assert (await ask(port, "GET / HTTP/1.1")).status == 200, f"after {path}"

    # The body of an answer

    async def test_an_answer_of_one_part_has_a_length(self, serve: Serve) -> None:
        """And the connection is kept."""

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("200 OK", PLAIN)
            return [b"hello"] if environ["PATH_INFO"] == "/one" else []

        wire = await RawConnection.open(await serve(app))
        for _ in range(3):
            found = await wire.ask("GET /one HTTP/1.1")
            assert (found.headers["content-length"], found.body) == ("5", b"hello")
            found = await wire.ask("GET /none HTTP/1.1")
            assert (found.headers["content-length"], found.body) == ("0", b"")
        wire.close()

    async def test_parts_are_sent_as_they_come(self, serve: Serve) -> None:
        """A part is on its way before the application is asked for the next, by iteration and by `write`."""
        seen = threading.Event()

        def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            write = start("200 OK", PLAIN)
            if environ["PATH_INFO"] == "/write":
                write(b"first")
                assert seen.wait(SECONDS)
                write(b"second")
            else:
                yield b"first"
                assert seen.wait(SECONDS)
                yield b""
                yield b"second"

        port = await serve(app)
        for path in ("/iterate", "/write"):
            seen.clear()
            wire = await RawConnection.open(port)
            await wire.send(f"GET {path} HTTP/1.1")
            assert (await wire.head()).headers["transfer-encoding"] == "chunked"
            assert await wire.chunk() == b"first"
            seen.set()
            assert await wire.chunk() == b"second"
            assert await wire.chunk() is None
            wire.close()

    async def test_a_length_is_kept(self, serve: Serve) -> None:
        """What is beyond it is not sent, and the connection goes on; less of it is a connection that breaks off."""

        def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            start("200 OK", [*PLAIN, ("Content-Length", "5")])
            yield from ([b"hel", b"lo and more", b"more"] if environ["PATH_INFO"] == "/long" else [b"hel"])

        port = await serve(app)
        wire = await RawConnection.open(port)
        assert (await wire.ask("GET /long HTTP/1.1")).body == b"hello"
        assert (await wire.ask("GET /long HTTP/1.1")).body == b"hello"
        wire.close()
        found = await ask(port, "GET /short HTTP/1.1")
        assert (found.body, found.ended) == (b"hel", True)

    async def test_answers_without_a_body_have_none(self, serve: Serve) -> None:
        """HEAD, 204 and 304, whatever the application returns; HEAD keeps the declared length."""

        def app(environ: dict[str, Any], start: Any) -> Any:
            status = environ["PATH_INFO"][1:]
            start(f"{status} Status", [("Content-Length", "5")] if status == "200" else [])
            return Closing([b"hello", b"and more"]) if environ["QUERY_STRING"] else [b"hello"]

        wire = await RawConnection.open(await serve(app))
        for query in ("", "?parts"):
            assert (await wire.ask(f"HEAD /200{query} HTTP/1.1")).headers["content-length"] == "5"
            assert (await wire.ask(f"GET /204{query} HTTP/1.1")).status == 204
            assert (await wire.ask(f"GET /304{query} HTTP/1.1")).status == 304
            assert (await wire.ask(f"GET /200{query} HTTP/1.1")).body == b"hello"
        wire.close()

    async def test_the_iterable_is_closed_once_in_its_thread(self, serve: Serve) -> None:
        """After a whole answer, after an error before and behind the head, after a client that has left."""
        made: list[Closing] = []
        gone = threading.Event()

        def app(environ: dict[str, Any], start: Any) -> Any:
            start("200 OK", PLAIN)
            match environ["PATH_INFO"]:
                case "/early":
                    found = Closing([b"a", b"b"], after=0)
                case "/late":
                    found = Closing([b"a", b"b"], after=1)
                case "/left":
                    found = Closing([b"x" * 65_536] * 10_000)
                case _:
                    found = Closing([b"a", b"b"])
            made.append(found)
            return found

        port = await serve(app)
        for number, path in enumerate(("/whole", "/early", "/late", "/left")):
            wire = await RawConnection.open(port)
            await wire.send(f"GET {path} HTTP/1.1")
            await wire.head()
            if path == "/left":
                wire.writer.transport.abort()
                gone.set()
            await until(lambda number=number: bool(made[number].closed))  # type: ignore[misc]
            wire.close()
        await ask(port, "GET /whole HTTP/1.1")
        assert [found.closed for found in made[:4]] == [[found.thread] for found in made[:4]]

    async def test_a_client_that_does_not_read_holds_the_application_back(self, serve: Serve) -> None:
        """What is made for it and not sent stays bounded."""
        sent = [0]

        def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            start("200 OK", PLAIN)
            for _ in range(4_000):
                sent[0] += 65_536
                yield b"x" * 65_536

        wire = await RawConnection.open(await serve(app))
        await wire.send("GET / HTTP/1.1")
        await wire.head()
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        same, last = 0, -1
        while same < 20:
            await asyncio.sleep(0.02)
            same, last = (same + 1, last) if sent[0] == last else (0, sent[0])
        assert sent[0] < 64_000_000
        wire.writer.transport.abort()

    # Files

    async def test_a_file_is_sent_from_where_it_stands(self, serve: Serve) -> None:
        """By `wsgi.file_wrapper`, where the host has one, and closed once; a HEAD sends none of it."""
        closed: list[int] = []

        def app(environ: dict[str, Any], start: Any) -> Any:
            file: Any = tempfile.TemporaryFile() if environ["PATH_INFO"] == "/file" else io.BytesIO()  # noqa: SIM115
            file.write(b"0123456789" * 100_000)
            file.seek(10)
            start("200 OK", [*PLAIN, ("Content-Length", "999990")] if environ["QUERY_STRING"] else PLAIN)
            wrapper = environ.get("wsgi.file_wrapper", lambda file, size: iter(lambda: file.read(size), b""))
            result = wrapper(file, 8192)
            if hasattr(result, "close"):
                closing = result.close

                def close() -> None:
                    closed.append(1)
                    closing()

                result.close = close
            return result

        wire = await RawConnection.open(await serve(app))
        for path in ("/file", "/file?length", "/memory", "/memory?length"):
            found = await wire.ask(f"GET {path} HTTP/1.1")
            assert found.body == b"0123456789" * 99_999, path
            await wire.ask(f"HEAD {path} HTTP/1.1")
        assert (await wire.ask("GET /file HTTP/1.1")).status == 200
        wire.close()
        await until(lambda: len(closed) == 9)

    # The body of a request

    async def test_a_body_is_read_in_every_way(self, serve: Serve) -> None:
        """With a length and in chunks, which have none: `read` ends at the end and gives nothing beyond it."""

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            body = environ["wsgi.input"]
            match environ["PATH_INFO"]:
                case "/all":
                    found = [body.read()]
                case "/some":
                    found = [body.read(4), body.read(0), body.read(1_000_000)]
                case "/line":
                    found = [body.readline(), body.readline(3), body.readline()]
                case "/lines":
                    found = body.readlines()
                case _:
                    found = list(body)
            start("200 OK", PLAIN)
            return [b"|".join([*found, body.read(), body.read(10), body.readline()])]

        sent = b"first\nsecond\nthird"
        expected = {
            "/all": b"first\nsecond\nthird|||",
            "/some": b"firs||t\nsecond\nthird|||",
            "/line": b"first\n|sec|ond\n|third||",
            "/lines": b"first\n|second\n|third|||",
            "/each": b"first\n|second\n|third|||",
        }
        port = await serve(app)
        for path, wanted in expected.items():
            found = await ask(port, f"POST {path} HTTP/1.1", f"Content-Length: {len(sent)}", body=sent)
            assert found.body == wanted, path
            wire = await RawConnection.open(port)
            await wire.send(f"POST {path} HTTP/1.1", "Transfer-Encoding: chunked")
            for part in (b"fir", b"st\nse", b"cond\nth", b"ird"):
                wire.writer.write(b"%x\r\n%b\r\n" % (len(part), part))
                await wire.writer.drain()
                await asyncio.sleep(0)
            wire.writer.write(b"0\r\n\r\n")
            assert (await wire.answer()).body == wanted, f"{path} in chunks"
            wire.close()

    async def test_a_read_waits_for_its_bytes(self, serve: Serve) -> None:
        """A `readline` before anything has come is not an empty line (and the body lost with it)."""
        asked = threading.Event()

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            asked.set()
            line = environ["wsgi.input"].readline(100)
            start("200 OK", PLAIN)
            return [line + b"|" + environ["wsgi.input"].read(5)]

        wire = await RawConnection.open(await serve(app))
        await wire.send("POST / HTTP/1.1", "Content-Length: 10")
        await until(asked.is_set)
        wire.writer.write(b"line\n")
        await wire.writer.drain()
        await asyncio.sleep(0.02)
        wire.writer.write(b"12345")
        assert (await wire.answer()).body == b"line\n|12345"
        wire.close()

    async def test_a_body_that_breaks_off_is_an_error(self, serve: Serve) -> None:
        """Not a short body: an upload cut in half must not be taken for a whole one."""
        asked, raised = threading.Event(), list[BaseException]()

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            asked.set()
            try:
                environ["wsgi.input"].read()
            except OSError as error:
                raised.append(error)
                raise
            start("200 OK", PLAIN)
            return [b"taken for whole"]

        port = await serve(app)
        for number, abort in enumerate((False, True)):
            asked.clear()
            wire = await RawConnection.open(port)
            await wire.send("POST / HTTP/1.1", "Content-Length: 10", body=b"half")
            await until(asked.is_set)
            if abort:
                wire.writer.transport.abort()
            else:
                wire.writer.write_eof()
            await until(lambda number=number: len(raised) == number + 1)  # type: ignore[misc]
            wire.close()

    async def test_100_continue_is_sent_when_the_body_is_asked_for(self, serve: Serve) -> None:
        """Once, at the first read; an application that does not read answers at once, without it."""

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            data = environ["wsgi.input"].read(5) if environ["PATH_INFO"] == "/read" else b"not read"
            start("200 OK", PLAIN)
            return [data]

        port = await serve(app)
        wire = await RawConnection.open(port)
        await wire.send("POST /read HTTP/1.1", "Content-Length: 5", "Expect: 100-continue")
        async with asyncio.timeout(SECONDS):
            assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.writer.write(b"hello")
        assert (await wire.answer()).body == b"hello"
        assert wire.informed == []
        wire.close()
        wire = await RawConnection.open(port)
        await wire.send("POST /no HTTP/1.1", "Content-Length: 5", "Expect: 100-continue")
        assert (await wire.answer()).body == b"not read"
        assert wire.informed == []
        wire.close()

    async def test_a_client_is_read_as_fast_as_the_application_reads(self, serve: Serve) -> None:
        """An upload that nobody reads does not pile up in memory; then it is read to its end."""
        go = threading.Event()
        size = 48_000_000

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            assert go.wait(SECONDS)
            body, found = environ["wsgi.input"], 0
            while data := body.read(65_536):
                found += len(data)
            start("200 OK", PLAIN)
            return [b"%d" % found]

        wire = await RawConnection.open(await serve(app))
        await wire.send("POST / HTTP/1.1", f"Content-Length: {size}")
        wire.writer.transport.set_write_buffer_limits(high=0)
        sent = same = 0
        while same < 20 and sent < size:
            try:
                async with asyncio.timeout(0.02):
                    await wire.writer.drain()
            except TimeoutError:
                same += 1
                continue
            wire.writer.write(b"x" * 1_000_000)
            sent, same = sent + 1_000_000, 0
        assert sent < 32_000_000
        go.set()
        for _ in range((size - sent) // 1_000_000):
            wire.writer.write(b"x" * 1_000_000)
            async with asyncio.timeout(SECONDS):
                await wire.writer.drain()
        assert (await wire.answer()).body == b"%d" % size
        wire.close()

    # The connection

    async def test_requests_wait_together(self, serve: Serve) -> None:
        """Four that wait for each other: one thread for all of them would never answer."""
        barrier = threading.Barrier(4)

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            barrier.wait(SECONDS)
            start("200 OK", PLAIN)
            return [b"ok"]

        port = await serve(app)
        found = await asyncio.gather(*(ask(port, "GET / HTTP/1.1") for _ in range(4)))
        assert [each.status for each in found] == [200] * 4

    async def test_pipelined_requests_are_answered_in_order(self, serve: Serve) -> None:
        """Those with bodies too."""

        def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            data = environ["wsgi.input"].read()
            start("200 OK", PLAIN)
            yield environ["PATH_INFO"].encode()
            yield data

        wire = await RawConnection.open(await serve(app))
        for number in range(5):
            wire.writer.write(
                f"POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{number}".encode()
            )
        assert [(await wire.answer()).body for _ in range(5)] == [b"/%d%d" % (n, n) for n in range(5)]
        wire.close()

    async def test_http_1_0_gets_no_chunks(self, serve: Serve) -> None:
        """Its answer ends with the connection."""

        def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
            start("200 OK", PLAIN)
            yield b"one "
            yield b"two"

        found = await ask(await serve(app), "GET / HTTP/1.0")
        assert "transfer-encoding" not in found.headers
        assert found.body == b"one two"

    async def test_the_validator_finds_nothing(self, serve: Serve) -> None:
        """`wsgiref.validate` around an application that reads and writes in parts."""
        complaints: list[BaseException] = []

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            length = int(environ.get("CONTENT_LENGTH") or 0)
            data = environ["wsgi.input"].read(length) if length else b"none"
            start("200 OK", [("Content-Type", "text/plain")])
            return [data, b"!"]

        checked = validator(app)

        def watching(environ: dict[str, Any], start: Any) -> Any:
            try:
                return checked(environ, start)
            except AssertionError as error:
                complaints.append(error)
                raise

        port = await serve(watching)
        assert (await ask(port, "GET /a?b HTTP/1.1")).body == b"none!"
        assert (await ask(port, "POST /a HTTP/1.1", "Content-Length: 4", body=b"data")).body == b"data!"
        assert complaints == []
