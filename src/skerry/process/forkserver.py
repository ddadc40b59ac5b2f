"""Starts processes by having them forked from one that has imported the application: the runner's side.

They are ready sooner, and share the memory of what was imported. The fork server is made anew when a replacement of all
begins, and whenever files are other than those it has imported, so a process always starts with the files as they are.
Where it is of no use (the application cannot be imported, or its import leaves threads or descriptors behind) processes
are executed, as they are without it. Not here: what happens in it (forking.py).
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec

from skerry.process.child import Child, Spec
from skerry.process.forking import (
    FORKS,
    LENGTH_BYTES,
    AnyAnswer,
    Changed,
    Fit,
    Fork,
    Forked,
    Refused,
    Unfit,
    answers,
)
from skerry.process.launching import Adopted, Executing, Launch, Process

FORK_SECONDS = 10.0
"""How long a copy may take to be made; the machine may have much else to do."""
WITHOUT_APPLICATION = "balancer"
"""The role that needs no application, and is not kept waiting for one."""
PROGRAM = 3
"""Words of a command that name the program: the rest are its arguments."""


class ForkServer:
    """A launcher. `spec`: its own process; `ready_seconds`: what its import may take. `on_line` gets what it writes,
    `say` what is to be told."""

    immediate = False

    def __init__(
        self,
        spec: Spec,
        ready_seconds: float,
        on_line: Callable[[Child, str, bool], None],
        say: Callable[[str, str], None],
    ) -> None:
        self._spec, self._ready_seconds = spec, ready_seconds
        self._on_line, self._say = on_line, say
        self._executing = Executing()
        self._server: _Server | None = None
        self._is_unfit = self._is_closed = self._is_renewing = False
        self._changing = asyncio.Lock()
        self._ending: set[Child] = set()
        self._told = ""
        self.asking = False
        """Whether a copy is being made, whose number is not known yet."""

    @property
    def child(self) -> Child | None:
        """The process that makes copies now."""
        return None if self._server is None else self._server.child

    @property
    def children(self) -> list[Child]:
        """Its processes: there is one, and those that end."""
        return [*([] if self._server is None else [self._server.child]), *self._ending]

    def equip(self, environment: Mapping[str, str]) -> None:
        """What the next one is given."""
        self._spec = replace(self._spec, environment=environment)

    async def renew(self) -> None:
        """Import the application as it is now. When this returns, what is started next is that."""
        self._is_renewing = True
        try:
            async with self._changing:
                self._drop()
                self._is_unfit = False
                await self._current()
        finally:
            self._is_renewing = False

    async def launch(self, launch: Launch) -> Process:
        """Fork it, or where that cannot be execute it. Raises OSError when the system refuses, or at the end."""
        if self._is_renewing and launch.role == WITHOUT_APPLICATION:
            return await self._executing.launch(launch)
        async with self._changing:
            process = await self._forked(launch)
        if self._is_closed:
            raise OSError("everything ends")
        return process or await self._executing.launch(launch)

    def close(self) -> None:
        """End it."""
        self._is_closed = True
        self._drop()

    async def _forked(self, launch: Launch) -> Process | None:
        """None where it cannot be forked."""
        for _ in range(2):  # when files have changed, from another one
            server = await self._current()
            if server is None:
                return None
            self.asking = True
            try:
                answer = await server.ask(launch)
            except BaseException:
                self._drop()
                raise
            finally:
                self.asking = False
            match answer:
                case Forked(pid):
                    return Adopted(pid)
                case Refused(number):
                    raise OSError(number, "the system makes no more processes")
                case Changed():
                    self._drop()
                    self._is_renewing = True
                    try:
                        await self._current()
                    finally:
                        self._is_renewing = False
                case _:
                    self._drop()
        return None

    async def _current(self) -> _Server | None:
        """The one that makes copies now; None when there can be none."""
        if self._server is not None and self._server.child.exit_code is not None:
            self._server = None
        if self._server is None and not self._is_unfit and not self._is_closed:
            await self._begin()
        return self._server

    async def _begin(self) -> None:
        server = self._server = _Server(self._spec, self._on_line, self._on_end)
        try:
            await server.child_started()
            answer = await server.answer(self._ready_seconds)
        except OSError as error:
            answer = Unfit(str(error))
        except BaseException:
            self._drop()
            raise
        if isinstance(answer, Fit):
            return
        self._is_unfit = True
        self._drop()
        if isinstance(answer, Unfit):
            reason = answer.reason and f"after its import {answer.reason}"
        else:
            reason = "the one that was to do it for all has ended, or took too long"
        if reason and reason != self._told and not self._is_closed:
            self._told = reason
            self._say(f"every process imports the application itself: {reason}", "info")

    def _drop(self) -> None:
        server, self._server = self._server, None
        if server is not None and server.child.exit_code is None:
            self._ending.add(server.child)
            server.end()

    def _on_end(self, child: Child) -> None:
        if child in self._ending:
            self._ending.discard(child)
        elif self._server is not None and self._server.child is child and not self._server.is_importing:
            self._server = None
            self._say(
                f"{child.spec.name} {child.why()}; another one is made when a process starts", "warning"
            )


class _Server:
    """One fork server, over its line."""

    def __init__(
        self, spec: Spec, on_line: Callable[[Child, str, bool], None], on_end: Callable[[Child], None]
    ) -> None:
        self._line, self._theirs = socket.socketpair()
        self._line.setblocking(False)
        self._rest = b""
        self.is_importing = True
        given = replace(spec, pass_descriptors={FORKS: self._theirs.fileno()})
        self.child = Child(given, lambda child, word: None, on_line, on_end)

    async def child_started(self) -> None:
        """Start its process. Raises OSError."""
        try:
            await self.child.start()
        finally:
            self._theirs.close()

    async def answer(self, seconds: float) -> AnyAnswer | None:
        """What it says next; None when it says nothing in time, or no more."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                while b"\n" not in self._rest:
                    data = await loop.sock_recv(self._line, 65536)
                    if not data:
                        return None
                    self._rest += data
        except (TimeoutError, OSError):
            return None
        said, _, self._rest = self._rest.partition(b"\n")
        self.is_importing = False
        return answers.decode(said)

    async def ask(self, launch: Launch) -> AnyAnswer | None:
        """Have a copy made."""
        asked = Fork(list(launch.command[PROGRAM:]), dict(launch.environment), list(launch.descriptors))
        body = msgspec.json.encode(asked)
        sent = array.array("i", [launch.output, *launch.descriptors.values()])
        try:
            async with asyncio.timeout(FORK_SECONDS):
                self._line.sendmsg(
                    [len(body).to_bytes(LENGTH_BYTES, "big")],
                    [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sent)],
                )
                await asyncio.get_running_loop().sock_sendall(self._line, body)
        except (TimeoutError, OSError):
            return None
        return await self.answer(FORK_SECONDS)

    def end(self) -> None:
        """Its copies go on."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)  # whoever waits for an answer has it
        self.child.ended.add_done_callback(lambda _: self._line.close())
        self.child.signal_group(signal.SIGTERM)  # what the import has started
        with contextlib.suppress(ProcessLookupError):
            self.child.kill()
