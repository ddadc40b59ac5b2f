"""A service for the Tars platform, as its author declares it: which servants, what else it answers to.

    service = Service()
    service.servant("HelloObj", HelloServant())

Names, addresses and limits come from the platform's file when `skerry tars run MODULE:service --config=FILE` starts
it. Only declares; it is run by `roles/tars.py`.
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from skerry.errors import DeclarationError, LifecycleError
from skerry.injection import Scoped, made_by
from skerry.tars.blocking import BlockingCommunicator
from skerry.tars.communicator import Communicator
from skerry.tars.platform.property import Property
from skerry.tars.platform.services import Services
from skerry.tars.servant import Servant

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of the platform's configuration service, and the handler of its text."""

    name: str
    take: Callable[[str], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Every:
    """Something that is done again and again, in one process of the service."""

    name: str
    seconds: float
    work: Callable[[], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class PlaceHook:
    """Is told where an object is served, or will not be any more. `name`: which object; empty: all."""

    name: str
    tell: Callable[[str, int], Awaitable[None] | None]


class Service:
    """Servants and web applications under the names that they have in the platform's file. `version` is what the
    platform shows of it."""

    def __init__(self, *, version: str = "") -> None:
        self.version = version
        self.servants: dict[str, object] = {}
        self.provided: dict[type, Callable[..., Any] | Scoped] = {}
        self.web: dict[str, Any] = {}
        self.only: Any = None
        """A web application that was given in place of a service: for the first adapter that does not speak Tars."""
        self.files: list[RemoteFile] = []
        self.commands: dict[str, Callable[[str], Any]] = {}
        self.timers: list[Every] = []
        self.started_hooks: list[PlaceHook] = []
        self.stopping_hooks: list[PlaceHook] = []
        self.properties: dict[str, Property] = {}
        self.platform: Services | None = None  # while the service runs

    def servant(self, name: str, servant: object) -> None:
        """Serve `servant` as `name`: `HelloObj`, or in full `Demo.PyServer.HelloObj`. Its functions may take more than
        the interface says: services by their type (see `provides`), and `tars.Call`. Raises DeclarationError when it
        does not implement an interface of an IDL file, or the name is taken."""
        self._take_name(name)
        Servant.of(name, servant, lambda kind: None)  # services are looked for when it starts
        self.servants[name] = servant

    def provides(
        self, kind: type | None = None, *, scope: Literal["process", "call"] = "process"
    ) -> Callable[[F], F]:
        """Declare a factory whose result servants' functions take by its type (the return annotation unless `kind` is
        given; of a generator function what it yields), as `App.service` does for handlers.

        `process`: made once in each process, before it serves. `call`: made for each call; a factory that yields it
        cleans up after the call. Raises DeclarationError when its type is not known."""
        if kind is not None and not isinstance(kind, type):
            raise DeclarationError("write @service.provides(), with parentheses")

        def declare(function: F) -> F:
            made = kind or (function if isinstance(function, type) else made_by(function))
            if not isinstance(made, type):
                raise DeclarationError(
                    f"{function.__qualname__}: annotate what it returns, or name it: @service.provides(Kind)"
                )
            self.provided[made] = Scoped(function) if scope == "call" else function
            return function

        return declare

    def http(self, name: str, target: Any) -> None:
        """Serve a WSGI or ASGI application, or a Skerry App (one for a service), as `name`, on an adapter whose
        protocol is not `tars`. `target`: the application, or where it is, as `mysite.wsgi:application`. Raises
        DeclarationError when the name is taken."""
        self._take_name(name)
        self.web[name] = target

    def on_config(self, file: str) -> Callable[[F], F]:
        """The function gets the text of a remote file: at start, and whenever the platform says that it has changed.
        If it raises, the text is refused, and the old one stays in force."""

        def declare(function: F) -> F:
            self.files.append(RemoteFile(file, function))
            return function

        return declare

    def admin(self, command: str) -> Callable[[F], F]:
        """The function is a command of the platform's web page; it gets what was written behind the name, and its text
        is the answer. Every process of the service carries it out. Raises DeclarationError for a name that is taken, or
        is one of `tars.`."""
        if not command or command.split() != [command] or command.startswith("tars."):
            raise DeclarationError(f"{command!r} cannot be a command: one word, not of `tars.`")
        if command in self.commands:
            raise DeclarationError(f"the command {command!r} is declared twice")

        def declare(function: F) -> F:
            self.commands[command] = function
            return function

        return declare

    def every(self, *, seconds: float) -> Callable[[F], F]:
        """The function is called every so many seconds, in exactly one process of the service; the next time is counted
        from its end. Plain functions run in a thread. Raises DeclarationError for 0 or less."""
        if seconds <= 0:
            raise DeclarationError(f"every: seconds must be greater than 0, not {seconds}")

        def declare(function: F) -> F:
            self.timers.append(Every(getattr(function, "__name__", "timer"), seconds, function))
            return function

        return declare

    def property(self, name: str, policies: Sequence[str] = ()) -> Property:
        """A number for the platform: `service.property("orders").sum(1)`, in any thread, at any time. `policies` are
        those that `report` feeds (Sum, Avg, Max, Min, Count)."""
        found = self.properties.get(name)
        return self.properties.setdefault(name, Property(policies)) if found is None else found

    @builtins.property
    def communicator(self) -> Communicator:
        """For calls to other objects, by bare names, in the event loop; they are counted. Raises LifecycleError before
        the service runs."""
        return self._running().communicator

    @builtins.property
    def blocking_communicator(self) -> BlockingCommunicator:
        """The same for threads: plain functions, Django views."""
        return self._running().blocking()

    def _running(self) -> Services:
        if self.platform is None:
            raise LifecycleError(
                "call others",
                "not running",
                ("skerry tars run makes the connections when it starts the service",),
            )
        return self.platform

    def on_started(self, name: str = "") -> Callable[[F], F]:
        """The function is told `(address, weight)` of the object `name`, or of every object, when the service serves:
        for a gateway that wants to know. `address` is `10.0.0.1:20001`; weight 100 when the platform's file has
        none."""
        return self._hook(self.started_hooks, name)

    def on_stopping(self, name: str = "") -> Callable[[F], F]:
        """The same, before the service ends."""
        return self._hook(self.stopping_hooks, name)

    def _hook(self, hooks: list[PlaceHook], name: str) -> Callable[[F], F]:
        if not isinstance(name, str):
            raise DeclarationError("write @service.on_started(), with parentheses")

        def declare(function: F) -> F:
            try:
                inspect.signature(function).bind("address", 100)
            except TypeError:
                raise DeclarationError(f"{function.__name__} should take (address, weight)") from None
            hooks.append(PlaceHook(name, function))
            return function

        return declare

    def _take_name(self, name: str) -> None:
        if not name or name in self.servants or name in self.web:
            raise DeclarationError(
                f"the object {name!r} is declared twice" if name else "an object has a name"
            )
