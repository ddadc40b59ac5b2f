"""One live connection to RabbitMQ: aiormq's handshake, channels and calls, with our own way in and out.

aiormq gives connect, TLS, authentication, declarations and AMQP heartbeats. What differs, and why: publishing writes
ready-made frames at once and takes no task (aiormq takes one per message and waits for its confirm: five times the
CPU); a blocked connection is told; and a lost link ends by `abort`, as closing politely waits for a peer that may be
gone. Any error of any channel loses the whole link. This file knows the inside of aiormq 7: the extra pins it below 8.
Not here: deliveries and confirms (channel.py), when to connect again (supervisor.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import pamqp.frame
from aiormq.abc import AbstractChannel
from aiormq.connection import Connection, TransportFactory
from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    AuthenticationError,
    ChannelInvalidStateError,
    ConnectionClosed,
    ConnectionNotAllowed,
    IncompatibleProtocolError,
    InvalidFrameError,
    ProbableAuthenticationError,
    ProtocolSyntaxError,
)
from pamqp import commands as spec
from pamqp.base import Frame
from pamqp.header import ContentHeader
from yarl import URL

from skerry.backends.rabbitmq.brokers import Address, Brokers, allotted
from skerry.backends.rabbitmq.channel import LinkChannel
from skerry.backends.rabbitmq.settings import RabbitSettings
from skerry.errors import Disconnected, SettingsError

_FRAME_OVERHEAD = 8
_CLOSE_SECONDS = 2.0
_READ_LIMIT_BYTES = 256 * 1024


@contextmanager
def calling(doing: str) -> Iterator[None]:
    """Calls to aiormq: whatever a dying link makes of them is Disconnected. aiormq cancels the tasks of its own
    calls then; a cancellation of the calling task is passed on."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Disconnected(f"{doing}: the connection was lost") from error
    except (AMQPError, ChannelInvalidStateError, OSError, RuntimeError) as error:
        task = asyncio.current_task()
        if (
            task is not None and task.cancelling()
        ):  # aiormq met our cancellation, and made an error of its own of it
            raise asyncio.CancelledError from error
        raise Disconnected(f"{doing}: {str(error) or type(error).__name__}") from error


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: a library in between may lose one cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.5)


class _Wire(Connection):
    """aiormq's connection, which says when the broker blocks it, and why it refuses a login or a vhost."""

    on_blocked: Callable[[str | None], None] = staticmethod(lambda reason: None)

    @staticmethod
    async def _rpc(
        request: Frame, writer: asyncio.StreamWriter, frame_receiver: Any, wait_response: bool = True
    ) -> Any:
        """aiormq's drops the broker's reason when a Close comes where another answer was expected."""
        writer.write(pamqp.frame.marshal(request, 0))
        await writer.drain()
        if not wait_response:
            return None
        _, _, frame = await frame_receiver.get_frame()
        if isinstance(frame, spec.Connection.Close):
            if frame.reply_code == 403:
                raise ProbableAuthenticationError(frame.reply_text)
            if frame.reply_code == 530:
                raise ConnectionNotAllowed(frame.reply_text)
            raise ConnectionClosed(frame.reply_code, frame.reply_text)
        if request.synchronous and frame.name not in request.valid_responses:
            raise InvalidFrameError(f"expected one of {request.valid_responses}, got {frame.name}")
        return frame

    async def _Connection__handle_connection_blocked(self, frame: spec.Connection.Blocked) -> None:  # noqa: N802
        self.on_blocked(frame.reason or "no reason given")

    async def _Connection__handle_connection_unblocked(self, frame: spec.Connection.Unblocked) -> None:  # noqa: N802
        self.on_blocked(None)


class _Streams(TransportFactory):
    """Opens the socket to one address and remembers its writer, so that it can be written to and aborted."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self.writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        provider = kwargs.pop("ssl_context_provider")
        if url.scheme == "amqps":
            kwargs |= {"ssl": await provider.get_context(), "server_hostname": self._address.host}
        try:
            reader, self.writer = await asyncio.open_connection(
                self._address.ip, self._address.port, **kwargs
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        return reader, self.writer

    def abort(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()


class Link:
    """A connection that works until `lost` is done. Make it with `Link.open`."""

    def __init__(
        self, wire: _Wire, streams: _Streams, address: Address, settings: RabbitSettings, brokers: Brokers
    ) -> None:
        assert streams.writer is not None
        self._wire, self._streams, self._writer = wire, streams, streams.writer
        self._settings, self._brokers = settings, brokers
        self.address = address
        self._frame_max = wire.connection_tune.frame_max or 131072
        self._parted: set[LinkChannel] = set()
        self.blocked: str | None = None
        """Why the broker takes no messages now, if so."""
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done, with the reason, once anything of this link failed."""
        wire.on_blocked = self._note_blocked
        wire.closing.add_done_callback(lambda closed: self.lose(_why(closed, "the connection was closed")))

    @classmethod
    async def open(cls, settings: RabbitSettings, purpose: str, brokers: Brokers | None = None) -> Link:
        """Connect to one of the brokers and authenticate. Raises SettingsError when all refuse for good, Disconnected
        when it may work another time; the text tells of each."""
        _quieten()
        brokers = brokers or Brokers(settings.hosts)
        loop = asyncio.get_running_loop()
        seconds = settings.connect_seconds
        until = loop.time() + seconds
        addresses = await brokers.addresses(seconds / 2 if len(settings.hosts) > 1 else seconds)
        problems: list[SettingsError | Disconnected] = []
        for address, share in allotted(addresses, until - loop.time(), loop):
            try:
                return await cls._open_at(address, settings, purpose, brokers, share)
            except (SettingsError, Disconnected) as error:
                brokers.failed(address)
                problems.append(error)
        if len(problems) == 1 or all(isinstance(problem, SettingsError) for problem in problems):
            raise problems[0]
        raise Disconnected("; ".join(dict.fromkeys(map(str, problems)))) from problems[0]

    @classmethod
    async def _open_at(
        cls, address: Address, settings: RabbitSettings, purpose: str, brokers: Brokers, seconds: float
    ) -> Link:
        url = URL(settings.url_of(address.host, address.port))
        query = {"heartbeat": str(settings.heartbeat_seconds), "name": f"{settings.namespace} {purpose}"}
        url = url.with_query(query | dict(url.query))
        streams = _Streams(address)
        wire = _Wire(url, transport_factory=streams, limit=_READ_LIMIT_BYTES)
        connecting = asyncio.ensure_future(wire.connect())
        try:
            await asyncio.wait({connecting}, timeout=seconds)
            if not connecting.done():
                raise Disconnected(f"{address} did not answer within {seconds:.2g} s")
            try:
                connecting.result()
            except (AMQPError, OSError, ValueError) as error:
                raise _translated(error, address) from error
        finally:
            if not connecting.done():
                streams.abort()  # first: what is cancelled waits for the peer otherwise
                connecting.cancel()
                await asyncio.wait({connecting}, timeout=_CLOSE_SECONDS)
        brokers.worked(address)
        return cls(wire, streams, address, settings, brokers)

    @property
    def server_properties(self) -> dict[str, Any]:
        """What the broker says of itself: `version`, `capabilities`, ..."""
        return dict(self._wire.server_properties)

    @property
    def backlog_bytes(self) -> int:
        """What was written and has not left this process."""
        return self._writer.transport.get_write_buffer_size()

    async def channel(self, confirms: bool = False) -> LinkChannel:
        """A new channel. Its end is the link's end."""
        number = max(self._wire.channels, default=0) + 1
        channel = LinkChannel(self._wire, number, publisher_confirms=confirms, frame_buffer=64)
        self._wire.channels[number] = channel
        await channel.open(timeout=self._settings.connect_seconds)
        channel.closing.add_done_callback(lambda closed: self._channel_closed(channel, closed))
        channel.on_consumer_cancel_callbacks.add(
            lambda frame: self.lose(f"the broker cancelled consumer {frame.consumer_tag}")
        )
        return channel

    async def loose_channel(self) -> AbstractChannel:
        """A channel that may fail alone: for looking at things that may not exist."""
        return await self._wire.channel(publisher_confirms=False, timeout=self._settings.connect_seconds)

    async def part(self, channel: LinkChannel) -> None:
        """Close one channel and keep the link; what was delivered on it and not acknowledged goes back."""
        self._parted.add(channel)
        try:
            with calling("closing a channel"):
                await channel.close(timeout=_CLOSE_SECONDS)
        except (Disconnected, TimeoutError) as error:
            self.lose(f"closing a channel failed: {error}")
        finally:
            self._parted.discard(channel)

    def publish(
        self, channel: LinkChannel, exchange: str, key: str, kind: str, body: bytes, *, durable: bool = False
    ) -> None:
        """Write one message now; nothing when the link is lost. `durable`: persistent and mandatory."""
        if self.lost.done():
            return
        number = channel.number
        method, header, tail = _frames(number, exchange, key, kind, durable)
        size = len(body)
        piece = self._frame_max - _FRAME_OVERHEAD
        parts = [method, header, size.to_bytes(8, "big"), tail]
        for start in range(0, size, piece):
            part = body if size <= piece else body[start : start + piece]
            parts += (b"\x03", number.to_bytes(2, "big"), len(part).to_bytes(4, "big"), part, b"\xce")
        self._out(b"".join(parts))

    def ack(self, channel: LinkChannel, tag: int, multiple: bool) -> None:
        self._write(channel, spec.Basic.Ack(tag, multiple))

    def lose(self, reason: str) -> None:
        """Say that this link is no good any more. The first reason counts."""
        if not self.lost.done():
            self._brokers.failed(self.address)
            self.lost.set_result(reason)

    async def close(self, polite: bool = False) -> None:
        """End it, within about two seconds; `polite` says goodbye to the broker first."""
        if not self.lost.done():
            self.lost.set_result("closed by this process")
        closing = asyncio.ensure_future(self._wire.close())
        try:
            if not polite:
                self._streams.abort()
            await asyncio.wait({closing}, timeout=_CLOSE_SECONDS)
        finally:
            self._streams.abort()
            if not closing.done():
                closing.cancel()
                await asyncio.wait({closing}, timeout=_CLOSE_SECONDS)

    def _write(self, channel: LinkChannel, frame: Frame) -> None:
        if not self.lost.done():
            self._out(pamqp.frame.marshal(frame, channel.number))

    def _out(self, data: bytes) -> None:
        try:
            self._writer.write(data)
        except (RuntimeError, OSError) as error:  # uvloop says so when the socket is closed already
            self.lose(f"writing failed: {error}")

    def _channel_closed(self, channel: LinkChannel, closed: asyncio.Future[Any]) -> None:
        reason = _why(closed, "a channel was closed")
        if channel not in self._parted:
            self.lose(reason)

    def _note_blocked(self, reason: str | None) -> None:
        self.blocked = reason


@lru_cache(maxsize=4096)
def _frames(channel: int, exchange: str, key: str, kind: str, durable: bool) -> tuple[bytes, bytes, bytes]:
    """The method frame, and the header frame before and after its body size (AMQP 0-9-1 section 4.2.6)."""
    method = pamqp.frame.marshal(
        spec.Basic.Publish(exchange=exchange, routing_key=key, mandatory=durable), channel
    )
    properties = spec.Basic.Properties(
        content_type="application/json", delivery_mode=2 if durable else 1, message_type=kind
    )
    header = pamqp.frame.marshal(ContentHeader(body_size=0, properties=properties), channel)
    return method, header[:11], header[19:]


def _why(closed: asyncio.Future[Any], otherwise: str) -> str:
    """Why something of aiormq ended."""
    if closed.cancelled():
        return otherwise
    error = closed.exception()
    return f"{otherwise}: {error}" if error is not None and str(error) else otherwise


def _translated(error: Exception, place: Address) -> SettingsError | Disconnected:
    """A failed connect: what only a person can put right, or what may pass."""
    text = str(error) or type(error).__name__
    if isinstance(error, AuthenticationError | ProbableAuthenticationError):
        return SettingsError("transport", f"{place} refuses the user or the password")
    if isinstance(error, ConnectionNotAllowed):
        return SettingsError("transport", f"{place} does not let this user in: {text}")
    if isinstance(error, IncompatibleProtocolError | ProtocolSyntaxError):
        return SettingsError("transport", f"{place} does not speak AMQP 0-9-1")
    if isinstance(error, FileNotFoundError | PermissionError):
        return SettingsError("transport", f"a certificate file in the URL cannot be read: {text}")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return SettingsError("transport", f"{place} is not trusted, give cafile=PATH in the URL: {text}")
    return Disconnected(f"{place} cannot be reached: {text}")


def _quieten() -> None:
    """aiormq logs every lost connection with a traceback, and every attempt to connect; the supervisor says it once, in
    one line. A level that somebody has set is kept."""
    logger = logging.getLogger("aiormq")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
