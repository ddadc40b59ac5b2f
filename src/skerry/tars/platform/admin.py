"""AdminObj: what the node, and people through its web page, ask of a running server.

Listens on the `local` endpoint, loopback only, in the parent process. What the parent knows it answers itself, the rest
is asked of every process of the service; a process that does not answer is named.

Source: TarsCpp `AdminServant`, `NotifyObserver` (the frame around the answers); section AdminF of the IDL.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from skerry.tars.access import AccessList
from skerry.tars.endpoint import Endpoint
from skerry.tars.platform.commands import split_command
from skerry.tars.platform.configuration import ADMIN_OBJECT
from skerry.tars.platform.domain import ConfigurationError
from skerry.tars.platform.interfaces import interfaces
from skerry.tars.server import Server

log = logging.getLogger("skerry.tars.platform")

ADMIN: Any = interfaces("AdminF")
LOOPBACK = AccessList(allow=("127.*", "::1"))

HELP = {
    "tars.viewstatus": "configuration, processes, adapters, queues",
    "tars.viewversion": "the versions of Skerry and of the service",
    "tars.setloglevel": "NONE|ERROR|WARN|INFO|DEBUG: from now on",
    "tars.loadconfig": "FILE: fetch a remote file anew and hand it to the service",
    "tars.connection": "who is connected to which adapter, and which servers are called",
    "tars.loadproperty": "read the local configuration file again: processes are replaced by ones that use it",
    "tars.reloadlocator": "reload: the same, for another address of the registry",
    "tars.gracerestart": "replace every process without a lost call",
    "tars.setdyeing": "KEY OBJECT [FUNCTION]: log lines of calls with that routekey go to the dyeing log, too",
    "tars.enabledaylog": "remote|[LOG]|true or false: whether a log goes to the log service",
    "tars.bid": "which code runs: the release, and a hash of the application's files",
    "tars.workers": "the processes: pid, state, age, restarts",
    "tars.pystack": "the stacks of all threads of every process",
    "tars.tasks": "the tasks of every process",
    "tars.gc": "collect garbage in every process",
    "tars.resource": "cpu, memory, descriptors of every process",
    "tars.closecout": "yes|no: whether to drop what is printed",
    "tars.closecore": "yes|no: whether to forbid core dumps",
    "tars.help": "this list",
}


class Operations(Protocol):
    """What the parent process can do."""

    def shutdown(self) -> None:
        """Begin to end; returns at once."""
        ...

    def replace_processes(self, why: str) -> None:
        """Begin to replace every process; returns at once."""
        ...

    def check_configuration(self) -> None:
        """Raises ConfigurationError when the local file cannot be used."""
        ...

    def status(self) -> str: ...
    def versions(self) -> str: ...
    def workers(self) -> str: ...
    def code(self) -> str: ...
    def custom_commands(self) -> list[str]: ...

    async def ask(self, command: str) -> Mapping[str, str | None]:
        """What each process answers, by its name; None: it does not."""
        ...

    def report(self, message: str) -> None:
        """Let the platform's web page know."""
        ...


class AdminServant(ADMIN.AdminF):  # type: ignore[misc]
    """AdminF over the operations of a parent process with this pid."""

    def __init__(self, operations: Operations, pid: int) -> None:
        self._operations, self._pid = operations, pid
        self._own: dict[str, Callable[[str], str | Awaitable[str]]] = {
            "tars.help": self._help,
            "tars.viewversion": lambda _: operations.versions(),
            "tars.viewstatus": self._status,
            "tars.workers": lambda _: operations.workers(),
            "tars.bid": lambda _: operations.code(),
            "tars.gracerestart": self._replace,
            "tars.loadproperty": self._load_property,
            "tars.reloadlocator": self._load_property,
        }

    async def shutdown(self) -> None:
        log.info("the node ends this server")
        self._operations.shutdown()

    async def getPid(self) -> int:  # noqa: N802 - the IDL's name
        return self._pid

    async def notify(self, command: str) -> str:
        """The answers in TarsCpp's frame: a line with their number, then each behind its own."""
        name, arguments = split_command(command)
        log.info("admin command: %s", command)
        self._operations.report(f"AdminServant::notify:{command}")
        own = self._own.get(name)
        if own is not None:
            made = own(arguments)
            return framed([made if isinstance(made, str) else await made])
        if name not in HELP and name not in self._operations.custom_commands():
            return framed([f"there is no command {name!r}; tars.help lists them"])
        return framed(await self._answers(command))

    async def _answers(self, command: str) -> list[str]:
        answers = await self._operations.ask(command)
        several = len(answers) > 1
        return [
            (f"{name}: " if several else "")
            + (answer if answer is not None else "does not answer; its stacks are in the log")
            for name, answer in answers.items()
        ] or ["no process of the service runs"]

    async def _status(self, arguments: str) -> str:
        return "\n".join([self._operations.status(), *await self._answers("tars.viewstatus")])

    def _help(self, arguments: str) -> str:
        custom = dict.fromkeys(self._operations.custom_commands(), "of this service")
        return "\n".join(f"{name}: {what}" for name, what in {**HELP, **custom}.items())

    def _replace(self, arguments: str) -> str:
        self._operations.replace_processes("tars.gracerestart")
        return "every process is being replaced; tars.workers shows how it goes"

    def _load_property(self, arguments: str) -> str:
        try:
            self._operations.check_configuration()
        except ConfigurationError as error:
            return f"nothing was changed: {error}"
        self._operations.replace_processes("tars.loadproperty")
        return "every process is being replaced by one that uses the file; adapters stay where they are"


def framed(results: list[str]) -> str:
    """As TarsCpp's NotifyObserver puts the results of several objects together."""
    numbered = "".join(f"[{number}]:{text}\n" for number, text in enumerate(results, 1))
    return f"[notify prefix object num:{len(results)}]\n{numbered}"


def admin_server(endpoint: Endpoint, bound: socket.socket, operations: Operations, pid: int) -> Server:
    """The server for the `local` endpoint, not started. `bound`: the socket there, which it takes over."""
    server = Server(drain_seconds=0.2)
    servant: Any = AdminServant(operations, pid)
    server.add(servant, f"{ADMIN_OBJECT}@{endpoint}", access=LOOPBACK, shared=bound)
    return server
