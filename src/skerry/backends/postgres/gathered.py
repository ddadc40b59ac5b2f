"""Batches that are decided and wait to be committed, and several of them as one. Pure: who waits is in committer.py.

Offsets go by the order of the batches: the events of each follow those of the ones before it. Batches go together only
when none of them read or writes what another one writes, so that what each decided on holds whatever their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from skerry.backends.postgres.rows import flush_values
from skerry.backends.postgres.schema import Shape
from skerry.backends.recent import Place, Recent
from skerry.journal.journal import Lease, StoredRow, Writes
from skerry.position import Position

MOST_EVENTS = 4096
"""In one commit, unless a single batch has more."""
_NO_EVIDENCE: Mapping[str, Any] = dict.fromkeys(
    (
        "claims",
        "claim_batches",
        "read_tables",
        "read_counts",
        "read_keys",
        "read_positions",
        "read_batches",
    )
)


@dataclass(slots=True)
class Recalled:
    """What a batch took from memory, and how many rows had been dropped from it then; and what it read afterwards."""

    rows: Mapping[Place, StoredRow]
    dropped: int
    more: dict[Place, StoredRow] = field(default_factory=dict)

    def holds(self, recent: Recent) -> bool:
        """Whether no commit from here has changed any of it since."""
        if not recent.holds(self.rows):
            return False
        return not self.more or (self.dropped == recent.dropped and recent.agrees(self.more))


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A batch that was decided. `position`: the journal's end when it was opened. `claims`: the ids that were not known
    then. `reads`: by table, the offset of each row that was read, None where there was none. `recalled`: of one that
    was opened without asking the database."""

    writes: Writes
    position: Position
    claims: frozenset[str]
    reads: Mapping[str, Mapping[str, int | None]]
    lease: Lease | None
    recalled: Recalled | None = None

    @property
    def places(self) -> frozenset[Place]:
        """What it has read."""
        return frozenset((table, key) for table, keys in self.reads.items() for key in keys)

    @property
    def moves(self) -> bool:
        """Whether what it read has to hold still: it changes what a reader of the journal sees, or was not true for
        certain when it was opened. Else it was true once, and nothing follows from it."""
        writes = self.writes
        return (
            self.recalled is not None
            or bool(writes.events)
            or any(writes.puts.values())
            or any(writes.deletes.values())
        )


@dataclass(slots=True)
class Gathered:
    """Batches in the order in which they are committed together."""

    parts: list[Ready] = field(default_factory=list)
    events: int = 0
    _written: dict[str, set[str]] = field(default_factory=dict)
    _decided: set[str] = field(default_factory=set)

    def has_room(self, ready: Ready) -> bool:
        """Whether it may be committed together with these: of the same epoch, and not too many."""
        return not self.parts or (
            ready.position.epoch == self.parts[0].position.epoch
            and self.events + len(ready.writes.events) <= MOST_EVENTS
        )

    def meets(self, ready: Ready) -> bool:
        """Whether it read, writes or decides what one of these writes or decides."""
        if not self._decided.isdisjoint(ready.claims):
            return True
        touched = (ready.reads, ready.writes.puts, ready.writes.deletes)
        return any(
            not keys.isdisjoint(tables.get(table, ()))
            for table, keys in self._written.items()
            for tables in touched
        )

    def add(self, ready: Ready) -> None:
        self.parts.append(ready)
        self.events += len(ready.writes.events)
        self._decided |= ready.claims
        for changed in (ready.writes.puts, ready.writes.deletes):
            for table, keys in changed.items():
                self._written.setdefault(table, set()).update(keys)

    @property
    def position(self) -> Position | None:
        """Where the journal ended when all of these were opened; None when that differs."""
        first = self.parts[0].position
        return first if all(part.position == first for part in self.parts) else None

    @property
    def is_recalled(self) -> bool:
        """Whether one of them was opened without asking the database."""
        return any(part.recalled is not None for part in self.parts)

    @property
    def befores(self) -> list[int]:
        """How many events come before those of each batch."""
        found, count = [], 0
        for part in self.parts:
            found.append(count)
            count += len(part.writes.events)
        return found

    @property
    def last_id(self) -> str:
        """Whose the last event is; "" when there is none."""
        return next((p.writes.events[-1].command_id for p in reversed(self.parts) if p.writes.events), "")

    @property
    def shape(self) -> Shape:
        """What the statement has to have that writes them."""
        every = [part.writes for part in self.parts]
        return Shape(
            any(writes.events for writes in every),
            any(writes.outcomes for writes in every),
            any(writes.dead for writes in every),
            any(writes.moved for writes in every),
            tuple(sorted({table for writes in every for table, rows in writes.puts.items() if rows})),
            tuple(sorted({table for writes in every for table, keys in writes.deletes.items() if keys})),
        )

    def values(self, now: float) -> dict[str, Any]:
        """The parameters of that statement, without evidence."""
        values = flush_values(
            [(before, part.writes) for before, part in zip(self.befores, self.parts, strict=True)], now
        )
        leases = [part.lease for part in self.parts]
        values["leases"] = [lease and lease.name for lease in leases]
        values["owners"] = [lease and lease.owner for lease in leases]
        values["fences"] = [lease and lease.fence for lease in leases]
        values["moves"] = any(part.moves for part in self.parts)
        values["epoch"] = self.parts[0].position.epoch
        values["expected"] = self.position and self.position.offset
        return values

    def evidence(self, *, wanted: bool) -> Mapping[str, Any]:
        """What they decided on, for the database to compare; nothing unless `wanted`."""
        if not wanted:
            return _NO_EVIDENCE
        claims = [(id, number) for number, part in enumerate(self.parts, 1) for id in part.claims]
        tables: dict[str, list[tuple[str, int | None, int]]] = {}
        for number, part in enumerate(self.parts, 1):
            for table, rows in part.reads.items() if part.moves else ():
                tables.setdefault(table, []).extend((key, pos, number) for key, pos in rows.items())
        reads = [read for rows in tables.values() for read in rows]
        return {
            "claims": [id for id, _ in claims],
            "claim_batches": [number for _, number in claims],
            "read_tables": list(tables),
            "read_counts": [len(rows) for rows in tables.values()],
            "read_keys": [key for key, _, _ in reads],
            "read_positions": [pos for _, pos, _ in reads],
            "read_batches": [number for _, _, number in reads],
        }


def gathered(parts: Sequence[Ready]) -> Gathered:
    """These, which go together."""
    found = Gathered()
    for part in parts:
        found.add(part)
    return found


def as_of(ready: Ready, recent: Recent) -> Ready | None:
    """What was recalled, as if it had been opened now; None when it would not be the same."""
    if ready.recalled is None:
        return ready
    if recent.position is None or not ready.recalled.holds(recent):
        return None
    return ready if ready.position == recent.position else replace(ready, position=recent.position)
