"""The mover: takes events that foreign transactions have left and writes them into the journal, in order.

One at a time, in the process that works on partition 0, under a lease that the moving statement itself checks; it takes
turns with the commands of that partition. A row is an event as it stands, once what it says has been checked: a name
that the application lists, a body that its class can read. What does not fit is a dead letter with its bytes, and the
others go on. Looks every 5 ms while it finds something, every 20 ms for a second afterwards, then every 250 ms; `look`
lets it look at once. Not here: how a row gets there (`skerry.bridge`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from skerry.bus.commit_notice import hint_of
from skerry.bus.transport import Transport
from skerry.clock import Backoff, Clock, SystemClock
from skerry.emitter import EventEmitter
from skerry.errors import Conflict, Fenced, MessageError, SkerryError, Unavailable
from skerry.journal.intake import LETTER, MAX_EVENT_BYTES, MOVE_ROWS, HasIntake, Left
from skerry.journal.journal import DeadLetter, JournalWriter, Lease, NewEvent, Writes
from skerry.journal.mirror import with_transaction
from skerry.journal.poll import Poll
from skerry.messages.message import storable
from skerry.messages.serializer import Serializer
from skerry.position import Position

_ID = re.compile(r"[0-9a-f]{12}4[0-9a-f]{19}")
"""Of a UUID of version 4: no command has such an id, so that nobody can answer for one."""


REST = 3.0
"""The pause after a move is at least so many times as long as the move took: each one is a flush of the database's log,
which everybody's commits wait for. A look that is asked for does not wait for that."""


@dataclass(frozen=True, slots=True)
class Looks:
    """How often it looks, in seconds: while it finds something, for `soon_seconds` afterwards, and else."""

    busy_seconds: float = 0.005
    lively_seconds: float = 0.02
    soon_seconds: float = 1.0
    idle_seconds: float = 0.25


class Mover:
    """Emits on `events`: `moved` (number of events, position), `dead` (letter), `retrying` (exception, pause seconds).
    `taken`: the names of the events that foreign transactions may leave. `mirrored`: of those that triggers leave, with
    the mirror that each is of. `turn`: held while it writes."""

    def __init__(
        self,
        writer: JournalWriter,
        transport: Transport,
        serializer: Serializer,
        taken: Collection[str],
        *,
        mirrored: Mapping[str, str] | None = None,
        lease: Callable[[], Lease | None] = lambda: None,
        turn: asyncio.Lock | None = None,
        looks: Looks | None = None,
        clock: Clock | None = None,
        events: EventEmitter | None = None,
    ) -> None:
        assert isinstance(writer, HasIntake)
        self._writer, self._intake = writer, writer.intake
        self._transport, self._serializer, self._taken = transport, serializer, frozenset(taken)
        self._mirrored = mirrored or {}
        self._lease, self._turn = lease, turn or asyncio.Lock()
        self._looks, self._clock = looks or Looks(), clock or SystemClock()
        self.events = events or EventEmitter()
        self._poll = Poll(self._clock)

    def look(self) -> None:
        """Look now: something was committed."""
        self._poll.repair()

    async def run(self) -> None:
        """Move what comes, until cancelled. Raises Fenced when the lease is lost."""
        backoff, found_at = Backoff(0.05, 5.0), float("-inf")
        while True:
            is_asked = self._poll.repairing
            self._poll.settle()
            began = self._clock.monotonic()
            try:
                count = await self.move()
            except Conflict:
                continue
            except (Unavailable, OSError, TimeoutError) as error:
                pause = backoff.next()
                self.events.emit("retrying", error, pause)
                await self._clock.sleep(pause)
                continue
            backoff.reset()
            now = self._clock.monotonic()
            if count or is_asked:
                found_at = now
            if count < MOVE_ROWS:
                await self._poll.pause(max(self._pause(count, now - found_at), REST * (now - began)))

    def _pause(self, count: int, quiet_seconds: float) -> float:
        looks = self._looks
        if count:
            return looks.busy_seconds
        return looks.lively_seconds if quiet_seconds < looks.soon_seconds else looks.idle_seconds

    async def move(self) -> int:
        """Move what there is, at most `MOVE_ROWS` rows; how many. Raises Conflict when another one was quicker, Fenced,
        Unavailable."""
        left = await self._intake.left(MOVE_ROWS)
        if left:
            async with self._turn:
                await self._move(left)
        return len(left)

    async def _move(self, left: Sequence[Left], refused: str = "") -> None:
        """These rows in one transaction; in halves when the database refuses something in them."""
        writes = self.writes_of(left, refused)
        try:
            async with self._writer.batch([], [], self._lease()) as (batch, _):
                epoch = batch.position.epoch
                base = await batch.commit(writes)
        except (Fenced, Unavailable, OSError, TimeoutError):
            raise
        except (SkerryError, ValueError) as error:
            if len(left) > 1:
                middle = len(left) // 2
                await self._move(left[:middle])
                await self._move(left[middle:])
                return
            if refused:
                raise
            await self._move(left, f"the database refused it: {error}")
            return
        hint = hint_of(writes.events, epoch, base)
        if hint is not None:
            self._transport.publish(hint)
        for letter in writes.dead:
            self.events.emit("dead", letter)
        self.events.emit("moved", len(writes.events), Position(epoch, base + len(writes.events)))

    def writes_of(self, left: Sequence[Left], refused: str = "") -> Writes:
        """What these rows become. Pure."""
        writes = Writes(moved=[row.number for row in left])
        for row in left:
            reason = refused or self._refusal(row)
            if reason:
                writes.dead.append(_letter(row, reason))
                continue
            data = (with_transaction(row) if row.source else row).data.encode()
            event = NewEvent(
                row.event_id, row.key, row.name, row.version, data, row.at, False, row.who, row.trace
            )
            writes.events.append(event)
        return writes

    def _refusal(self, row: Left) -> str:
        """Why a row is no event of this application, "" when it is one."""
        if row.source:
            # What does not fit its class stops the mirror, which is told: left out, it would be wrong without a word.
            is_known = self._mirrored.get(row.name) == row.source and row.data.lstrip().startswith("{")
            return "" if is_known else f"no mirror {row.source!r} is declared that tells of {row.name!r}"
        if row.name not in self._taken:
            return f"foreign transactions may not leave {row.name!r}: app.emits(..., foreign=True) lets them"
        if not _ID.fullmatch(row.event_id):
            return f"its id {row.event_id[:40]!r} is not a UUID of version 4 in 32 hexadecimal digits"
        if len(row.data) > MAX_EVENT_BYTES or len(row.data.encode()) > MAX_EVENT_BYTES:
            return f"it has over {MAX_EVENT_BYTES} bytes"
        try:
            self._serializer.decode(row.name, row.version, row.data)
        except MessageError as error:
            return str(error)
        except Exception as error:  # an upcast of the application's own
            return f"{type(error).__name__}: {error}"
        return ""


def _letter(row: Left, reason: str) -> DeadLetter:
    headers = {"event": row.event_id, "who": row.who, "source": row.source}
    return DeadLetter(
        f"{LETTER}{row.number}", storable(row.name), row.version, storable(row.key), row.data.encode(),
        storable(reason), "", 1, row.at, {name: storable(value) for name, value in headers.items() if value},
    )  # fmt: skip
