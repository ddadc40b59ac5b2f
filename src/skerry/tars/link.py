"""One endpoint as a client sees it: its connections and its health.

Opens connections when they are needed, each at most once at a time however many calls wait for it, and gives
up after the connect time-out. It does not choose between endpoints; `client` does.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from time import monotonic, time
from typing import Any

from skerry.tars.account import SUCCESS, Account, handshake
from skerry.tars.call import PING
from skerry.tars.connection import Channel, ClientDatagrams, ClientStream, Push
from skerry.tars.endpoint import Endpoint
from skerry.tars.faults import EndpointHealth
from skerry.tars.settings import ClientSettings
from skerry.tars.wire.packet import RequestPacket, ResponsePacket, encode_request

log = logging.getLogger("skerry.tars.client")

SILENT_SECONDS = 1.0


class Link:
    """The way to one endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        servant: str,
        settings: ClientSettings,
        on_unknown: Callable[[], object] | None = None,
    ) -> None:
        self.endpoint, self.health = endpoint, EndpointHealth(settings.faults)
        self.text = str(endpoint)
        self._servant, self._settings, self._on_unknown = servant, settings, on_unknown
        self._channels: list[Channel | None] = [None] * settings.connections
        self._connecting: dict[int, asyncio.Task[Channel]] = {}
        self._keepers: dict[int, asyncio.Task[None]] = {}
        self._prober: asyncio.Task[None] | None = None
        self._leaving: set[Channel] = set()
        self._turn = 0

    def ready(self) -> Channel | None:
        """An open connection, None when one has to be made (or one more, up to the number allowed)."""
        channels = self._channels
        if len(channels) == 1:
            channel = channels[0]
        else:
            self._turn = turn = (self._turn + 1) % len(channels)
            channel = channels[turn]
        return channel if channel is not None and channel.open else None

    @property
    def waiting(self) -> int:
        """Calls without a reply so far."""
        return sum(len(channel.pending) for channel in self._channels if channel is not None)

    async def connect(self, seconds: float) -> Channel:
        """Make a connection, or wait for the one that is being made. OSError or TimeoutError when it fails."""
        turn = self._turn
        task = self._connecting.get(turn)
        if task is None:
            loop = asyncio.get_running_loop()
            task = self._connecting[turn] = loop.create_task(self._open(loop, turn))
            task.add_done_callback(lambda done: self._opened(turn, done))
        async with asyncio.timeout(seconds):
            return await asyncio.shield(task)

    def probe(self) -> None:
        """Find out in the background whether a blocked endpoint answers again."""
        if self._prober is None:
            self.health.started()
            self._prober = asyncio.get_running_loop().create_task(self._probe())

    async def _probe(self) -> None:
        """Connect and ping; health is told how it went."""
        seconds = self._settings.connect_seconds
        try:
            self.renew()
            channel = self.ready() or await self.connect(seconds)
            await self._ping(channel, seconds)
        except (OSError, TimeoutError):
            self.health.failed(monotonic(), connecting=True)
        except asyncio.CancelledError:
            self.health.abandoned()
            raise
        else:
            self.health.succeeded(monotonic())
        finally:
            self._prober = None

    def renew(self) -> None:
        """Drop connections that have been silent while calls wait: the next call makes a new one."""
        now = asyncio.get_running_loop().time()
        for turn, channel in enumerate(self._channels):
            if channel is not None and len(channel.pending) and now - channel.last_heard >= SILENT_SECONDS:
                self._let_go(channel)
                self._channels[turn] = None

    def retire(self) -> None:
        """The endpoint is no longer listed: let calls under way end, then close."""
        for channel in self._channels:
            if channel is not None:
                self._let_go(channel)
        self._channels = [None] * len(self._channels)
        self._stop_keepers()

    async def close(self) -> None:
        """Cut everything."""
        tasks: list[asyncio.Task[Any]] = [*self._connecting.values(), *self._keepers.values()]
        if self._prober is not None:
            tasks.append(self._prober)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in (*self._channels, *self._leaving):
            if channel is not None:
                channel.abort()
        self._channels = [None] * len(self._channels)

    async def _open(self, loop: asyncio.AbstractEventLoop, turn: int) -> Channel:
        settings, endpoint = self._settings, self.endpoint
        channel: ClientStream | ClientDatagrams
        account = settings.accounts.get(self._servant) if endpoint.auth else None
        if endpoint.auth and account is None:
            raise OSError(
                f"the endpoint wants an account (-e 1): ClientSettings(accounts={{{self._servant!r}: Account(...)}})"
            )
        async with asyncio.timeout(settings.connect_seconds):
            if endpoint.stream:
                _, channel = await loop.create_connection(
                    lambda: ClientStream(loop, settings.frame_bytes, self._push(), self._on_unknown),
                    endpoint.host,
                    endpoint.port,
                    ssl=self._tls(),
                )
            else:
                _, channel = await loop.create_datagram_endpoint(
                    lambda: ClientDatagrams(loop, settings.frame_bytes, self._on_unknown),
                    remote_addr=(endpoint.host, endpoint.port),
                )
            if account is not None and endpoint.stream:
                await self._sign_in(channel, account)
        old, self._channels[turn] = self._channels[turn], channel
        if old is not None:
            self._let_go(old)
        if settings.keep_alive_seconds > 0 and endpoint.stream:
            self._keep(loop, turn, channel)
        return channel

    async def _sign_in(self, channel: Channel, account: Account) -> None:
        """The handshake, before anything else is sent. OSError when the server does not take the account."""
        request_id = channel.pending.next_id()
        reply = channel.pending.wait(request_id, monotonic() + self._settings.connect_seconds)
        channel.send(handshake(self._servant, account, request_id, time()))
        try:
            answer = await reply
        except ConnectionError:
            raise OSError(f"the server does not take the account {account.access_key}") from None
        except BaseException:
            channel.abort()
            raise
        if not answer.body.startswith(SUCCESS):
            channel.abort()
            raise OSError(f"the server does not take the account {account.access_key}")

    def _let_go(self, channel: Channel) -> None:
        """A connection whose last replies may still come; remembered so that `close` finds it."""
        channel.leave()
        self._leaving = {other for other in self._leaving if len(other.pending)}
        if len(channel.pending):
            self._leaving.add(channel)

    def _opened(self, turn: int, task: asyncio.Task[Channel]) -> None:
        self._connecting.pop(turn, None)
        if not task.cancelled():
            task.exception()  # whoever waits has it; nobody may wait any more

    def _tls(self) -> ssl.SSLContext | None:
        if self.endpoint.protocol != "ssl":
            return None
        return self._settings.tls or ssl.create_default_context()

    def _push(self) -> Push | None:
        push = self._settings.push
        if push is None:
            return None
        endpoint = self.endpoint

        def pushed(packet: ResponsePacket) -> None:
            try:
                push(endpoint, packet)
            except Exception:
                log.exception("the push callback failed")

        return pushed

    def _keep(self, loop: asyncio.AbstractEventLoop, turn: int, channel: Channel) -> None:
        old = self._keepers.pop(turn, None)
        if old is not None:
            old.cancel()
        self._keepers[turn] = loop.create_task(self._keep_alive(loop, channel))

    async def _keep_alive(self, loop: asyncio.AbstractEventLoop, channel: Channel) -> None:
        """Ping when nothing was heard for the interval; no reply within another one: the connection is dead."""
        interval = self._settings.keep_alive_seconds
        while channel.open:
            idle = loop.time() - channel.last_heard
            if idle < interval:
                await asyncio.sleep(interval - idle)
                continue
            try:
                answer = await self._ping(channel, interval)
            except TimeoutError:
                log.warning("%s does not answer pings, closing the connection", self.text)
                channel.abort()
                return
            except ConnectionError:
                return
            if answer.code in (-3, -4):
                return  # this server does not know pings (TarsCpp turns them off too)

    async def _ping(self, channel: Channel, seconds: float) -> ResponsePacket:
        """The answer to a ping, whatever it says. TimeoutError or ConnectionError when there is none."""
        request_id = channel.pending.next_id()
        reply = channel.pending.wait(request_id, monotonic() + seconds)
        milliseconds = max(1, int(seconds * 1000))
        channel.send(
            encode_request(
                RequestPacket(
                    request_id=request_id, servant=self._servant, function=PING, timeout_ms=milliseconds
                )
            )
        )
        try:
            return await reply
        except asyncio.CancelledError:
            channel.pending.forget(request_id)
            raise

    def _stop_keepers(self) -> None:
        for task in self._keepers.values():
            task.cancel()
        self._keepers.clear()
