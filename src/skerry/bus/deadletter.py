"""What the broker itself drops from its queues becomes dead letters of the journal, where operators look.

A broker may drop a command into a queue of its own though nobody decided it: a policy made elsewhere (expiry, a
delivery limit, a length) does so. Each such command gets the outcome `failed` and a dead letter with its bytes, unless
it was decided after all; its sender is told. Not here: commands that fail while they are decided (decider.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from skerry.bus.decider import letter_of_bytes, refuse
from skerry.bus.transport import Commands, Delivery, Transport
from skerry.clock import Backoff, Clock, SystemClock
from skerry.emitter import EventEmitter
from skerry.errors import Conflict, MessageError, Unavailable
from skerry.journal.journal import JournalWriter, NewOutcome, Outcome
from skerry.journal.unit import Overlay
from skerry.messages.envelope import Envelope
from skerry.position import Position

SET_ASIDE = "skerry-set-aside"
"""The header of a command that the broker dropped: why and from where, in the broker's words."""
_DELIVERIES = 100


@runtime_checkable
class SetsAside(Protocol):
    """A transport whose broker has a queue for what it drops from the others."""

    async def set_aside(self) -> Commands:
        """Open that queue. Raises `Disconnected`."""
        ...


class DeadQueue:
    """Empties the broker's dead queue into the journal, for ever. Any number of consumers may do it at once. Emits
    `dead` (letter) and `retrying` (exception, pause seconds) on `events`."""

    def __init__(
        self,
        queue: SetsAside,
        transport: Transport,
        writer: JournalWriter,
        *,
        clock: Clock | None = None,
        events: EventEmitter | None = None,
    ) -> None:
        self._queue, self._transport, self._writer = queue, transport, writer
        self._clock = clock or SystemClock()
        self.events = events or EventEmitter()

    async def run(self) -> None:
        """Work until cancelled; what is under way then comes again."""
        backoff = Backoff(0.1, 10.0)
        while True:
            try:
                commands = await self._queue.set_aside()
                try:
                    while True:
                        deliveries = await commands.receive(_DELIVERIES)
                        for delivery in deliveries:
                            await self._bury(delivery)
                        await commands.ack(deliveries)
                        backoff.reset()
                finally:
                    await commands.close()
            except (Unavailable, OSError, TimeoutError) as error:
                pause = backoff.next()
                self.events.emit("retrying", error, pause)
                await self._clock.sleep(pause)

    async def _bury(self, delivery: Delivery) -> None:
        if delivery.undecodable is not None:
            letter = letter_of_bytes(delivery.undecodable, self._clock.now())
            await self._writer.bury(letter)
            self.events.emit("dead", letter)
            return
        for envelope in delivery.envelopes:
            while True:
                try:
                    await self._fail(envelope)
                    break
                except Conflict:
                    continue  # somebody decides it at this moment: look again

    async def _fail(self, envelope: Envelope) -> None:
        """Its outcome and dead letter, in one transaction; its stored outcome when it has one."""
        headers, why = _parted(envelope.headers)
        envelope.headers = headers
        now = self._clock.now()
        async with self._writer.batch([envelope.id], []) as (batch, _):
            position, known = batch.position, batch.known.get(envelope.id)
            overlay = Overlay(batch.load, {}, [])
            if known is None:
                refuse(overlay, envelope, MessageError(f"set aside by the broker: {why}"), now)
                await batch.commit(overlay.writes)
        if known is None:
            [letter], [new] = overlay.writes.dead, overlay.writes.outcomes
            known = _outcome(new, position)
            self.events.emit("dead", letter)
        if envelope.sender:
            self._transport.answer(envelope.sender, [known], position.epoch)


def _parted(headers: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The command's own headers, and why the broker made it a dead letter."""
    own = {name: value for name, value in headers.items() if name != SET_ASIDE}
    return own, headers.get(SET_ASIDE, "it did not say why")


def _outcome(new: NewOutcome, at: Position) -> Outcome:
    return Outcome(
        new.command_id,
        new.status,
        at.offset,
        0,
        new.reason,
        new.kind,
        None,
        new.request_hash,
        epoch=at.epoch,
    )
