"""A topology for fault tests, on PostgreSQL and RabbitMQ or on one file: processes, clients that record what they were
told, listeners, and the verdict at the end. All real: `skerry consumer`, `skerry server`, sockets.

    async with FaultWorld(tmp_path, servers) as world:        # or FaultWorld(tmp_path, OneFile(tmp_path))
        await world.start(consumers=2)
        async with world.traffic(seed):
            await world.consumers[0].kill()
        await world.verdict()          # AssertionError with the seed and every problem
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from livekv.messages import Value
from skerry.backends.postgres.journal import PostgresJournal
from skerry.backends.sqlite.journal import SqliteJournal
from skerry.bus.bus import partition_of
from skerry.journal.journal import LetterHead, Record
from skerry.testing.broker import PrivateBroker
from skerry.testing.history import Entry, Frame, History, Operation, check
from skerry.testing.program import Finished, HttpAnswer, HttpConnection, Program, call
from skerry.testing.proxy import FaultProxy
from skerry.testing.services import PrivatePostgres

TARGETS = Path(__file__).parent / "targets"
SOAK = os.environ.get("SKERRY_SOAK") == "1"
SEED = int(os.environ.get("SKERRY_SEED", "0")) or (
    random.SystemRandom().randrange(1, 1_000_000) if SOAK else 20261120
)
"""A soak tries other faults each time; a plain run always the same ones."""
START_SECONDS = 300.0
"""What a process may take to start: a second, but for a machine with much else to do."""
_row = msgspec.json.Decoder(Value)


@dataclass(frozen=True, slots=True)
class Servers:
    """What all tests of a session share; each takes a namespace of its own."""

    postgres: PrivatePostgres
    broker: PrivateBroker
    brokerless: bool = False
    """Whether commands travel by the database."""

    @property
    def urls(self) -> tuple[str, str]:
        """Of the journal and of the transport."""
        return self.postgres.dsn, self.postgres.dsn if self.brokerless else self.broker.url

    @property
    def queue_port(self) -> int:
        """Where commands go."""
        return self.postgres.port if self.brokerless else self.broker.port

    def journal(self, namespace: str) -> PostgresJournal:
        """To look into it."""
        return PostgresJournal(self.postgres.dsn, namespace)

    async def prepare(self, namespace: str) -> None:
        """Make the tables, as servers may start before consumers."""
        async with self.journal(namespace) as journal:
            await journal.prepare(["key_value"])


@dataclass(frozen=True, slots=True)
class OneFile:
    """The embedded pair: a file in `directory`, which belongs to the one consumer."""

    directory: Path

    @property
    def urls(self) -> tuple[str, str]:
        return f"sqlite:///{self.directory}/world.db", "local:"

    def journal(self, namespace: str) -> SqliteJournal:
        return SqliteJournal(f"{self.directory}/world.db", namespace, read_only=True)

    async def prepare(self, namespace: str) -> None:
        """Its owner makes the tables."""


class FaultWorld:
    """One namespace. `journal_url` and `transport_url` may lead through a proxy.

    `slips`: the share of puts whose value makes the handler of targets/truthful.py write what a type refuses.
    `repeats`: the share of steps before which a client sends an answered write again, under its idempotency key."""

    numbers = 0

    def __init__(
        self,
        directory: Path,
        servers: Servers | OneFile,
        *,
        target: str = "livekv:app",
        lease: float = 1.0,
        seed: int = SEED,
        slips: float = 0.0,
        repeats: float = 0.0,
    ) -> None:
        FaultWorld.numbers += 1
        self.directory, self.servers, self.target, self.lease = directory, servers, target, lease
        self.namespace = f"world{FaultWorld.numbers}"
        self.journal_url, self.transport_url = servers.urls
        self.slips, self.repeats = slips, repeats
        self.pause_seconds = 0.002  # of a client, between two things
        self.consumer_options: tuple[str, ...] = ()
        self.partitions = 1
        self.consumers: list[Program] = []
        self.web: list[Program] = []
        self.ports: list[int] = []
        self.history = History()
        self.trouble: Counter[str] = Counter()
        self.acknowledged: list[tuple[float, str]] = []
        """When which key was written, as clients were told."""
        self.listeners: list[Listener] = []
        self.seed = seed
        self._clients = 0  # so far: no two write the same
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> FaultWorld:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # --- processes

    def _environ(self, name: str) -> dict[str, str]:
        return {
            "SKERRY_JOURNAL": self.journal_url,
            "SKERRY_TRANSPORT": self.transport_url,
            "SKERRY_NAMESPACE": self.namespace,
            "SKERRY_LEASE": str(self.lease),
            "SKERRY_PARTITIONS": str(self.partitions),
            "SKERRY_PROCESS": name,
            "SKERRY_LOG_FORMAT": "text",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(TARGETS), os.environ.get("PYTHONPATH")))),
        }

    def _program(self, role: str, name: str, *arguments: str, **more: str) -> Program:
        environ = self._environ(name) | more
        return Program(self.directory, role, self.target, *arguments, environ=environ)

    async def skerry(self, *arguments: str) -> Finished:
        """A command to its end, as an operator gives it beside the processes."""
        return await call(self.directory, *arguments, environ=self._environ("operator"), seconds=120)

    async def consumer(self, **more: str) -> Program:
        """One more consumer, started, perhaps not yet at work."""
        program = self._program(
            "consumer", f"consumer-{len(self.consumers) + 1}", *self.consumer_options, **more
        )
        self.consumers.append(program)
        await self._stack.enter_async_context(program)
        return program

    async def server(self, **more: str) -> Program:
        """One more server, listening."""
        name = f"server-{len(self.web) + 1}"
        program = self._program("server", name, "--bind", "127.0.0.1:0", **more)
        self.web.append(program)
        self.ports.append(0)
        await self._stack.enter_async_context(program)
        await self._listening(program)
        return program

    async def again(self, program: Program) -> None:
        """Start a server that has ended, under its old name, with what it left on disk."""
        await program.start()
        await self._listening(program)

    async def _listening(self, program: Program) -> None:
        """Wait for it. One that has found no consumer, or no database, in its time is started again, as its supervisor
        would: they take longer on a machine with much else to do."""
        while True:
            try:
                self.ports[self.web.index(program)] = await program.listening(START_SECONDS)
                return
            except AssertionError:
                if not any(each in program.text for each in ("no consumer at", "did not answer in time")):
                    raise
                await program.ended()
                await program.start()

    async def start(self, *, consumers: int = 1, servers: int = 2, listeners: int = 1, **more: str) -> None:
        """Everything, which is there when it returns."""
        await self.servers.prepare(self.namespace)
        for _ in range(consumers):
            await self.consumer(**more)
        await asyncio.gather(*(self.server() for _ in range(servers)))
        for consumer in self.consumers:
            await consumer.until(lambda said=consumer: " is ready" in said.text, START_SECONDS)  # type: ignore[misc]
        for number in range(listeners):
            listener = Listener(f"listener-{number + 1}", lambda at=number % servers: self.ports[at])  # type: ignore[misc]
            self.listeners.append(listener)
            task = asyncio.create_task(listener.run())
            self._stack.push_async_callback(_end, task)

    # --- clients

    @asynccontextmanager
    async def traffic(self, clients: int = 8, keys: int = 12) -> AsyncIterator[None]:
        """Clients that write and read while the block runs; each ends with its last write answered."""
        over = asyncio.Event()
        first, self._clients = self._clients, self._clients + clients
        async with asyncio.TaskGroup() as group:
            for number in range(first, first + clients):
                client = Client(self, f"client-{number}", random.Random(f"{self.seed}/{number}"), keys)
                group.create_task(client.run(over))
            try:
                yield
            finally:
                over.set()

    @property
    def answered(self) -> int:
        """Writes that were answered 200 so far."""
        return sum(1 for o in self.history.operations if o.writes and o.verdict == "applied")

    async def more(self, writes: int, seconds: float = 300.0) -> float:
        """Wait until so many further writes were answered; how long that took."""
        began, enough = time.monotonic(), self.answered + writes
        await until(lambda: self.answered >= enough, seconds, lambda: self.report("no progress"))
        return time.monotonic() - began

    def longest_waits(self, since: float) -> list[float]:
        """For each partition, the longest time since then in which no write of it was answered 200."""
        found = []
        for partition in range(self.partitions):
            times = [
                at
                for at, key in self.acknowledged
                if at > since and partition_of(key, self.partitions) == partition
            ]
            marks = [since, *times, time.monotonic()]
            found.append(max(later - earlier for earlier, later in pairwise(marks)))
        return found

    # --- the verdict

    async def verdict(self, *, seconds: float = 60.0) -> None:
        """Everything is compared with the journal, once everybody has caught up. AssertionError with all problems."""
        async with self.servers.journal(self.namespace) as journal:
            head = (await journal.head()).position
            log: list[Entry] = []
            while page := await journal.read(log[-1].offset if log else 0, 2000):
                for record in page:
                    key, value = pair_of(record)
                    log.append(Entry(record.offset, record.command_id, key, value))
            stored: dict[str, tuple[str, int]] = {}
            async with journal.snapshot(["key_value"]) as snapshot:
                async for rows in snapshot.rows("key_value"):
                    stored |= {key: (_row.decode(data).value, offset) for key, data, offset in rows}
            wrong = list(await journal.verify())
        memories = await asyncio.gather(*(self.memory_of(p, head.offset, seconds) for p in self.ports))
        await until(
            lambda: all(
                listener.values == {k: v for k, (v, _) in stored.items()} for listener in self.listeners
            ),
            seconds,
            lambda: "",
            fails=False,
        )
        copies = {f"server-{n}": memory for n, memory in enumerate(memories, 1)}
        copies |= {listener.name: listener.values for listener in self.listeners}
        streams = {listener.name: listener.frames for listener in self.listeners}
        problems = wrong + check(self.history.operations, log, stored, copies, streams)
        if problems:
            raise AssertionError(self.report("\n".join(problems[:20])))
        print(
            f"seed {self.seed}: {len(self.history.operations)} operations, {self.answered} writes answered, "
            f"{len(log)} events, trouble {dict(self.trouble)}"
        )

    async def verdict_of_journal(self) -> None:
        """What the database says of itself."""
        async with self.servers.journal(self.namespace) as journal:
            assert list(await journal.verify()) == []

    async def letters(self, waiting: bool = False) -> list[LetterHead]:
        """The first of what is set aside; only what waits for a newer consumer with `waiting`."""
        async with self.servers.journal(self.namespace) as journal:
            return list(await journal.letters(0, 1000, waiting))

    async def memory_of(self, port: int, offset: int, seconds: float) -> dict[str, str]:
        """All values of a server, once it is at `offset`."""
        connection, deadline = HttpConnection(port), time.monotonic() + seconds
        try:
            while True:
                answer = await connection.ask("GET", "/values?limit=1000")
                listing = json.loads(answer.body)
                if answer.status == 503 and time.monotonic() < deadline:  # its memory is not whole yet
                    await asyncio.sleep(0.05)
                    continue
                assert answer.status == 200, self.report(f"a server cannot be compared: {answer}")
                if int(listing["position"].partition(":")[2]) >= offset or time.monotonic() > deadline:
                    assert listing["next"] is None
                    return {pair["key"]: pair["value"] for pair in listing["values"]}
                await asyncio.sleep(0.05)
        finally:
            connection.close()

    def report(self, what: str) -> str:
        """`what`, with the seed that brings it back and what the processes said last."""
        said = "".join(
            f"\n--- {p.arguments[0]} {n}:\n" + "\n".join(p.lines[-12:])
            for kind in (self.consumers, self.web)
            for n, p in enumerate(kind, 1)
        )
        return f"SKERRY_SEED={self.seed}: {what}\ntrouble: {dict(self.trouble)}{said}"


SLIPS = ("wrong-row", "wrong-event", "wrong-both")
"""How a value begins that targets/truthful.py turns into a row or an event of a wrong type."""
Ask = tuple[str, str, bytes, dict[str, str]]


class Client:
    """Asks one thing after another of random servers, and records it. A write is repeated under its idempotency key
    until it is answered for good; a read brings the newest position that this client knows."""

    place, is_plain = "values", False  # plain: neither slips nor preconditions

    def __init__(self, world: FaultWorld, name: str, rng: random.Random, keys: int) -> None:
        self.world, self.name, self.rng = world, name, rng
        self.keys = [f"k{n}" for n in range(keys)]
        self._connections: dict[int, HttpConnection] = {}
        self._writes = 0
        self._position = ""
        self._offset = 0
        self._known: dict[str, str] = {}  # the tag of what this client knows of a key; "" for nothing
        self._told: list[tuple[Operation, HttpAnswer, Ask]] = []  # writes that may be sent again

    async def run(self, over: asyncio.Event) -> None:
        try:
            while not over.is_set():
                if self.world.repeats and self._told and self.rng.random() < self.world.repeats:
                    await self._repeat(*self.rng.choice(self._told))
                key, dice = self.rng.choice(self.keys), self.rng.random()
                if dice < 0.45:
                    await self._write("put", key)
                elif dice < 0.5:
                    await self._write("delete", key)
                else:
                    await self._read(key)
                await asyncio.sleep(self.world.pause_seconds)
        finally:
            for connection in self._connections.values():
                connection.close()

    async def _write(self, kind: Any, key: str) -> None:
        self._writes += 1
        label = f"{self.name}-{self._writes}"
        value = label if kind == "put" else None
        if value and self.world.slips and not self.is_plain and self.rng.random() < self.world.slips:
            value = f"{self.rng.choice(SLIPS)} {value}"
        tag = None
        if kind == "put" and not self.is_plain and self.rng.random() < 0.15:
            tag = self._known.get(key)
        if_match = None if tag is None else _offset(tag) if tag else 0
        operation = self.world.history.begin(self.name, kind, key, value=value, if_match=if_match)
        headers = {"Idempotency_Key": f"{self.world.seed}-{label}"}
        if tag is not None:
            headers["If_Match" if tag else "If_None_Match"] = f'"{tag}"' if tag else "*"
        if kind == "put" and self.rng.random() < 0.2:
            headers["Prefer"] = "respond-async"
        method = "PUT" if kind == "put" else "DELETE"
        path, body = f"/{self.place}/{quote(key)}", (value or "").encode()
        accepted, accepted_at = "", 0.0
        deadline = time.monotonic() + START_SECONDS
        while True:
            if accepted:
                if await self._concluded(operation, accepted):
                    return
                if (value or "").startswith(SLIPS) and time.monotonic() > accepted_at + 10:
                    accepted = ""  # its letter was dropped, and its outcome with it: it is asked again
            else:
                answer = await self._ask(method, path, body, headers)
                if answer is not None and self._settled(operation, answer):
                    if answer.status != 500:
                        self._told.append((operation, answer, (method, path, body, headers)))
                    return
                if answer is not None and answer.status == 202:
                    accepted = answer.headers["location"]  # durable: never sent again, and yet never lost
                    accepted_at = time.monotonic()
            if time.monotonic() > deadline:
                raise AssertionError(self.world.report(f"never answered: {operation} {accepted}"))
            await asyncio.sleep(0.02)

    async def _repeat(self, operation: Operation, answer: HttpAnswer, ask: Ask) -> None:
        """The same once more: the same answer, however long ago it was, or no answer at all."""
        again = await self._ask(*ask)
        self.world.trouble["repeated"] += 1
        if again is None or again.status in (202, 503):
            return
        told = [
            (a.status, a.headers.get("skerry-position"), a.headers.get("skerry-command"))
            for a in (answer, again)
        ]
        if again.status == 200:
            self._learn(again.headers["skerry-position"])
        if told[0] != told[1]:
            raise AssertionError(self.world.report(f"another answer to a repetition of {operation}: {told}"))

    async def _concluded(self, operation: Operation, location: str) -> bool:
        """Whether an accepted command has an outcome by now."""
        answer = await self._ask("GET", location, b"", {})
        if answer is None or answer.status != 200:
            return False
        told = json.loads(answer.body)
        match told["status"]:
            case "applied":
                self._applied(operation, told["position"], told["id"])
            case "rejected":
                self.world.history.refused(operation)
            case "pending":
                return False
            case "failed" if self._slipped(operation):
                pass
            case _:
                raise AssertionError(self.world.report(f"{operation}: {told}"))
        return True

    def _settled(self, operation: Operation, answer: HttpAnswer) -> bool:
        """Whether this was the last word about a write."""
        history = self.world.history
        match answer.status:
            case 200:
                self._applied(operation, answer.headers["skerry-position"], answer.headers["skerry-command"])
                if operation.kind == "put":
                    self._known[operation.key] = answer.headers["etag"].strip('"')
                return True
            case 412:
                history.refused(operation)
                self._known.pop(operation.key, None)
                return True
            case 202 | 503:
                detail = ""
                if answer.status == 503:
                    assert answer.headers["retry-after"]
                    detail = f" {json.loads(answer.body)['detail']}"
                self.world.trouble[f"{answer.status}{detail}"] += 1
                return False
            case 500 if self._slipped(operation):
                return True
            case _:
                raise AssertionError(self.world.report(f"{operation}: {answer}"))

    def _applied(self, operation: Operation, position: str, command_id: str) -> None:
        self.world.history.applied(operation, self._learn(position), command_id=command_id)
        self.world.acknowledged.append((time.monotonic(), operation.key))

    def _slipped(self, operation: Operation) -> bool:
        """Whether a command was right to fail; what it was to write then never stands anywhere."""
        is_slip = (operation.value or "").startswith(SLIPS)
        if is_slip:
            self.world.history.failed(operation)
            self.world.trouble["slips"] += 1
        return is_slip

    async def _read(self, key: str) -> None:
        operation = self.world.history.begin(self.name, "get", key, token=self._offset)
        headers = {"Skerry_Position": self._position} if self._position else {}
        answer = await self._ask("GET", f"/values/{quote(key)}", b"", headers)
        if answer is None:
            return
        if answer.status == 503:
            assert answer.headers["retry-after"]
            self.world.trouble["read 503"] += 1
        elif answer.status == 404 and "skerry-position" in answer.headers:
            self.world.history.applied(operation, self._learn(answer.headers["skerry-position"]))
            self._known[key] = ""
        elif answer.status == 200:
            tag = answer.headers["etag"].strip('"')
            revision = _offset(tag)
            value = json.loads(answer.body)["value"]
            offset = self._learn(answer.headers["skerry-position"])
            self.world.history.applied(operation, offset, value=value, revision=revision)
            self._known[key] = tag
        elif answer.status != 404:
            raise AssertionError(self.world.report(f"{operation}: {answer}"))

    async def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> HttpAnswer | None:
        port = self.rng.choice(self.world.ports)
        connection = self._connections.setdefault(port, HttpConnection(port))
        try:
            async with asyncio.timeout(15):
                return await connection.ask(method, path, body, **headers)
        except (ConnectionError, TimeoutError) as error:
            self.world.trouble[type(error).__name__] += 1
            await asyncio.sleep(0.05)
            return None

    def _learn(self, position: str) -> int:
        """The offset of a position that was told, which becomes what this client knows. Offsets go on over epochs."""
        offset = _offset(position)
        if offset >= self._offset:
            self._position, self._offset = position, offset
        return offset


class _Greeted(Exception):
    """The first frame came."""


class Listener:
    """Follows the events of one server (SSE), resuming after every break, and keeps a copy of the values."""

    def __init__(self, name: str, port: Callable[[], int]) -> None:
        self.name, self._port = name, port
        self.values: dict[str, str] = {}
        self.frames: list[Frame] = []
        self._position = self._loaded = ""
        self._recovered = self._is_anew = False
        self._loading_to = 0

    async def run(self) -> None:
        while True:
            try:
                await self._listen()
            except (OSError, asyncio.IncompleteReadError, ValueError):
                pass
            await asyncio.sleep(0.05)

    @property
    def position(self) -> str:
        """Where it would go on."""
        return self._position

    async def recovers(self, since: str) -> bool:
        """Whether somebody who comes with this position is told what followed."""
        self._position = since
        with contextlib.suppress(_Greeted):
            await self._listen(hello_only=True)
        return self._recovered

    async def _listen(self, *, hello_only: bool = False) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port())
        wanted = f"since={self._position}" if self._position else "snapshot=1"
        try:
            writer.write(
                f"GET /events?{wanted} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode()
            )
            if b" 200 " not in await reader.readline():
                raise ConnectionError
            while await reader.readline() != b"\r\n":
                pass
            rest = b""
            while size := int(await reader.readline() or b"0", 16):
                rest += (await reader.readexactly(size + 2))[:-2]
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    if line.startswith(b"data:"):
                        frame = json.loads(line[5:])
                        if hello_only:
                            self._recovered = frame["recovered"]
                            raise _Greeted
                        self._take(frame)
        finally:
            writer.close()

    def _take(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "hello":
            if not frame["recovered"]:
                if self._position:
                    self._position = ""
                    raise ConnectionError("a snapshot is needed")
                self.values.clear()
                self._is_anew = (
                    True  # perhaps from a server that is behind: the first event may be an earlier one
                )
                self._loaded, self._loading_to = frame["position"], _offset(frame["position"])
        elif frame["type"] == "snapshot":
            self.values |= {row["key"]: row["value"] for row in frame["values"]}
        elif frame["type"] == "snapshot_end":
            self._position = frame["position"]
        elif frame["type"] == "domain_event":
            offset, key, value = _offset(frame["position"]), frame["key"], frame.get("value")
            fresh = self._is_anew or offset <= self._loading_to
            self._is_anew = False
            self.frames.append(Frame(offset, key, value, fresh))
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value
            if offset > self._loading_to or not self._position:
                self._position = frame["position"] if offset > self._loading_to else self._loaded


def pair_of(record: Record) -> tuple[str, str | None]:
    """The key and the value that an event tells of, in either version of targets/truthful.py; None: it was deleted."""
    event = msgspec.json.decode(record.data)
    return event["key"], event.get("value", event.get("text"))


def through(url: str, proxy: FaultProxy) -> str:
    """The same server, by way of the proxy."""
    parts = urlsplit(url)
    return url.replace(f":{parts.port}/", f":{proxy.port}/")


async def until(
    condition: Callable[[], bool], seconds: float, why: Callable[[], str], *, fails: bool = True
) -> None:
    """Wait for what other processes do."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            if fails:
                raise AssertionError(why())
            return
        await asyncio.sleep(0.02)


def _offset(position: str) -> int:
    return int(position.partition(":")[2])


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
