"""The hub: the queues, and everybody's way to everybody else, in the process that owns the journal's file.

Peers come over sockets (`Hub.accept`), the owner's own process takes part directly (owner.py). A slow peer loses
hints and announcements and gets the newest position once it reads again; sends and answers are never lost on a
connection that stands. Not here: where the socket is (owner.py), what a journal call means (service.py).
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import defaultdict
from typing import Protocol

import msgspec

from skerry.backends.listeners import Listeners
from skerry.backends.local import frames
from skerry.backends.local.connection import Connection
from skerry.backends.outcomes import encode_outcomes, outcomes_of
from skerry.backends.queues import Consumer, Message, Queue
from skerry.bus.transport import MAX_HINT_BYTES, Announcement
from skerry.journal.hints import Hint, tip
from skerry.journal.journal import Outcome
from skerry.messages.envelope import pack, unpack
from skerry.position import Position

log = logging.getLogger("skerry.local")

PEER_COMMANDS_BYTES = 128 * 1024 * 1024
"""Commands of one peer that wait at the hub; above it the peer is not read any more until some are decided."""

_json = msgspec.json.Encoder()
_hint_of = msgspec.json.Decoder(Hint)


class Service(Protocol):
    """Answers journal calls."""

    def call(self, peer: Peer, call: frames.Call) -> None: ...
    def next(self, peer: Peer, request: frames.Next) -> None: ...
    def cancel(self, peer: Peer, number: int) -> None: ...
    def forget(self, peer: Peer) -> None: ...


class Hub:
    """Queues by partition, peers by name, the listeners of this process."""

    def __init__(self, service: Service | None = None) -> None:
        self.id = uuid.uuid4().hex
        self.peers: dict[str, Peer] = {}
        self.service = service
        self.hints: Listeners[[Hint]] = Listeners()
        self.announcements: Listeners[[Announcement]] = Listeners()
        self.answers: dict[str, Listeners[[list[Outcome], str]]] = {}
        self.newest: Position | None = None
        self._strangers: set[Peer] = set()
        self._queues: defaultdict[int, Queue] = defaultdict(Queue)

    def queue(self, partition: int) -> Queue:
        return self._queues[partition]

    def accept(self) -> Connection:
        """The protocol for one accepted socket."""
        peer = Peer(self)
        self._strangers.add(peer)
        return peer.connection

    def publish(self, hint: Hint) -> None:
        """To every peer in parts that fit, and to the listeners here as it is."""
        self.newest = hint.position
        if self.peers:
            for data in encoded_hints(hint):
                self._spread(data)
        self.hints.tell(hint)

    def relay(self, data: bytes) -> None:
        """A peer's hint, to every peer and to the listeners here."""
        hint = _hint_of.decode(data)
        self.newest = hint.position
        self._spread(frames.encode(frames.Publish(data)))
        self.hints.tell(hint)

    def _spread(self, data: bytes) -> None:
        for peer in self.peers.values():
            peer.hint(data)

    def announce(self, announcement: Announcement) -> None:
        if self.peers:
            said = frames.Announce(announcement.topic, announcement.payload, announcement.headers)
            data = frames.encode(said)
            for peer in self.peers.values():
                if peer.connection.room:
                    peer.connection.write(data)
        self.announcements.tell(announcement)

    def answer(self, to: str, outcomes: list[Outcome], epoch: str) -> None:
        listeners = self.answers.get(to)
        if listeners is not None:
            listeners.tell(outcomes, epoch)
        elif to in self.peers:
            self.peers[to].connection.send(frames.Answer(to, epoch, encode_outcomes(outcomes)))

    def forward(self, answer: frames.Answer) -> None:
        """A peer's answer to another peer."""
        listeners = self.answers.get(answer.to)
        if listeners is not None:
            listeners.tell(outcomes_of(answer.outcomes), answer.epoch)
        elif answer.to in self.peers:
            self.peers[answer.to].connection.send(answer)

    def joined(self, peer: Peer) -> None:
        """A peer said its name; one of the same name that was here before is a dead connection of it."""
        self._strangers.discard(peer)
        before = self.peers.get(peer.name)
        self.peers[peer.name] = peer
        if before is not None:
            before.connection.close("the same process connected anew")

    def left(self, peer: Peer) -> None:
        self._strangers.discard(peer)
        if self.peers.get(peer.name) is peer:
            del self.peers[peer.name]
            # It cannot say itself that it is gone; who keeps lists of its connections clears them.
            self.announce(Announcement("process_left", peer.name.encode(), {"process": peer.name}))

    def close(self) -> None:
        """Say goodbye to every peer: what is queued for them is written first."""
        for peer in [*self.peers.values(), *self._strangers]:
            peer.connection.close("the hub stopped", flush=True)


class Peer:
    """One connected process, as the hub sees it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.name = ""
        self.connection = Connection(self._on_frame, self._on_lost)
        self._channels: dict[int, _Channel] = {}
        self._sent: list[int] = []
        self._waiting_bytes = 0
        self._missed = False
        self._catch_up: asyncio.TimerHandle | None = None

    def hint(self, data: bytes) -> None:
        """An encoded hint, or nothing when this peer is behind: then it hears the newest position later."""
        if self.connection.room and not self._missed:
            self.connection.write(data)
        elif not self._missed:
            self._missed = True
            self._look_again()

    def _look_again(self) -> None:
        self._catch_up = asyncio.get_running_loop().call_later(0.05, self._tell_tip)

    def _tell_tip(self) -> None:
        self._catch_up = None
        if self.connection.closed:
            return
        if not self.connection.room:
            self._look_again()
            return
        self._missed = False
        if self._hub.newest is not None:
            self.connection.send(frames.Publish(_json.encode(tip(self._hub.newest))))

    # --- what comes

    def _on_frame(self, frame: frames.AnyFrame) -> None:
        if not self.name:
            self._greet(frame)
            return
        match frame:
            case frames.Send():
                self._take_commands(frame)
            case frames.Publish(hint):
                self._hub.relay(hint)
            case frames.Answer():
                self._hub.forward(frame)
            case frames.Announce(topic, payload, headers):
                self._hub.announce(Announcement(topic, payload, headers))
            case frames.Ping(number):
                self.connection.send(frames.Pong(number))
            case frames.Open(channel, partition):
                self._channels[channel] = _Channel(self._hub.queue(partition), channel, self.connection)
            case frames.Fetch(channel, most) if channel in self._channels:
                self._channels[channel].fetch(most)
            case frames.Ack(channel, tags) if channel in self._channels:
                self._channels[channel].consumer.ack(tags)
            case frames.Shut(channel) if channel in self._channels:
                self._channels.pop(channel).consumer.close()
            case frames.Call() if self._hub.service is not None:
                self._hub.service.call(self, frame)
            case frames.Next() if self._hub.service is not None:
                self._hub.service.next(self, frame)
            case frames.Cancel(number) if self._hub.service is not None:
                self._hub.service.cancel(self, number)
            case _:
                self.connection.close(f"an unexpected {type(frame).__name__}")

    def _greet(self, frame: frames.AnyFrame) -> None:
        match frame:
            case frames.Hello(frames.VERSION, name) if name and name not in self._hub.answers:
                self.name = name
                self._hub.joined(self)
                self.connection.send(frames.Welcome(frames.VERSION, self._hub.id))
            case frames.Hello(version, name):
                reason = (
                    f"it is {self._hub.id[:8]} of version {frames.VERSION}, you are of {version}"
                    if version != frames.VERSION
                    else f"the name {name!r} cannot be used here"
                )
                self.connection.send(frames.Refused(reason))
                self.connection.close(reason, flush=True)
            case _:
                self.connection.close("the first frame was no hello")

    def _take_commands(self, send: frames.Send) -> None:
        size = len(send.pack)

        def confirm() -> None:
            self._confirm(send.number, size)

        try:
            message = Message(unpack(send.pack), confirm, send.again, None, size)
        except (msgspec.DecodeError, UnicodeDecodeError):
            message = Message([], confirm, send.again, send.pack, size)
        self._waiting_bytes += size
        if self._waiting_bytes > PEER_COMMANDS_BYTES:
            self.connection.pause()
        self._hub.queue(send.partition).put(message)

    def _confirm(self, number: int, size: int) -> None:
        """One frame for all that are acknowledged in one tick."""
        paused = self._waiting_bytes > PEER_COMMANDS_BYTES
        self._waiting_bytes -= size
        if paused and self._waiting_bytes <= PEER_COMMANDS_BYTES:
            self.connection.resume()
        if not self._sent:
            asyncio.get_running_loop().call_soon(self._tell_sent)
        self._sent.append(number)

    def _tell_sent(self) -> None:
        numbers, self._sent = self._sent, []
        self.connection.send(frames.Sent(numbers))

    def _on_lost(self, why: str) -> None:
        log.debug("peer %s left: %s", self.name or "(unnamed)", why)
        if self._catch_up is not None:
            self._catch_up.cancel()
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.consumer.close()
        if self._hub.service is not None:
            self._hub.service.forget(self)
        self._hub.left(self)


class _Channel:
    """A remote consumer: it asks, and is answered when there is something."""

    def __init__(self, queue: Queue, number: int, connection: Connection) -> None:
        self._number, self._connection = number, connection
        self._most = 0
        self.consumer = Consumer(queue, self._give)

    def fetch(self, most: int) -> None:
        self._most = most
        self._give()

    def _give(self) -> None:
        if not self._most:
            return
        taken = self.consumer.take(self._most)
        if taken:
            self._most = 0
            parcels = [_parcel(tag, message) for tag, message in taken]
            self._connection.send(frames.Deliver(self._number, parcels))


def _parcel(tag: int, message: Message) -> frames.Parcel:
    bad = message.undecodable
    data = bad if bad is not None else pack(message.envelopes)
    return frames.Parcel(tag, message.redelivered, bad is not None, data)


def encoded_hints(hint: Hint, limit: int = MAX_HINT_BYTES) -> list[bytes]:
    """The frames for a hint: whole, or in contiguous parts of at most `limit` bytes; a record that is larger
    alone is told by its position."""
    whole = _json.encode(hint)
    if len(whole) <= limit:
        return [frames.encode(frames.Publish(whole))]
    if hint.records is None or len(hint.records) <= 1:
        bare = Hint(hint.epoch, hint.first, hint.last, None, hint.before)
        return [frames.encode(frames.Publish(_json.encode(bare)))]
    middle = len(hint.records) // 2
    left, right = hint.records[:middle], hint.records[middle:]
    parts = [
        Hint(hint.epoch, hint.first, left[-1].offset, left, hint.before),
        Hint(hint.epoch, right[0].offset, hint.last, right, left[-1].command_id),
    ]
    return [data for part in parts for data in encoded_hints(part, limit)]
