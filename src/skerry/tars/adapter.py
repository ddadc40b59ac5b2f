"""One servant at one endpoint: which request runs, which waits, which is refused.

Takes decoded requests from `protocol` and hands each answer back to where the request came from. The order of the
checks is TarsCpp's: queue length, waiting time, set, servant name, function, parameters; then the function runs,
then its result is encoded. No socket is touched here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from skerry.tars.bodies import Bodies
from skerry.tars.call import PING, TIMER_GRAIN_SECONDS, Call, ClientConnection, Peer, serving
from skerry.tars.call_errors import CallTimeout, ServantError
from skerry.tars.dyeing import Dyeing
from skerry.tars.errors import DecodeError, EncodeError, TarsError
from skerry.tars.limits import AdapterLimits
from skerry.tars.servant import Kind, Method, Servant
from skerry.tars.spans import Joined, opentelemetry
from skerry.tars.wire.packet import (
    STATUS_SETNAME_VALUE,
    MessageType,
    RequestPacket,
    ReturnCode,
    encode_answer,
)

log = logging.getLogger("skerry.tars.server")

_DECODE, _ENCODE = int(ReturnCode.DECODE_ERROR), int(ReturnCode.ENCODE_ERROR)
_NO_FUNCTION, _NO_SERVANT = int(ReturnCode.NO_FUNCTION), int(ReturnCode.NO_SERVANT)
_QUEUE_TIMEOUT, _OVERLOAD = int(ReturnCode.QUEUE_TIMEOUT), int(ReturnCode.OVERLOAD)
_WRONG_SET, _UNKNOWN = int(ReturnCode.INVALID_SET), int(ReturnCode.UNKNOWN_ERROR)
_SETNAME, _TRACE = int(MessageType.SETNAME), int(MessageType.TRACE)

CANCEL_SECONDS = 1.0


class Sink(Protocol):
    """Where a request came from and its answer goes."""

    peer: Peer

    @property
    def connection(self) -> ClientConnection | None:
        """The connection behind it, None for udp."""
        ...

    def answer(self, frame: bytes | None) -> None:
        """The request is done; None: there is nothing to send (one-way, dropped)."""
        ...


class Observer(Protocol):
    """Is told of every request that reached a function; statistics and tracing hang here."""

    def served(self, call: Call, code: int, seconds: float) -> None: ...


@dataclass(slots=True)
class Counters:
    """What an adapter has done so far."""

    connections: int = 0
    refused_connections: int = 0
    requests: int = 0
    succeeded: int = 0
    failed: int = 0
    queue_timeouts: int = 0
    overloads: int = 0
    dropped: int = 0
    broken_frames: int = 0


class Adapter:
    """The requests of one servant at one endpoint."""

    def __init__(
        self,
        servant: Servant,
        limits: AdapterLimits,
        loop: asyncio.AbstractEventLoop,
        threads: Executor | None = None,
        observer: Observer | None = None,
        required_set: str = "",
        dyeing: Dyeing | None = None,
    ) -> None:
        self._dyeing = dyeing or Dyeing()
        self.servant, self.limits, self.counters = servant, limits, Counters()
        self._loop, self._threads, self._observer = loop, threads, observer
        self._required_set = required_set
        self._name, self._methods = servant.name, servant.methods
        self._queue: deque[tuple[RequestPacket, Sink, float]] = deque()
        self._overload_from = limits.queue * 4 // 5
        self._concurrency, self._cancel_overdue = limits.concurrency, limits.cancel_overdue
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._serial = 0
        self._stopping = False
        self._api = opentelemetry()

    @property
    def running(self) -> int:
        """Functions under way."""
        return len(self._tasks)

    @property
    def queued(self) -> int:
        """Requests that wait for their turn."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        return not self._tasks and not self._queue

    def accept(self, request: RequestPacket, sink: Sink) -> None:
        """Take a request: run it now, let it wait, refuse or drop it. `sink.answer` is called exactly once."""
        self.counters.requests += 1
        if len(self._tasks) < self._concurrency and not self._queue:
            self._begin(request, sink, monotonic())
            return
        waiting = len(self._queue)
        if waiting >= self.limits.queue:
            self.counters.dropped += 1
            sink.answer(None)
        elif waiting >= self._overload_from:
            self.counters.overloads += 1
            self._refuse(request, sink, _OVERLOAD, "the server's queue is nearly full")
        else:
            self._queue.append((request, sink, monotonic()))

    async def stop(self) -> None:
        """Cancel what still runs and answer it and what waits; returns when all of it has ended, after
        `CANCEL_SECONDS` also when a function does not let itself be cancelled."""
        self._stopping = True
        while self._queue:
            request, sink, _ = self._queue.popleft()
            self._refuse(request, sink, _UNKNOWN, "the server is stopping")
        await asyncio.sleep(0)  # a task that has not begun could not answer
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
            if stuck:
                log.error("%s: %d calls do not end although they were cancelled", self._name, len(stuck))

    def _begin(self, request: RequestPacket, sink: Sink, received: float) -> None:
        """TarsCpp's order from the set check on."""
        if self._required_set and request.message_type & _SETNAME:
            theirs = request.status.get(STATUS_SETNAME_VALUE, "")
            if theirs != self._required_set:
                self._refuse(request, sink, _WRONG_SET, f"this server belongs to set {self._required_set}")
                return
        name = request.function
        if request.servant != self._name:
            self._refuse(request, sink, _NO_SERVANT, f"no servant {request.servant!r} here")
            return
        method = self._methods.get(name)
        if method is None:
            if name == PING:
                self.counters.succeeded += 1
                sink.answer(None if request.packet_type == 1 else encode_answer(request))
            else:
                self._refuse(request, sink, _NO_FUNCTION, f"{self._name} has no function {name!r}")
            return
        call = Call(request, sink.peer, received, sink.connection)
        if method.kind is Kind.LANE:
            self._in_lane(method, call, sink)
            return
        self._serial = serial = self._serial + 1
        self._tasks[serial] = self._loop.create_task(self._serve(serial, method, call, sink))

    def _in_lane(self, method: Method, call: Call, sink: Sink) -> None:
        token = serving.set(call)
        stage = _DECODE
        joined = self._join(method, call) if self._belongs(call.request) else None
        try:
            arguments = method.function.decode_args(call.request.body, call.request.version)
            if self._dyeing.key:
                self._dyeing.apply(call, method.function, arguments)
            stage = _UNKNOWN
            result = method.call(*arguments)
            stage = _ENCODE
            frame = self._success(method, call, result)
        except Exception as error:
            frame = self._failure(method, call, error, stage)
        finally:
            serving.reset(token)
            if joined is not None:
                joined.leave()
        sink.answer(frame)

    async def _serve(self, serial: int, method: Method, call: Call, sink: Sink) -> None:
        frame: bytes | None = None
        timer: asyncio.TimerHandle | None = None
        stage = _DECODE
        try:
            serving.set(call)
            if self._belongs(call.request):
                self._join(method, call)
            arguments = method.function.decode_args(call.request.body, call.request.version)
            if self._dyeing.key:
                self._dyeing.apply(call, method.function, arguments)
            stage = _UNKNOWN
            if self._cancel_overdue and call.deadline is not None:
                late = call.deadline - monotonic() + TIMER_GRAIN_SECONDS
                timer = self._loop.call_later(late, self._tasks[serial].cancel)
            if method.kind is Kind.TASK:
                result = await method.call(*arguments)
            else:
                result = await self._loop.run_in_executor(
                    self._threads, copy_context().run, _in_thread, call, method.call, arguments
                )
            stage = _ENCODE
            frame = self._success(method, call, result)
        except asyncio.CancelledError:
            frame = self._cancelled(call)
            raise
        except Exception as error:
            frame = self._failure(method, call, error, stage)
        finally:
            if timer is not None:
                timer.cancel()
            del self._tasks[serial]
            sink.answer(frame)
            if self._queue and not self._stopping:
                self._next()

    def _belongs(self, request: RequestPacket) -> bool:
        """Whether it is part of a chain, or may be the first of one."""
        return self._api is not None or bool(request.message_type & _TRACE)

    def _join(self, method: Method, call: Call) -> Joined:
        """Let what is done for this call belong to its chain."""
        request, trace = call.request, call.trace
        if trace is not None:
            call.bodies = Bodies(method.function, request.version, request.body)
        joined = Joined(call.servant, call.function, trace, self._api)
        call._ended = joined.end
        return joined

    def _next(self) -> None:
        """A place is free: run who waited, in order; refuse those that waited too long."""
        queue = self._queue
        now = monotonic()
        while queue and len(self._tasks) < self._concurrency:
            request, sink, received = queue.popleft()
            waited = now - received
            patience = request.timeout_ms / 1000
            if waited > self.limits.queue_seconds or 0 < patience < waited:
                self.counters.queue_timeouts += 1
                self._refuse(request, sink, _QUEUE_TIMEOUT, f"waited {waited:.3f} s in the server's queue")
            else:
                self._begin(request, sink, received)

    def _success(self, method: Method, call: Call, result: Any) -> bytes | None:
        request = call.request
        body = method.function.encode_result(result, request.version)
        frame = None
        if request.packet_type != 1:
            frame = encode_answer(request, body=body, status=call._reply_status, context=call._reply_context)
            if len(frame) > self.limits.frame_bytes:
                problem = f"a reply of {len(frame)} bytes; frame_bytes allows {self.limits.frame_bytes}"
                log.error("%s.%s: %s", self._name, request.function, problem)
                return self._failed(call, _ENCODE, problem)
        self.counters.succeeded += 1
        if call.bodies is not None:
            call.bodies.reply = body
        if self._observer is not None:
            self._observer.served(call, 0, monotonic() - call.received)
        if call._ended is not None:
            call._ended(0)
        return frame

    def _failure(self, method: Method, call: Call, error: Exception, stage: int) -> bytes | None:
        code, description = self._code_of(method, call, error, stage)
        return self._failed(call, code, description)

    def _code_of(self, method: Method, call: Call, error: Exception, stage: int) -> tuple[int, str]:
        """What the caller is told of an exception. `stage` is the code of what was being done: an error of the
        codec while decoding is the caller's, one that a servant's own code let through is the servant's."""
        match error:
            case ServantError():
                return error.code, error.description
            case DecodeError() if stage == _DECODE:
                return _DECODE, str(error)
            case _Expired():
                self.counters.queue_timeouts += 1
                return _QUEUE_TIMEOUT, "the caller's time was over before a thread was free"
            case TimeoutError() | CallTimeout() if call.expired():
                return _QUEUE_TIMEOUT, "the caller's deadline passed while the function waited"
        log.error("%s.%s failed", self._name, method.function.name, exc_info=error)
        code = _ENCODE if stage == _ENCODE and isinstance(error, EncodeError) else _UNKNOWN
        return code, str(error) or type(error).__name__

    def _cancelled(self, call: Call) -> bytes | None:
        if call.expired() and not self._stopping:
            self.counters.queue_timeouts += 1
            return self._failed(call, _QUEUE_TIMEOUT, "the caller's deadline passed")
        return self._failed(call, _UNKNOWN, "the server is stopping" if self._stopping else "cancelled")

    def _failed(self, call: Call, code: int, description: str) -> bytes | None:
        self.counters.failed += 1
        if self._observer is not None:
            self._observer.served(call, code, monotonic() - call.received)
        if call._ended is not None:
            call._ended(code)
        request = call.request
        if request.packet_type == 1:
            return None
        try:
            return encode_answer(
                request,
                code=code,
                description=description,
                status=call._reply_status,
                context=call._reply_context,
            )
        except EncodeError as error:  # a code, a text or a reply context that cannot be sent
            log.error("%s.%s: %s", self._name, request.function, error)
            return encode_answer(request, code=_ENCODE, description="the answer cannot be encoded")

    def _refuse(self, request: RequestPacket, sink: Sink, code: int, description: str) -> None:
        self.counters.failed += 1
        one_way = request.packet_type == 1
        sink.answer(None if one_way else encode_answer(request, code=code, description=description))


class _Expired(TarsError):
    """A plain function got its thread after its caller had given up."""


def _in_thread(call: Call, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    if call.expired():
        raise _Expired
    try:
        return function(*arguments)
    except StopIteration as error:  # a future cannot carry it
        raise RuntimeError("the function raised StopIteration") from error
