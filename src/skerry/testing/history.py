"""What clients did and were told, and whether it can be true.

    history = History()
    operation = history.begin("client-1", "put", "k", value="v1")
    history.applied(operation, offset=7, command_id="...")
    problems = check(history.operations, log, stored, copies={"server-1": memory}, streams={"listener": frames})
    assert not problems

A small relative of Jepsen's checkers for what Skerry promises about keys and values: an acknowledged write is never
lost, each takes effect once, the order of writes of a key is that of their answers, a client never reads backwards,
a read that brings a position sees it, a precondition holds when its write takes effect, every copy ends equal to the
database, and positions have no gap. Pure: it is given what was recorded and what is stored. Every write carries a
value of its own, so that values tell writes apart. Clients and records: tests/faults.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["put", "delete", "get"]
Verdict = Literal["unknown", "applied", "refused", "failed"]


@dataclass(slots=True)
class Operation:
    """One thing that a client asked for.

    `began`, `ended`: places in the history (one counter for all clients), `ended` is 0 while nobody has answered.
    `value`: what was put, or what was read (None: there was nothing). `verdict`: "applied" for what was answered 200
    (404 of a read too), "refused" when it certainly had no effect, "failed" when it became a dead letter, "unknown"
    otherwise. `offset`: the position answered. `revision`: of a read, the offset of the value's last change (0 for
    none). `token`: the position that a read brought. `if_match`: the revision that a write demanded, 0 for "none".
    """

    client: str
    kind: Kind
    key: str
    began: int
    value: str | None = None
    token: int = 0
    if_match: int | None = None
    verdict: Verdict = "unknown"
    ended: int = 0
    offset: int = 0
    revision: int = 0
    command_id: str = ""

    @property
    def writes(self) -> bool:
        return self.kind != "get"

    def __str__(self) -> str:
        return f"{self.client} {self.kind} {self.key!r} {self.value!r} ({self.began}..{self.ended or '?'})"


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as the journal has it. `value` is None for a deletion."""

    offset: int
    command_id: str
    key: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Frame:
    """One event as a listener heard it. `fresh`: the first one after it was told to load a snapshot."""

    offset: int
    key: str
    value: str | None
    fresh: bool = False


@dataclass(slots=True)
class History:
    """Records operations of many clients in one loop's thread; their places are the order of things."""

    operations: list[Operation] = field(default_factory=list)
    _place: int = 0

    def begin(
        self,
        client: str,
        kind: Kind,
        key: str,
        *,
        value: str | None = None,
        token: int = 0,
        if_match: int | None = None,
    ) -> Operation:
        """A client is about to ask."""
        operation = Operation(client, kind, key, self._next(), value, token, if_match)
        self.operations.append(operation)
        return operation

    def applied(
        self,
        operation: Operation,
        offset: int,
        *,
        command_id: str = "",
        value: str | None = None,
        revision: int = 0,
    ) -> None:
        """It was answered. `value` and `revision`: of a read."""
        operation.offset, operation.command_id = offset, command_id
        if not operation.writes:
            operation.value, operation.revision = value, revision
        self._end(operation, "applied")

    def refused(self, operation: Operation) -> None:
        """It certainly had no effect (a precondition, or it was never sent)."""
        self._end(operation, "refused")

    def failed(self, operation: Operation) -> None:
        """It became a dead letter: no effect."""
        self._end(operation, "failed")

    def _end(self, operation: Operation, verdict: Verdict) -> None:
        operation.verdict, operation.ended = verdict, self._next()

    def _next(self) -> int:
        self._place += 1
        return self._place


def check(
    operations: Sequence[Operation],
    log: Sequence[Entry],
    stored: Mapping[str, tuple[str, int]],
    copies: Mapping[str, Mapping[str, str]] | None = None,
    streams: Mapping[str, Sequence[Frame]] | None = None,
) -> list[str]:
    """Every problem found, in words; empty when all promises were kept. `log`: the whole journal. `stored`: the
    database's rows, key -> (value, offset). `copies`: what servers and listeners have in the end. `streams`: what
    listeners heard, in order."""
    return [
        *gaps(log),
        *lost(operations, log),
        *doubled(operations, log),
        *disordered(operations, log),
        *backwards(operations),
        *not_own(operations),
        *untrue_reads(operations, log),
        *broken_preconditions(operations, log),
        *unequal(log, stored, copies or {}),
        *wrong_streams(log, streams or {}),
    ]


def gaps(log: Sequence[Entry]) -> Iterator[str]:
    """Positions are 1, 2, 3 ... without a gap."""
    for expected, entry in enumerate(log, 1):
        if entry.offset != expected:
            yield f"gap: position {expected} is {entry.offset}"
            return


def lost(operations: Iterable[Operation], log: Sequence[Entry]) -> Iterator[str]:
    """What was acknowledged stands in the journal at the position that was told; what was refused does not."""
    by_offset = {entry.offset: entry for entry in log}
    values = {entry.value for entry in log if entry.value is not None}
    before = _revisions(log)
    for operation in operations:
        if (
            operation.kind == "put"
            and operation.verdict in ("refused", "failed")
            and operation.value in values
        ):
            yield f"lost: refused, and yet in the journal: {operation}"
        if not operation.writes or operation.verdict != "applied":
            continue
        entry = by_offset.get(operation.offset)
        if operation.kind == "delete" and (entry is None or entry.command_id != operation.command_id):
            # There was nothing to delete: no event of its own, and no value at that position.
            if _at(before, operation.key, operation.offset)[1] is not None:
                yield f"lost: told to be deleted at {operation.offset}, and it is there: {operation}"
        elif entry is None:
            yield f"lost: acknowledged at {operation.offset}, where nothing is: {operation}"
        elif (entry.key, entry.value) != (
            operation.key,
            operation.value if operation.kind == "put" else None,
        ):
            yield f"lost: acknowledged at {operation.offset}, where {entry} is: {operation}"
        elif operation.command_id and entry.command_id != operation.command_id:
            yield f"lost: acknowledged as {operation.command_id}, the journal has {entry.command_id}: {operation}"


def doubled(operations: Iterable[Operation], log: Sequence[Entry]) -> Iterator[str]:
    """Each command, and each value that was put once, has one event; nothing is there that nobody asked for."""
    commands: dict[str, int] = {}
    values: dict[str, int] = {}
    asked = {operation.value for operation in operations if operation.kind == "put"}
    for entry in log:
        first = commands.setdefault(entry.command_id, entry.offset)
        if first != entry.offset:
            yield f"doubled: command {entry.command_id} at {first} and {entry.offset}"
        if entry.value is None:
            continue
        first = values.setdefault(entry.value, entry.offset)
        if first != entry.offset:
            yield f"doubled: value {entry.value!r} at {first} and {entry.offset}"
        if entry.value not in asked:
            yield f"doubled: value {entry.value!r} at {entry.offset} was never asked for"


def disordered(operations: Iterable[Operation], log: Sequence[Entry]) -> Iterator[str]:
    """A write that began after another one of its key was answered comes later in the journal."""
    placed = {entry.value: entry.offset for entry in log if entry.value is not None}
    by_key: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        is_told_delete = operation.kind == "delete" and operation.verdict == "applied"
        if is_told_delete or (operation.kind == "put" and operation.value in placed):
            by_key[operation.key].append(operation)
    for found in by_key.values():
        # Sorted by when they began, against the highest position among those that had been answered by then.
        ended = sorted((o for o in found if o.verdict == "applied"), key=lambda o: o.ended)
        highest: Operation | None = None
        at = 0
        for operation in sorted(found, key=lambda o: o.began):
            while at < len(ended) and ended[at].ended < operation.began:
                if highest is None or ended[at].offset > highest.offset:
                    highest = ended[at]
                at += 1
            offset = placed.get(operation.value or "", operation.offset)
            if highest is not None and (
                offset < highest.offset or (offset == highest.offset and operation.kind == "put")
            ):
                yield f"disordered: {operation} is at {offset}, after the answer to {highest} at {highest.offset}"


def backwards(operations: Iterable[Operation]) -> Iterator[str]:
    """What one client reads never goes back: neither the position, nor the revision of a key."""
    position: dict[str, int] = {}
    revision: dict[tuple[str, str], int] = {}
    for operation in operations:
        if operation.writes or operation.verdict != "applied":
            continue
        before = position.get(operation.client, 0)
        if operation.offset < before:
            yield f"backwards: read at {operation.offset} after {before}: {operation}"
        position[operation.client] = max(before, operation.offset)
        place = operation.client, operation.key
        if operation.revision and operation.revision < revision.get(place, 0):
            yield f"backwards: revision {operation.revision} after {revision[place]}: {operation}"
        revision[place] = max(revision.get(place, 0), operation.revision)


def not_own(operations: Iterable[Operation]) -> Iterator[str]:
    """A read that brings a position is answered at that position or a later one."""
    for operation in operations:
        if not operation.writes and operation.verdict == "applied" and operation.offset < operation.token:
            yield f"not own: answered at {operation.offset}, brought {operation.token}: {operation}"


def untrue_reads(operations: Iterable[Operation], log: Sequence[Entry]) -> Iterator[str]:
    """A value that was read is what the journal says for the position at which it was read."""
    revisions = _revisions(log)
    last = log[-1].offset if log else 0
    for operation in operations:
        if operation.writes or operation.verdict != "applied":
            continue
        if operation.offset > last:
            yield f"untrue: read at {operation.offset}, the journal ends at {last}: {operation}"
            continue
        revision, value = _at(revisions, operation.key, operation.offset)
        if value != operation.value or (value is not None and operation.revision not in (0, revision)):
            yield f"untrue: at {operation.offset} the value was {value!r} of {revision}, not as read: {operation}"


def broken_preconditions(operations: Iterable[Operation], log: Sequence[Entry]) -> Iterator[str]:
    """A write with a precondition took effect on exactly the revision that it named (of two, one succeeds)."""
    revisions = _revisions(log)
    placed = {entry.value: entry.offset for entry in log if entry.value is not None}
    for operation in operations:
        if operation.kind != "put" or operation.if_match is None or operation.value not in placed:
            continue
        revision, value = _at(revisions, operation.key, placed[operation.value] - 1)
        if (revision if value is not None else 0) != operation.if_match:
            yield f"precondition: took effect on {revision}, demanded {operation.if_match}: {operation}"


def unequal(
    log: Sequence[Entry], stored: Mapping[str, tuple[str, int]], copies: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """The rows are the journal's sum, and every copy is equal to the rows."""
    rows: dict[str, tuple[str, int]] = {}
    for entry in log:
        if entry.value is None:
            rows.pop(entry.key, None)
        else:
            rows[entry.key] = entry.value, entry.offset
    yield from _differences("the database", rows, stored)
    plain = {key: value for key, (value, _) in stored.items()}
    for name, copy in copies.items():
        yield from _differences(name, plain, copy)


def wrong_streams(log: Sequence[Entry], streams: Mapping[str, Sequence[Frame]]) -> Iterator[str]:
    """What a listener hears is what the journal says, in its order, each event at most once between snapshots."""
    by_offset = {entry.offset: entry for entry in log}
    for name, frames in streams.items():
        last = 0
        for frame in frames:
            entry = by_offset.get(frame.offset)
            if entry is None or (entry.key, entry.value) != (frame.key, frame.value):
                yield f"stream: {name} heard {frame}, the journal has {entry}"
            if frame.offset <= last and not frame.fresh:
                yield f"stream: {name} heard {frame.offset} after {last}"
            last = frame.offset


def _differences(name: str, expected: Mapping[str, object], found: Mapping[str, object]) -> Iterator[str]:
    missing, foreign = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    other = sorted(key for key in expected.keys() & found.keys() if expected[key] != found[key])
    for what, keys in (("lacks", missing), ("has besides", foreign), ("has another value for", other)):
        if keys:
            yield f"unequal: {name} {what} {len(keys)} keys: {keys[:5]}"


_Revisions = dict[str, list[tuple[int, str | None]]]


def _revisions(log: Sequence[Entry]) -> _Revisions:
    """Key -> its changes in order."""
    found: _Revisions = defaultdict(list)
    for entry in log:
        found[entry.key].append((entry.offset, entry.value))
    return found


def _at(revisions: _Revisions, key: str, offset: int) -> tuple[int, str | None]:
    """(offset of the last change at or before `offset`, its value); (0, None) when there is none."""
    changes = revisions.get(key, [])
    low, high = 0, len(changes)
    while low < high:
        middle = (low + high) // 2
        if changes[middle][0] <= offset:
            low = middle + 1
        else:
            high = middle
    return changes[low - 1] if low else (0, None)
