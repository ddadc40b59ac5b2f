"""The client of one object: which endpoint a call takes, and what becomes of it.

Puts together what others know: `route` chooses among endpoints, `link` has connections, `faults` judges. All calls of
all proxies for one object come through here. Calls made while serving one (see `call`) get no more time than their
caller has left, and pass its cookies on.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from skerry.tars.bodies import Bodies
from skerry.tars.call import Call, serving
from skerry.tars.call_errors import (
    BadReply,
    CallError,
    CallTimeout,
    ConnectFailed,
    ConnectionLost,
    NoEndpoint,
    NotSent,
    RemoteError,
    ServerOverloaded,
    ServerQueueTimeout,
    remote_error,
)
from skerry.tars.connection import Channel
from skerry.tars.endpoint import ObjectAddress
from skerry.tars.errors import DecodeError
from skerry.tars.link import Link
from skerry.tars.locator import Locator
from skerry.tars.request import request_frame, routing_key
from skerry.tars.route import Routes
from skerry.tars.settings import CallOptions, ClientSettings
from skerry.tars.spans import ClientSpan, opentelemetry
from skerry.tars.trace import Trace, present
from skerry.tars.wire.interface import Function
from skerry.tars.wire.packet import ResponsePacket, ReturnCode

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.25
"""Between two rounds over endpoints none of which can be reached."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: the result as a proxy would return it, and what travelled with it."""

    value: Any
    context: Mapping[str, str]
    status: Mapping[str, str]
    endpoint: str


@dataclass(slots=True)
class ClientCounters:
    """What happened to the calls of one object. `lost`: with their connection. `unknown_replies`: those that came when
    nobody waited for them any more."""

    calls: int = 0
    succeeded: int = 0
    timeouts: int = 0
    remote_errors: int = 0
    connect_failures: int = 0
    lost: int = 0
    retries: int = 0
    unknown_replies: int = 0


class ObjectClient:
    """All calls to one object."""

    def __init__(self, address: ObjectAddress, settings: ClientSettings, locator: Locator | None) -> None:
        self.address, self.name = address, address.name
        self.counters = ClientCounters()
        self._settings = settings
        self._routes = Routes(address, settings, locator, self._count_unknown)
        self._closed = False
        self._api = opentelemetry()

    def _count_unknown(self) -> None:
        self.counters.unknown_replies += 1

    @property
    def routes(self) -> Routes:
        """The endpoints and their health."""
        return self._routes

    async def invoke(self, function: Function, arguments: tuple[Any, ...], options: CallOptions) -> Any:
        """Call, and give the function's result."""
        body = function.encode_args(arguments, options.version)
        key = routing_key(function, arguments, options)
        packet, endpoint = await self.call(function.name, body, options, key, function)
        return None if packet is None else self._result(function, packet, endpoint, options)

    async def invoke_fully(
        self, function: Function, arguments: tuple[Any, ...], options: CallOptions
    ) -> Reply:
        """Call, and give result, context, status and where it was answered."""
        body = function.encode_args(arguments, options.version)
        key = routing_key(function, arguments, options)
        packet, endpoint = await self.call(function.name, body, options, key, function)
        if packet is None:
            return Reply(None, {}, {}, endpoint)
        value = self._result(function, packet, endpoint, options)
        return Reply(value, packet.context, packet.status, endpoint)

    async def call(
        self,
        name: str,
        body: bytes,
        options: CallOptions,
        key: int | str | bytes | None = None,
        function: Function | None = None,
    ) -> tuple[ResponsePacket | None, str]:
        """Send an encoded body and await the packet that answers it (None for one-way), and the endpoint that did.
        `function` is what the body is of, where that is known.

        Raises CallError; a reply with a return code other than 0 is a RemoteError.
        """
        if self._closed:
            raise NotSent(f"{self.name}.{name}", "", "the communicator is closed")
        self.counters.calls += 1
        outer, observer, api = serving.get(), self._settings.observer, self._api
        trace = present() if outer is None else outer.trace
        span = None if api is None else ClientSpan(api, self.name, name)
        if span is not None:
            trace = span.trace(trace)
        elif trace is not None:
            trace = trace.child()
        elif observer is None:
            return await self._call(name, body, options, key, outer)
        began = monotonic()
        code, endpoint = int(ReturnCode.UNKNOWN_ERROR), ""
        bodies = None
        if function is not None and trace is not None:
            bodies = Bodies(function, options.version, body)
        try:
            answer = await self._call(name, body, options, key, outer, trace)
            code, endpoint = 0, answer[1]
            if bodies is not None and answer[0] is not None:
                bodies.reply = answer[0].body
        except CallError as error:
            code, endpoint = error.code, error.endpoint
            if observer is not None:
                observer.called(self.name, name, endpoint, code, monotonic() - began)
            raise
        finally:
            if span is not None:
                span.end(code, endpoint)
            if trace is not None and self._settings.traced is not None:
                self._settings.traced(trace, self.name, name, code, monotonic() - began, bodies)
        if observer is not None:
            observer.called(self.name, name, endpoint, 0, monotonic() - began)
        return answer

    async def close(self) -> None:
        """Cut all connections; calls under way raise ConnectionLost."""
        self._closed = True
        await self._routes.close()

    async def _call(
        self,
        name: str,
        body: bytes,
        options: CallOptions,
        key: int | str | bytes | None,
        outer: Call | None,
        trace: Trace | None = None,
    ) -> tuple[ResponsePacket | None, str]:
        """The tries of one call, one unless `retry` says otherwise."""
        deadline = monotonic() + options.timeout_seconds
        if outer is not None and outer.deadline is not None and outer.deadline < deadline:
            deadline = outer.deadline
        retry = options.retry
        if not retry.attempts:
            return await self._attempt(name, body, options, key, deadline, outer, (), trace)
        tried: list[Link] = []
        for left in range(retry.attempts, -1, -1):
            until = deadline
            if retry.attempt_seconds is not None and left:
                until = min(deadline, monotonic() + retry.attempt_seconds)
            try:
                return await self._attempt(name, body, options, key, until, outer, tried, trace)
            except CallError as error:
                if not left or monotonic() >= deadline or not _may_repeat(error, retry.idempotent):
                    raise
                self.counters.retries += 1
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(
        self,
        name: str,
        body: bytes,
        options: CallOptions,
        key: int | str | bytes | None,
        deadline: float,
        outer: Call | None,
        tried: list[Link] | tuple[()],
        trace: Trace | None,
    ) -> tuple[ResponsePacket | None, str]:
        """One try. An endpoint that cannot be reached was not sent anything: the next one is taken, and when there
        is none, the same again, for as long as the caller waits."""
        unreachable: list[Link] = []
        refused: ConnectFailed | None = None
        pause = FIRST_PAUSE_SECONDS
        while True:
            link = self._routes.pick(key, options.consistent, monotonic(), (*tried, *unreachable))
            if link is None:
                link = await self._locate(name, key, options, deadline, (*tried, *unreachable))
            link.health.started()
            try:
                answer = await self._through(
                    link, name, body, options, key is not None, deadline, outer, trace
                )
            except ConnectFailed as error:
                unreachable.append(link)
                if refused is None or not isinstance(error.__cause__, TimeoutError):
                    refused = error  # says more than that the time was over
                if all(other in unreachable for other in self._routes.links):
                    if deadline - monotonic() <= pause or not _may_heal(error.__cause__):
                        raise refused from refused.__cause__
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                    unreachable.clear()
                continue
            except BaseException as error:
                if not isinstance(error, RemoteError):
                    link.health.abandoned()  # cancelled, not sent, not encoded; a failure has been reported by now
                if isinstance(tried, list):
                    tried.append(link)
                raise
            return answer

    async def _through(
        self,
        link: Link,
        name: str,
        body: bytes,
        options: CallOptions,
        hashed: bool,
        deadline: float,
        outer: Call | None,
        trace: Trace | None,
    ) -> tuple[ResponsePacket | None, str]:
        """One try over one link."""
        health = link.health
        channel = link.ready()
        if channel is None or not channel.writable:
            channel = await self._channel(name, link, channel, deadline)
        now = monotonic()
        pending = channel.pending
        if len(pending) >= self._settings.pending:
            raise NotSent(f"{self.name}.{name}", link.text, f"{len(pending)} calls wait for replies already")
        remaining = deadline - now
        if remaining <= 0:
            self.counters.timeouts += 1
            raise CallTimeout(f"{self.name}.{name}", link.text, "no time left to send the request")
        request_id = pending.next_id()
        frame = request_frame(self.name, name, body, options, hashed, request_id, remaining, outer, trace)
        if len(frame) > self._settings.frame_bytes:
            problem = f"a request of {len(frame)} bytes; frame_bytes allows {self._settings.frame_bytes}"
            raise NotSent(f"{self.name}.{name}", link.text, problem)
        channel.send(frame)
        if options.one_way:
            health.abandoned()
            return None, link.text
        try:
            packet = await pending.wait(request_id, deadline)
        except TimeoutError:
            health.failed(monotonic())
            self.counters.timeouts += 1
            waited = monotonic() - now
            raise CallTimeout(f"{self.name}.{name}", link.text, f"no reply within {waited:.3f} s") from None
        except ConnectionError as error:
            health.failed(monotonic())
            self.counters.lost += 1
            raise ConnectionLost(f"{self.name}.{name}", link.text, str(error)) from error
        except DecodeError as error:
            health.succeeded(now)
            raise BadReply(f"{self.name}.{name}", link.text, str(error)) from error
        except asyncio.CancelledError:
            pending.forget(request_id)
            raise
        if packet.code and health.policy.counts_codes:
            health.failed(monotonic())
        else:
            health.succeeded(now)
        if packet.code:
            self.counters.remote_errors += 1
            raise remote_error(packet.code, f"{self.name}.{name}", link.text, packet.description)
        self.counters.succeeded += 1
        return packet, link.text

    async def _locate(
        self,
        name: str,
        key: int | str | bytes | None,
        options: CallOptions,
        deadline: float,
        tried: tuple[Link, ...],
    ) -> Link:
        """The slow way: the first call of an object without endpoints, or every endpoint is blocked."""
        function = f"{self.name}.{name}"
        try:
            async with asyncio.timeout(max(0.0, deadline - monotonic())):
                await self._routes.located()
        except TimeoutError:
            if self._routes.problem:
                raise NoEndpoint(function, "", self._routes.problem) from None
            self.counters.timeouts += 1
            raise CallTimeout(function, "", "the locator did not answer in time") from None
        link = self._routes.pick(key, options.consistent, monotonic(), tried) or self._routes.any_link(tried)
        if link is None:
            raise NoEndpoint(function, "", self._routes.problem or "the locator knows no endpoint of it")
        return link

    async def _channel(self, name: str, link: Link, channel: Channel | None, deadline: float) -> Channel:
        """The slow way: connect, or wait until the peer takes more."""
        function = f"{self.name}.{name}"
        remaining = deadline - monotonic()
        if remaining <= 0:
            self.counters.timeouts += 1
            raise CallTimeout(function, link.text, "no time left to send the request")
        try:
            if channel is None:
                channel = await link.connect(remaining)
        except (OSError, TimeoutError) as error:
            link.health.failed(monotonic(), connecting=True)
            self.counters.connect_failures += 1
            reason = str(error) or "no answer within the connect time-out"
            raise ConnectFailed(function, link.text, reason) from error
        try:
            async with asyncio.timeout(max(0.0, deadline - monotonic())):
                await channel.drained()
        except TimeoutError:
            link.health.failed(monotonic())
            self.counters.timeouts += 1
            raise CallTimeout(function, link.text, "the server does not read: not sent") from None
        except ConnectionError as error:
            link.health.failed(monotonic())
            self.counters.lost += 1
            raise ConnectionLost(function, link.text, str(error)) from error
        return channel

    def _result(self, function: Function, packet: ResponsePacket, endpoint: str, options: CallOptions) -> Any:
        try:
            return function.decode_result(packet.body, options.version)
        except DecodeError as error:
            raise BadReply(f"{self.name}.{function.name}", endpoint, str(error)) from error


def _may_heal(cause: BaseException | None) -> bool:
    """Whether a connection that failed for this reason may succeed a moment later; a wrong certificate does not."""
    if isinstance(cause, ssl.SSLError):
        return False
    return isinstance(cause, TimeoutError) or (isinstance(cause, OSError) and cause.errno is not None)


def _may_repeat(error: CallError, idempotent: bool) -> bool:
    """Whether another try cannot run the function twice, or may."""
    if isinstance(error, ConnectFailed | ServerOverloaded | ServerQueueTimeout):
        return True
    return idempotent and isinstance(error, CallTimeout | ConnectionLost)
