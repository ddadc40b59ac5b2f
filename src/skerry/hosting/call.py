"""One request of a WSGI application: run in a thread, answered in the loop, never more than a little ahead of it.

The thread calls the application, iterates what it returns and closes it, all in one place. Parts of the answer go into
an outbox; one wake-up of the loop takes whatever is there, and the thread waits while too much of it is unsent. The
two sides share no lock: each counts what it did itself, and `bell` wakes a thread that waits.

    fields set by the thread: `_outbox` (appends), `_put`, `_done`, `_start`      by the loop: `_sent`, `_dead`
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from skerry.exchange import ClientDisconnected, Exchange, Fields, Head
from skerry.hosting.body import Inbox, TooLarge
from skerry.hosting.environ import Environs
from skerry.hosting.plain import answer
from skerry.hosting.pool import Worker
from skerry.hosting.settings import HostSettings
from skerry.hosting.start import Start
from skerry.hosting.strict import Strict
from skerry.hosting.wrapper import FileWrapper, regular_file
from skerry.provenance import carried, provenance

logger = logging.getLogger("skerry.host")

UNSENT_BYTES = 262_144
"""Of one answer, beyond what the transport has; then its thread waits."""
PIECE_BYTES = 131_072
"""What is written at once."""
WAIT_SECONDS = 5.0
"""A thread that waits looks this often by itself; a change wakes it before."""
TRACE_NAME = "HTTP_TRACEPARENT"
_BODILESS = (204, 304)
_NOTHING: dict[str, Any] = {}


class Surroundings(Protocol):
    """The host, as a request sees it."""

    application: Any
    environs: Environs
    strict: Strict
    settings: HostSettings
    loop: asyncio.AbstractEventLoop
    late: int
    """The status of an answer that did not come in time."""
    queue_seconds: float
    """How long a request may wait for a thread; 0: for ever."""

    def post(self, work: Callable[[], None]) -> None:
        """Have it done in the loop; called in threads. Raises RuntimeError when there is none any more."""
        ...

    def answered(self, call: Call, status: int) -> None:
        """Its answer is complete, or cut off (0); in the loop."""
        ...

    def route_of(self, environ: dict[str, Any], result: Any) -> str:
        """What the framework says which route it was; in the thread."""
        ...

    @property
    def begin(self) -> Callable[[dict[str, Any]], None] | None:
        """What the framework has to note when the application begins its answer; in the thread."""
        ...

    @property
    def gather(self) -> Callable[[dict[str, Any]], None]:
        """What the framework needs before it can read a body without a length; in the thread."""
        ...

    @property
    def release(self) -> Callable[[dict[str, Any]], None]:
        """Releases what the framework has left; in the thread, when everything was sent and closed."""
        ...


class Call:
    """An `Answerer` in the loop, a `Job` in a thread."""

    __slots__ = (
        "_body", "_dead", "_done", "_exchange", "_file", "_head_error", "_host", "_inbox", "_left", "_moved", "_outbox",
        "_over", "_pulling", "_put", "_sent", "_start", "_waking", "_worker", "began", "head", "received",
        "route", "too_large",
    )  # fmt: skip

    def __init__(self, host: Surroundings, exchange: Exchange) -> None:
        self._host, self._exchange = host, exchange
        self.head: Head = exchange.head
        self.received = self.began = self._moved = time.monotonic()
        self.route = ""
        self._worker: Worker | None = None
        self._start = Start()
        self._body: bytes | None = None  # as a whole, where it is here already
        self._inbox: Inbox | None = None
        self._pulling = self._waking = False
        self._outbox: deque[bytes | memoryview] = deque()
        self._put = self._sent = 0
        self._left: int | None = None  # of the declared length
        self._file: tuple[int, int, int] | None = None
        self._done = False  # nothing comes behind the outbox
        self._over = False  # nothing is to be sent any more
        self._dead: OSError | None = None  # why
        self._head_error = 0  # the status in place of the application's
        self.too_large = False
        """Whether its declared length is over the limit."""
        if exchange.complete:
            self._body = b""
        else:
            self._receive()

    # The loop's side: the body

    def _receive(self) -> None:
        """Take what has come of the body already; but who waits for `100 Continue` waits for the application."""
        exchange = self._exchange
        limit = self._host.settings.max_body
        expects = False
        for name, value in self.head.fields:
            if name == b"content-length" and limit and int(value) > limit:
                self.too_large = True
                return
            if name == b"expect":
                expects = True
        if not expects:
            data = exchange.take()
            if exchange.complete and not (limit and len(data) > limit):
                self._body = data
                return
        else:
            data = b""
        self._inbox = Inbox(self._ask, self._wait, limit)
        if data:
            self._inbox.put(data)
        if exchange.complete:
            self._inbox.end()
        elif exchange.broken:
            self._inbox.fail(_broken())

    def readable(self) -> None:
        if self._inbox is not None and not self._pulling:
            self._pulling = True
            self._host.loop.call_soon(self._pull)

    def _pull(self) -> None:
        self._pulling = False
        inbox, exchange = self._inbox, self._exchange
        if inbox is None or inbox.ended:
            return
        if not inbox.full:
            data = exchange.take()
            if data:
                inbox.put(data)
                self._moved = time.monotonic()
        if exchange.complete:
            inbox.end()
        elif exchange.broken or exchange.closed:
            inbox.fail(_broken())
        self._ring()

    # The loop's side: the answer

    def writable(self) -> None:
        self._host.loop.call_soon(self._flush)

    def gone(self) -> None:
        if self._exchange.closed:
            self._die(ClientDisconnected("the client is gone"))
        elif self._outbox:
            self._host.loop.call_soon(self._flush)  # there is no waiting for room any more
        if self._inbox is not None:
            self.readable()

    def _die(self, error: OSError) -> None:
        """Nothing is sent any more: what the application does from here on is for nobody."""
        if self._dead is None:
            self._dead = error
        if self._inbox is not None:
            self._inbox.fail(error)
        if not self._over:
            self._over = True
            self._host.answered(self, 0)
        self._drop()
        self._ring()

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file[0])

    def _ring(self) -> None:
        worker = self._worker
        if worker is not None:
            worker.bell.set()

    def _flush(self) -> None:
        """Write what the thread has put, as far as there is room."""
        self._waking = False
        if self._over:
            self._drop()
            return
        exchange = self._exchange
        try:
            self._write_out(exchange)
        except ClientDisconnected as error:
            self._die(error)
        except RuntimeError as error:  # shorter than declared
            logger.error("%s: %s", self, error)
            exchange.abort()
            self._die(ClientDisconnected(str(error)))

    def _write_out(self, exchange: Exchange) -> None:
        if self._head_error:
            self._write_error(exchange)
            return
        done, outbox, start = (
            self._done,
            self._outbox,
            self._start,
        )  # `done` first: what came before it is there
        if not exchange.started:
            if not start.sent:
                return
            fields: Fields = start.fields
            if done and self._file is None and len(outbox) <= 1:
                part = outbox.popleft() if outbox else b""
                if len(part) <= UNSENT_BYTES:
                    exchange.reply(start.status, fields, bytes(part), reason=start.reason)
                    self._over = True
                    self._host.answered(self, start.status)
                    return
                outbox.appendleft(part)
            exchange.start(start.status, fields, reason=start.reason)
        while outbox:
            if not exchange.room and not exchange.gone:
                return  # `writable` follows
            data = self._piece()
            exchange.write(data)
            self._sent += len(data)
            self._moved = time.monotonic()
        self._ring()
        if done:
            file, self._file = self._file, None
            if file is None:
                exchange.finish()
            else:
                exchange.finish_file(*file)
            self._complete(start.status)

    def _piece(self) -> bytes:
        """The next bytes of the outbox, about PIECE_BYTES of them."""
        outbox = self._outbox
        part = outbox.popleft()
        if len(part) > PIECE_BYTES:
            view = memoryview(part)
            outbox.appendleft(view[PIECE_BYTES:])
            return bytes(view[:PIECE_BYTES])
        if not outbox:
            return bytes(part)
        parts, size = [part], len(part)
        while outbox and size + len(outbox[0]) <= PIECE_BYTES:
            part = outbox.popleft()
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def _complete(self, status: int) -> None:
        self._over = True
        self._host.answered(self, status)

    def _write_error(self, exchange: Exchange) -> None:
        status, self._head_error = self._head_error, 0
        if exchange.started:
            exchange.abort()
            self._die(ClientDisconnected("the answer was broken off"))
            return
        answer(exchange, status)
        self._complete(status)

    # The pool's side

    def refuse(self) -> None:
        self._answer(503)

    def _be_late(self) -> None:
        self._answer(self._host.late)

    def _answer(self, status: int) -> None:
        """Answer for the application, if that can be done."""
        if not self._over:
            try:
                answer(self._exchange, status)
                self._complete(status)
            except ClientDisconnected as error:
                self._die(error)

    def overdue(self, now: float) -> bool:
        seconds = self._host.settings.timeout
        return bool(seconds) and now - self._moved > (2 * seconds if self._start.sent else seconds)

    def streams(self, now: float) -> bool:
        return self._start.sent and now - self.began > self._host.settings.stream_seconds

    def expire(self, stack: str) -> None:
        after = "an answer that began" if self._exchange.started else "no answer"
        logger.error(
            "%s: %s, and no progress for too long; the thread is written off, it is at\n%s",
            self,
            after,
            stack,
        )
        if not self._over:
            try:
                if self._exchange.started:
                    self._exchange.abort()
                else:
                    answer(self._exchange, self._host.late)
                    self._complete(self._host.late)
            except ClientDisconnected:
                pass  # nobody to be told
        self._die(TimeoutError("the time of this request is over"))

    def __str__(self) -> str:
        return f"{self.head.method} {self.head.target.partition(b'?')[0].decode('latin-1')}"

    # The thread's side

    def run(self, worker: Worker) -> None:
        if self._dead is not None:
            return
        self._worker = worker
        host = self._host
        now = time.monotonic()
        if host.queue_seconds and now - self.began > host.queue_seconds:
            self._in_loop(self._be_late)
            return
        self.began = self._moved = now
        environ = host.environs.of(self.head)
        if TRACE_NAME in environ:  # what is sent, or called, from here belongs to it
            carried.set(provenance(trace=environ[TRACE_NAME]))
        body, inbox = self._body, self._inbox
        environ["wsgi.input"] = io.BytesIO(body or b"") if inbox is None else io.BufferedReader(inbox, 65_536)
        standing = host.strict.begin()
        result = None
        start = self._start
        start.write, start.begin, start.environ = self._write, host.begin, environ
        try:
            if "HTTP_TRANSFER_ENCODING" in environ:
                host.gather(environ)
            result = host.application(environ, start)
            self.route = host.route_of(environ, result)
            self._send_all(result)
        except BaseException as error:
            self.route = self.route or host.route_of(environ, result)
            self._failed(error)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                try:
                    close()
                except BaseException as error:
                    logger.error("%s: close() failed", self, exc_info=error)
            result = None
            try:
                host.release(environ)
            except Exception as error:
                logger.error("%s: the release failed", self, exc_info=error)
            start.write, start.environ, self._worker = (
                None,
                _NOTHING,
                None,
            )  # else a cycle is left
            if inbox is not None:
                inbox.release()
            if standing is not None:
                host.strict.end(standing, f"{self.head.method} {self.route or environ['PATH_INFO']}")

    def _send_all(self, result: Any) -> None:
        kind = result.__class__
        start = self._start
        if kind is FileWrapper and self._send_file(result):
            return
        if (kind is list or kind is tuple) and not start.sent:
            data = b"".join(result)
            if len(data) <= UNSENT_BYTES:
                self._send_whole(data)
                return
        self._send_each(result)

    def _send_whole(self, data: bytes) -> None:
        start = self._start
        if not start.given:
            self._begin()
        start.sent = True
        status, length = start.status, start.length
        if self.head.method == "HEAD" or status in _BODILESS:
            data = b""
        elif length is None:
            start.fields.append((b"content-length", b"%d" % len(data)))
        elif len(data) > length:
            self._too_long()
            data = data[:length]
        if data:
            self._outbox.append(data)
        self._done = self._waking = True
        self._in_loop(self._flush)

    def _send_each(self, result: Iterable[bytes]) -> None:
        for chunk in result:
            if chunk.__class__ is not bytes:
                raise TypeError(f"an application's answer is made of bytes, not {type(chunk).__name__}")
            if chunk:
                self._write(chunk)
                if self._done and self._left is None:
                    break  # an answer without a body: nothing more is asked of the application
            elif self._dead is not None:
                raise self._dead
        if not self._start.sent:
            self._send_whole(b"")
        elif not self._done:
            self._done = True
            self._wake()

    def _write(self, data: bytes) -> None:
        """What `start_response` returns. Raises OSError when the client is gone."""
        if self._dead is not None:
            raise self._dead
        start = self._start
        if not start.sent:
            self._begin()
            self._left = start.length
            if self.head.method == "HEAD" or start.status in _BODILESS:
                self._left, self._done = None, True
                self._wake()
                return
        if self._left is not None:
            if len(data) > self._left:
                self._too_long()
                data = data[: self._left]
                if not data:
                    return
            self._left -= len(data)
            if not self._left:
                self._outbox.append(data)
                self._put += len(data)
                self._done = True
                self._wake()
                return
        elif self._done:
            return  # there is no body
        self._outbox.append(data)
        self._put += len(data)
        self._wake()
        while self._put - self._sent > UNSENT_BYTES and self._dead is None:
            self._wait()

    def _send_file(self, wrapper: FileWrapper) -> bool:
        """Let the system send it; False for what must be read."""
        start = self._start
        if not start.given or start.sent or self.head.method == "HEAD" or start.status in _BODILESS:
            return False
        found = regular_file(wrapper.filelike)
        if found is None:
            return False
        descriptor, offset, count = found
        if start.length is None:
            start.fields.append((b"content-length", b"%d" % count))
        else:
            count = min(count, start.length)
        self._file = (descriptor, offset, count)
        start.sent = self._done = True
        self._wake()
        return True

    def _begin(self) -> Start:
        start = self._start
        if not start.given:
            raise AssertionError("the application returned a body before it called start_response")
        start.sent = True
        return start

    def _too_long(self) -> None:
        logger.error("%s: the body is longer than its Content-Length, the rest is not sent", self)

    def _failed(self, error: BaseException) -> None:
        """The application raised; the client is told what still can be said."""
        if self._dead is not None and isinstance(error, OSError):
            logger.debug("%s: %r, after the client had gone", self, error)
            return
        if isinstance(error, TooLarge):
            status = 413
        else:
            status = 500
            logger.error("%s failed", self, exc_info=_from_application(error))
        self._head_error = status
        self._in_loop(self._flush)

    def _wake(self) -> None:
        if not self._waking:
            self._waking = True
            self._in_loop(self._flush)

    def _ask(self) -> None:
        self._in_loop(self._pull)

    def _wait(self) -> None:
        """Return when something may have changed."""
        worker = self._worker
        assert worker is not None
        bell = worker.bell
        bell.wait(WAIT_SECONDS)
        bell.clear()

    def _in_loop(self, work: Callable[[], None]) -> None:
        try:
            self._host.post(work)
        except RuntimeError as error:  # the loop is closed: the process ends
            self._dead = self._dead or ClientDisconnected(str(error))


def _broken() -> OSError:
    return ClientDisconnected("the request's body broke off")


def _from_application(error: BaseException) -> Any:
    """The exception without our own frames on top."""
    trace = error.__traceback__
    return type(error), error, trace.tb_next if trace is not None and trace.tb_next is not None else trace
