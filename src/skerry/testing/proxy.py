"""A TCP proxy that fails on purpose: cut, refuse, hold, delay.

Put it between a client and a server of a test; what is done to it happens to every connection through it. It carries
bytes and knows no protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from types import TracebackType

_CHUNK = 64 * 1024


@dataclass(slots=True, eq=False)
class _Pair:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    is_silent: bool = False

    def abort(self) -> None:
        for writer in (self.client, self.server):
            if writer is not None:
                writer.transport.abort()


class FaultProxy:
    """Listens on a free port of 127.0.0.1 and carries everything to `port` of `host`."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self.delay_seconds = 0.0
        """How long each chunk is kept back, in both directions."""
        self.port = 0
        self.accepted = 0
        """Connections taken so far."""

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._pairs)

    async def __aenter__(self) -> FaultProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._refusing = True
        self.cut()
        while self._pairs:
            tasks = {task for pair in self._pairs for task in pair.tasks}
            if tasks:
                await asyncio.wait(tasks, timeout=1.0)
            else:
                await asyncio.sleep(0.01)

    def cut(self) -> None:
        """Reset every connection (TCP RST where the system allows); new ones are accepted."""
        for pair in list(self._pairs):
            pair.abort()
            for task in pair.tasks:
                task.cancel()

    def refuse(self) -> None:
        """Reset every connection, and each new one at once, as a closed port does; until `mend`."""
        self._refusing = True
        self.cut()

    def hold(self) -> None:
        """Forward nothing and close nothing (a black hole) until `mend`, which forwards the data kept
        meanwhile."""
        self._flowing.clear()

    def silence(self) -> None:
        """Forward nothing on existing connections, and close none of them; new ones work."""
        for pair in self._pairs:
            pair.is_silent = True

    def lead(self, port: int, host: str = "127.0.0.1") -> None:
        """Carry new connections to another server, as a name or an address that moves; those that there are stay."""
        self._target = (host, port)

    def mend(self) -> None:
        """Work again; connections that were silenced stay silent."""
        self._refusing = False
        self.delay_seconds = 0.0
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        self.accepted += 1
        pair = _Pair(writer)
        self._pairs.add(pair)
        task = asyncio.current_task()
        assert task is not None
        pair.tasks.add(task)
        try:
            await self._flowing.wait()
            server_reader, pair.server = await asyncio.open_connection(*self._target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, pair.server, pair))
                group.create_task(self._carry(server_reader, writer, pair))
        except* OSError:
            pass
        except* asyncio.CancelledError:
            pass  # cut: this task is the proxy's own, and ends here
        finally:
            pair.abort()
            self._pairs.discard(pair)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: _Pair) -> None:
        """One direction, until it ends; then the other ends too."""
        try:
            while data := await reader.read(_CHUNK):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                await self._flowing.wait()
                if pair.is_silent:
                    continue
                writer.write(data)
                await writer.drain()
            with contextlib.suppress(OSError):
                await self._flowing.wait()
                if not pair.is_silent:
                    writer.close()
        except OSError:
            pair.abort()
