"""Backends: what a technology offers, a journal, a transport or both, as a record that is found by its URLs' scheme.

    BACKEND = Backend("mysql", journal=JournalSide(make=make_journal, transports={"amqp": "many machines"}))

It stands in `skerry.plugins` (group `skerry.backends`) under its scheme; another distribution names its own by an entry
point of that group, and `SKERRY_JOURNAL=mysql://...` finds it. Nothing else of Skerry knows a backend. What is behind
the contracts (`JournalWriter`, `Transport`) is proved by the suites of `skerry.testing`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar

from skerry.bus.transport import Transport
from skerry.errors import SettingsError
from skerry.journal.journal import JournalAdmin, JournalReader, JournalWriter

S = TypeVar("S")
T = TypeVar("T")


class Chosen(Protocol):
    """The settings, as far as a backend reads them (`skerry.Settings`)."""

    def of(self, kind: type[S]) -> S:
        """The record of that class: the backend's own table of settings."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where an application's things are. `process`: the name of the process that opens them."""

    journal_url: str
    transport_url: str
    namespace: str
    settings: Chosen
    process: str = ""
    tables: tuple[str, ...] = ()


class Access(Enum):
    """What a journal is opened for."""

    DECIDES = "decides"
    """A consumer: commands are decided, everything is written."""
    READS = "reads"
    """A server: memory follows it."""
    LOOKS = "looks"
    """A reader, which changes nothing; a file may have an owner at work."""
    KEEPS = "keeps"
    """An operator, who makes, repairs or deletes."""


class OpenableJournal(JournalWriter, Protocol):
    """A journal that is opened for a while."""

    async def __aenter__(self) -> JournalWriter: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """A process's backends. `writer`: where commands may be decided. `shared`: several consumers may write."""

    transport: Transport
    reader: JournalReader
    writer: JournalWriter | None
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `skerry doctor` found. `fix`: what to do, empty when there is nothing to do."""

    level: Literal["ok", "warning", "error"]
    what: str
    fix: str = ""


Look = Callable[[JournalAdmin], AsyncIterator[Finding]]
"""Looks at what is stored: whether the application can read it."""


@dataclass(frozen=True, slots=True)
class JournalSide:
    """A kind of journal."""

    make: Callable[[Place, Access, bool], OpenableJournal]
    """The journal, not opened yet. The last says whether it has to be there: without, what is away is tried again."""
    transports: Mapping[str, str] = field(default_factory=dict)
    """Transports that it goes with, beside those that name it, and what for."""
    default_transport: str = ""
    """The URL where none is set; empty: one has to be set."""
    needs: str = ""
    """Without a default: what to say."""
    keeps: bool = True
    """Whether anything is there when the process has ended."""
    shared: bool = False
    """Whether several processes may open it, and write."""
    file: Callable[[str], Path] | None = None
    """Of one that is a file, which one process owns: where a URL says it is. Raises SettingsError."""
    owner: Callable[[Path], str] = lambda file: ""
    """Of one that is a file: the id of the other process that has it open for writing, empty for none."""
    check: Callable[[str], None] = lambda url: None
    """Raises SettingsError for a URL that cannot be."""
    doctor: Callable[[Place, Look | None], AsyncIterator[Finding]] | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """What a process needs opened."""

    place: Place
    journal: JournalSide
    decides: bool
    """Whether it has the consumer role."""
    wait: bool
    """Whether servers have to be there. A process with a copy of its memory does without for a while."""
    made: Callable[[Parts], None]
    """To be called with the parts before any is opened: what it raises ends this before somebody else was asked to
    make room."""
    rehearse: Callable[[Any], Awaitable[None]]
    """To be called with a journal that another process owns, before that one is waited for."""
    prepare: Callable[[JournalWriter], Awaitable[None]]
    """To be called with the open journal where it is written: makes what is missing."""
    on_standby: Callable[[], None] | None = None
    """To be called when another process owns the journal and this one waits for it."""

    def journal_for(self, access: Access, *, required: bool = True) -> OpenableJournal:
        """The journal, not opened yet."""
        return self.journal.make(self.place, access, required)


@dataclass(frozen=True, slots=True)
class Infra:
    """What a transport keeps on its server, for operators: lines of what was made, is wrong, was left or deleted.
    Each raises SettingsError and Disconnected; `drop`, without force, TransportError while commands wait."""

    create: Callable[[Place], Awaitable[list[str]]]
    check: Callable[[Place], Awaitable[list[str]]]
    tidy: Callable[[Place], Awaitable[list[str]]]
    drop: Callable[[Place, bool], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class TransportSide:
    """A kind of transport."""

    open: Callable[[Opening], AbstractAsyncContextManager[Parts]]
    """Open both, the journal and the transport, and close them at the end. Raises Disconnected, SettingsError."""
    journals: Mapping[str, str] = field(default_factory=dict)
    """Journals that it goes with, and what for."""
    one_process: bool = False
    """Whether it stays within its process."""
    owner: Callable[[Place, JournalSide], Awaitable[tuple[JournalAdmin, Transport] | None]] | None = None
    """For an operator, where one process owns the journal: that journal and what commands can be sent by, started; None
    while nobody owns it."""
    sender: Callable[[Place, Any], Transport] | None = None
    """For an operator with that journal open: what commands can be sent by, not started yet."""
    infra: Infra | None = None
    doctor: Callable[[Place], AsyncIterator[Finding]] | None = None


@dataclass(frozen=True, slots=True)
class Backend:
    """One technology. `aliases`: other schemes of the same. `install`: what to install when its driver is missing."""

    scheme: str
    journal: JournalSide | None = None
    transport: TransportSide | None = None
    aliases: tuple[str, ...] = ()
    install: str = ""

    def imported(self, load: Callable[[], T]) -> T:
        """What `load` gives. Raises SettingsError that names the cure where a driver is missing."""
        try:
            return load()
        except ModuleNotFoundError as error:
            setting = "journal" if self.journal else "transport"
            cure = f": pip install '{self.install}'" if self.install else ""
            raise SettingsError(setting, f"{error.name} is missing{cure}") from error
