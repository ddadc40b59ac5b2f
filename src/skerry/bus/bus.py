"""The three buses.

Commands are sent: queued durably, decided once, in order with others of their key. Queries are asked: answered
here and now from memory. Events are heard: they come *from the journal*, through the projector, never from the
handler that emitted them, so that every process hears the same ones in the same order.
Whether a command is decided in this process or in another is configuration; the sender cannot tell.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, TypedDict, TypeVar, Union, Unpack, get_args, get_origin

from skerry.bus.handlers import Handler, bind, query_arguments
from skerry.bus.outcomes import Level, Outcomes, Receipt
from skerry.bus.pipeline import within
from skerry.bus.transport import Transport
from skerry.clock import Clock, SystemClock
from skerry.emitter import EventEmitter
from skerry.errors import (
    DeclarationError,
    Disconnected,
    InvalidMessage,
    OutcomeUnknown,
    Overloaded,
    SkerryError,
)
from skerry.injection import Resolve
from skerry.messages.envelope import Envelope
from skerry.messages.message import Command, Query, result_of
from skerry.messages.typed import Typed, foreign_types, typed
from skerry.provenance import carried

R = TypeVar("R")
Guard = Callable[[Callable[..., Any], Sequence[object]], Callable[..., Any]]
SendPack = Callable[[list[Envelope], int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class CommandBusSettings:
    """`partitions`: of the command queue. `wait_seconds`: for an outcome, unless the sender says otherwise.
    `max_pack`: commands in one message."""

    partitions: int = 1
    wait_seconds: float = 5.0
    max_pack: int = 256


class SendOptions(TypedDict, total=False):
    """What `send` takes beside the command: see `CommandBus.submit`."""

    id: str | None
    request_hash: str
    level: Level
    wait_seconds: float | None
    headers: Mapping[str, str] | None


def partition_of(key: str, partitions: int) -> int:
    """Which partition keeps the order of a key: the same in every process and version."""
    if partitions == 1:
        return 0
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") % partitions


def _result_type(kind: type[Command[Any]], handler: Handler[Any]) -> Any:
    """Of `Receipt.value`: what the command says, else what its handler does."""
    told = result_of(kind)
    return handler.result if told is Any else told


class CommandIds:
    """UUIDv7s (RFC 9562 section 5.7) as 32 hex digits, each greater than the one before, whatever the clock does.

    Milliseconds, then 12 bits of the fraction (method 3 of section 6.2), then 62 random bits.
    """

    def __init__(self) -> None:
        self._random = random.Random(os.urandom(32))
        self._last = 0

    def new(self, now: float) -> str:
        """A new id at `now` (seconds since 1970)."""
        stamp = max(int(now * 4_096_000), self._last + 1)  # in 1/4096 ms
        self._last = stamp
        high = (stamp >> 12) << 16 | 0x7000 | stamp & 0xFFF
        low = 1 << 63 | self._random.getrandbits(62)
        return f"{high:016x}{low:016x}"


def command_id_for(*parts: str) -> str:
    """The id that the same idempotency key of the same caller always gives: a UUIDv5 of the parts."""
    return uuid.uuid5(uuid.NAMESPACE_OID, "\x00".join(parts)).hex


def _checked_key(name: str, key: str) -> str:
    """A routing key that travels and can be stored. Raises InvalidMessage: it must not spoil its neighbours' pack."""
    if type(key) is not str:
        raise InvalidMessage(name, f"routing_key() gives {type(key).__name__}, not str")
    if "\x00" in key:
        raise InvalidMessage(name, "its key has U+0000, which cannot be stored")
    if not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise InvalidMessage(name, f"its key is not valid Unicode: {error.reason}") from error
    return key


class CommandBus:
    """Sends commands. All commands of one turn of the loop travel as one message per partition; one that is
    alone goes at once. `send`: called with each such message, in place of the transport's."""

    def __init__(
        self,
        transport: Transport,
        outcomes: Outcomes,
        handlers: Mapping[type[Command[Any]], Handler[Command[Any]]],
        settings: CommandBusSettings | None = None,
        clock: Clock | None = None,
        send: SendPack | None = None,
    ) -> None:
        self._transport, self._outcomes = transport, outcomes
        self._send = send
        self._settings = settings or CommandBusSettings()
        self.wait_seconds = self._settings.wait_seconds
        """How long a sender waits that does not say."""
        self._clock = clock or SystemClock()
        self._ids = CommandIds()
        self._kinds = {kind: (kind.message_name, kind.writes_version, typed(kind)) for kind in handlers}
        self._results = {
            kind: (not handler.returns_nothing, _result_type(kind, handler))
            for kind, handler in handlers.items()
        }
        self._packs: dict[int, list[Envelope]] = {}
        self._sends: set[asyncio.Future[Any]] = set()

    def __contains__(self, kind: object) -> bool:
        """Whether commands of this class are decided."""
        return kind in self._kinds

    def submit(
        self,
        command: Command[R],
        *,
        id: str | None = None,
        request_hash: str = "",
        level: Level = Level.VISIBLE,
        wait_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> asyncio.Future[Receipt[R]]:
        """Send a command; the future has its Receipt. Makes no task, so a lane view may return a future built on it.

        The future raises `Overloaded` or `Disconnected` (not sent), `OutcomeUnknown` (perhaps sent), after
        `wait_seconds` at the latest; a Receipt with status PENDING says that it is durable but not yet decided.
        `headers` travel with it; None: those of its cause (`skerry.provenance`), as who sent a request, and its
        trace. The same `id` again is answered as before, unless `request_hash` differs (kind "different_request").
        Raises DeclarationError for a command that has no handler, and InvalidMessage for one that does not fit its
        own declaration: nothing is sent then. Do not cancel the future: it may be shared.
        """
        kind = type(command)
        found = self._kinds.get(kind)
        if found is None:
            raise DeclarationError(f"no handler decides {kind.__name__}")
        name, version, proof = found
        body, command = proof.encode(command)
        key = _checked_key(name, command.routing_key())
        now = self._clock.now()
        if id is None:
            id = self._ids.new(now)
        else:
            same = self._outcomes.find(id, request_hash)
            if same is not None:
                return same
        wait = self._settings.wait_seconds if wait_seconds is None else wait_seconds
        try:
            future = self._outcomes.expect(id, level, wait, request_hash, *self._results[kind])
        except Overloaded as error:
            refused: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused
        envelope = Envelope(
            id, name, version, key, self._transport.name, now, request_hash,
            carried.get() if headers is None else headers, command, body,
        )  # fmt: skip
        self._enqueue(envelope, partition_of(key, self._settings.partitions))
        return future

    async def send(self, command: Command[R], **options: Unpack[SendOptions]) -> Receipt[R]:
        """`submit`, awaited; cancelling the wait does not revoke the command."""
        return await asyncio.shield(self.submit(command, **options))

    def _enqueue(self, envelope: Envelope, partition: int) -> None:
        pack = self._packs.get(partition)
        if pack is None:
            pack = self._packs[partition] = []
            asyncio.get_running_loop().call_soon(self._flush, partition)
        pack.append(envelope)
        if len(pack) >= self._settings.max_pack:
            self._flush(partition)

    def _flush(self, partition: int) -> None:
        pack = self._packs.pop(partition, None)
        if not pack:
            return
        if not self._transport.connected:
            self._refuse(pack, Disconnected("the command queue is away"))
            return
        try:
            future = asyncio.ensure_future((self._send or self._transport.send)(pack, partition))
        except SkerryError as error:
            self._refuse(pack, error)
            return
        self._keep(future)
        future.add_done_callback(lambda done: self._sent(pack, done))

    def _keep(self, future: asyncio.Future[Any]) -> None:
        self._sends.add(future)
        future.add_done_callback(self._sends.discard)

    def _sent(self, pack: list[Envelope], done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            error: BaseException | None = Disconnected("sending was given up")
        else:
            error = done.exception()
        if error is None:
            for envelope in pack:
                self._outcomes.confirmed(envelope.id)
        elif isinstance(error, Disconnected):
            for envelope in pack:
                self._outcomes.failed(envelope.id, OutcomeUnknown(envelope.id))
        else:
            self._refuse(pack, error)

    def _refuse(self, pack: list[Envelope], error: BaseException) -> None:
        failure = error if isinstance(error, SkerryError) else Disconnected(f"sending failed: {error}")
        for envelope in pack:
            self._outcomes.failed(envelope.id, failure)

    async def drain(self) -> None:
        """Return when everything submitted has been confirmed or refused."""
        for partition in list(self._packs):
            self._flush(partition)
        while self._sends:
            await asyncio.wait(set(self._sends))


class QueryBus:
    """Answers queries. Handlers are bound at start (`compile`); `ask` is a plain call, so a lane view may use
    it."""

    def __init__(self, handlers: Mapping[type[Query[Any]], Handler[Query[Any]]]) -> None:
        self._declared = handlers
        self._handlers: dict[type[Query[Any]], _Asked] = {}

    def compile(self, resolve: Resolve, guard: Guard = lambda function, services: function) -> None:
        """Bind every handler to its services. `guard` may wrap handlers that depend on some of them. Raises
        DeclarationError for a parameter that nothing fills."""
        for kind, handler in self._declared.items():
            plan = bind(handler, resolve, query_arguments(kind))
            function = guard(plan.compile(), plan.services)
            self._handlers[kind] = _Asked(
                function, handler, plan.is_async, _proof_of(kind), _answer_classes(kind)
            )

    def is_async(self, query: Query[Any]) -> bool:
        """Whether its handler is asynchronous. Raises DeclarationError when there is none."""
        return self._find(query).is_async

    def ask(self, query: Query[R]) -> R:
        """The answer of a plain `def` handler. Raises DeclarationError when there is none, or an asynchronous one,
        InvalidMessage for a query that does not fit its own declaration."""
        asked = self._find(query)
        if asked.is_async:
            raise DeclarationError(f"{asked.handler.name} is asynchronous: await queries.ask_async(...)")
        return asked.answered(asked.function(asked.checked(query)))  # type: ignore[no-any-return]

    async def ask_async(self, query: Query[R]) -> R:
        """The answer of any handler, within its time-out (DeadlineExceeded)."""
        asked = self._find(query)
        handler = asked.handler
        if not asked.is_async:
            return asked.answered(asked.function(asked.checked(query)))  # type: ignore[no-any-return]
        work: Coroutine[Any, Any, Any] = asked.function(asked.checked(query))
        return asked.answered(await within(work, handler.timeout_seconds, handler.name))  # type: ignore[no-any-return]

    def _find(self, query: Query[Any]) -> _Asked:
        found = self._handlers.get(type(query))
        if found is None:
            raise DeclarationError(f"no handler answers {type(query).__name__}")
        return found


@dataclass(frozen=True, slots=True)
class _Asked:
    """Answers one class of queries. `proof`: None for one that holds what JSON cannot say."""

    function: Callable[..., Any]
    handler: Handler[Any]
    is_async: bool
    proof: Typed[Any] | None
    answers: tuple[type, ...]

    def checked(self, query: Query[Any]) -> Query[Any]:
        return query if self.proof is None else self.proof.encode(query)[1]

    def answered(self, answer: R) -> R:
        """The answer, if it is of the class that `Query[R]` names. Only its outermost class is looked at: it may be a
        whole projection, and nobody keeps it. Raises TypeError."""
        if self.answers and not isinstance(answer, self.answers):
            wanted = " or ".join(kind.__name__ for kind in self.answers)
            raise TypeError(f"{self.handler.name} answers with {type(answer).__name__}, declared is {wanted}")
        return answer


def _proof_of(kind: type[Query[Any]]) -> Typed[Any] | None:
    """How a query is checked. It stays in this process, and may hold what JSON cannot say, or what only the module that
    defines it can name; then it is taken as it is."""
    try:
        return None if foreign_types(kind) else typed(kind)
    except (DeclarationError, TypeError, NameError):
        return None


def _answer_classes(kind: type[Query[Any]]) -> tuple[type, ...]:
    """The classes that an answer may be of, as far as `Query[R]` says; empty: anything."""
    for base in getattr(kind, "__orig_bases__", ()):
        if isinstance(get_origin(base), type) and issubclass(get_origin(base), Query):
            [told] = get_args(base)
            parts = get_args(told) if get_origin(told) in (Union, UnionType) else (told,)
            classes = [NoneType if part is None else get_origin(part) or part for part in parts]
            if all(isinstance(each, type) and not _any_of(each) for each in classes):
                return (*classes, *([int] if float in classes else ()))
    return ()


def _any_of(kind: type) -> bool:
    """Whether this class says nothing about an object's own class."""
    return kind in (object, Any, Annotated) or bool(getattr(kind, "_is_protocol", False))


class EventBus(EventEmitter):
    """Emits each event that this process's memory has applied, with the event's class as its name. Listeners
    are plain functions and must be quick: the next event waits for them."""
