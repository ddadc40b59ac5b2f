"""Projections: what a process keeps in memory, by what was declared.

A row-backed projection names the tables it is loaded from and is then kept fresh by events. A stored one (it
follows from events alone) keeps a snapshot of its own in the database. Which events, in which order and when is
the projector's business.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from types import MemberDescriptorType
from typing import Any, ClassVar, Generic, TypeVar, overload

from skerry.errors import DeclarationError
from skerry.journal.journal import Record
from skerry.journal.row_events import K, Row
from skerry.journal.table import AnyTable, Table
from skerry.messages.message import Event

Self_ = TypeVar("Self_")
A = TypeVar("A", bound=Event)
B = TypeVar("B", bound=Event)
C = TypeVar("C", bound=Event)
D = TypeVar("D", bound=Event)
E_co = TypeVar("E_co", bound=Event, covariant=True)
Apply = Callable[[Any, Record], None]


class Applies(Generic[E_co]):
    """What `Projection.applies(Event, ...)` gives: a decorator for methods `(self, event, record)` that take these
    events. It returns the method itself."""

    def __init__(self, events: tuple[type[Event], ...]) -> None:
        self._events = events

    def __call__(
        self, method: Callable[[Self_, E_co, Record], None]
    ) -> Callable[[Self_, E_co, Record], None]:
        method.__skerry_applies__ = self._events  # type: ignore[attr-defined]
        return method


class Projection(Generic[K, Row]):
    """Memory that answers reads. Subclass it, declare what it is loaded from, and apply events:

        @app.projection
        class Values(Projection[str, Row]):
            table = values

            def __init__(self) -> None: self.rows: dict[str, Row] = {}
            def clear(self) -> None: self.rows.clear()
            def load(self, table, key, row, offset) -> None: self.rows[key] = row

            @Projection.applies(ValuePut)
            def put(self, event: ValuePut, record: Record) -> None: ...

    `Projection[K, Row]` says what its table's keys and rows are, for type checkers; one of several tables or of none
    is a `Projection`. The rows of one table as a mapping: `KeyedProjection`.

    All methods are plain and quick: they run in the loop's thread, in journal order, between two reads.
    `version`: raise it when the meaning of what `dump` or `state` wrote has changed; it is then rebuilt.
    `stored`: it follows from events alone, and keeps its `state` in the database. `ephemeral`: it has neither a table
    nor a state, and begins empty at every start of every process.
    """

    table: Table[K, Row] | None = None
    tables: ClassVar[tuple[AnyTable, ...]] = ()
    version: ClassVar[int] = 1
    stored: ClassVar[bool] = False
    ephemeral: ClassVar[bool] = False

    @overload
    @staticmethod
    def applies(event: type[A], /) -> Applies[A]: ...

    @overload
    @staticmethod
    def applies(event: type[A], second: type[B], /) -> Applies[A | B]: ...

    @overload
    @staticmethod
    def applies(event: type[A], second: type[B], third: type[C], /) -> Applies[A | B | C]: ...

    @overload
    @staticmethod
    def applies(
        event: type[A], second: type[B], third: type[C], fourth: type[D], /
    ) -> Applies[A | B | C | D]: ...

    @overload
    @staticmethod
    def applies(*events: type[Event]) -> Applies[Any]: ...

    @staticmethod
    def applies(*events: type[Event]) -> Applies[Any]:
        """Mark a method `(self, event, record)` that applies these events."""
        return Applies(events)

    def clear(self) -> None:
        """Delete all content; a load from a snapshot follows."""
        raise NotImplementedError(f"{type(self).__name__}.clear")

    def load(self, table: Table[K, Row], key: K, row: Row, offset: int) -> None:
        """Row-backed: take one row of a snapshot; `offset` is that of its last change."""
        raise NotImplementedError(f"{type(self).__name__}.load")

    def loaded(self) -> None:
        """Row-backed: the last row of a snapshot was given to `load`; events follow."""

    def twin(self) -> Projection:
        """A new, empty projection, which is filled while this one is read when memory is loaded anew. The
        default calls the class without arguments."""
        return type(self)()

    def exchange(self, twin: Projection) -> None:
        """Exchange the content with `twin`, which was filled meanwhile: between two reads, in one step. The
        default exchanges all attributes. Override it (and `twin`) where other objects refer to a part of this
        one, or where a part of it refers to the object itself."""
        for slot in _slots_of(type(self)):
            both = [(one, slot.__get__(one)) for one in (self, twin) if _is_set(slot, one)]
            for one, _ in both:
                slot.__delete__(one)
            for one, value in both:
                slot.__set__(twin if one is self else self, value)
        self.__dict__, twin.__dict__ = twin.__dict__, self.__dict__

    def dump(self) -> Iterable[tuple[AnyTable, Any, Any, int]] | None:
        """Row-backed: everything that `load` would have to be called with, for a warm start from a local file.
        None (the default): no warm start."""
        return None

    def state(self) -> bytes:
        """Stored: everything, as bytes. Called between two events."""
        raise NotImplementedError(f"{type(self).__name__}.state")

    def restore(self, state: bytes) -> None:
        """Stored: the reverse of `state`."""
        raise NotImplementedError(f"{type(self).__name__}.restore")

    @classmethod
    def check_declaration(cls) -> None:
        """Raises DeclarationError for methods that are missing, asynchronous, or cannot be called as they will be."""
        needed = {"clear": 0} | ({"load": 4} if cls.source_tables() else {})
        needed |= {"state": 0, "restore": 1} if cls.stored else {}
        for name in needed:
            if getattr(cls, name) is getattr(Projection, name):
                signature = str(inspect.signature(getattr(Projection, name))).partition(" ->")[0]
                raise DeclarationError(f"{cls.__name__} needs a method: def {name}{signature}")
        for name, count in {**needed, "dump": 0, **cls.called_with()}.items():
            method = getattr(cls, name)
            if inspect.iscoroutinefunction(method):
                raise DeclarationError(
                    f"{cls.__name__}.{name} must be a plain def: it runs between two reads"
                )
            try:
                inspect.signature(method).bind(*[None] * (count + 1))
            except TypeError as error:
                known = getattr(Projection, name, None)
                given = "(self, event, record)" if count == 2 else "(self, event)"
                wanted = str(inspect.signature(known)).partition(" ->")[0] if known else given
                raise DeclarationError(f"{cls.__name__}.{name} must take {wanted}: {error}") from error
        if cls.ephemeral and (cls.stored or cls.source_tables()):
            raise DeclarationError(f"{cls.__name__} is ephemeral, and has a table or is stored: choose one")

    @classmethod
    def source_tables(cls) -> tuple[AnyTable, ...]:
        table: AnyTable | None = getattr(cls, "table", None)
        return cls.tables or ((table,) if table is not None else ())

    @classmethod
    def applied_events(cls) -> dict[type[Event], str]:
        """Event type -> name of the method that applies it. Raises DeclarationError for two of one event."""
        found = cls.declared_events()
        if not found:
            raise DeclarationError(
                f"{cls.__name__} applies no event: mark a method with @Projection.applies(Event)"
            )
        if cls.stored and cls.source_tables():
            raise DeclarationError(f"{cls.__name__} is row-backed (table) and stored at once: choose one")
        return found

    @classmethod
    def declared_events(cls) -> dict[type[Event], str]:
        """The result of `applied_events` for any projection."""
        return marked(cls, "__skerry_applies__")

    @classmethod
    def called_with(cls) -> dict[str, int]:
        """The methods that apply events, with the number of their arguments."""
        return dict.fromkeys(cls.applied_events().values(), 2)

    def appliers(self) -> dict[type[Event], Apply]:
        """Event type -> what is called with the event and its record."""
        return {event: getattr(self, method) for event, method in self.applied_events().items()}


def marked(projection: type[Projection], mark: str) -> dict[type[Event], str]:
    """Event type -> name of the method that a decorator has marked. Raises DeclarationError for two of one event."""
    found: dict[type[Event], str] = {}
    for klass in reversed(projection.__mro__):
        for name, member in vars(klass).items():
            for event in getattr(member, mark, ()):
                other = found.get(event)
                if other not in (None, name):
                    raise DeclarationError(
                        f"{projection.__name__}: {other} and {name} both apply {event.__name__}"
                    )
                found[event] = name
    return found


def _slots_of(kind: type) -> list[Any]:
    """The descriptors of everything that a class and those above it have in `__slots__`."""
    return [
        found
        for each in kind.__mro__
        for found in vars(each).values()
        if isinstance(found, MemberDescriptorType)
    ]


def _is_set(slot: Any, instance: object) -> bool:
    try:
        slot.__get__(instance)
    except AttributeError:
        return False
    return True
