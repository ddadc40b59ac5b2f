"""Memory of a process: events applied per second, bytes per key, and the time until a million keys are served.

Each figure is taken in a process of its own. "Flat" compares applying events over 1,000 and over 1,000,000 stored
keys in turns within one process. Run: `python -m benchmarks.memory`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from benchmarks.rows import Row, table

from livekv.messages import ValueDeleted, ValuePut
from livekv.values import Values
from skerry.journal.journal import Record
from skerry.journal.projector import Phase, Projector
from skerry.messages.message import MessageTypes
from skerry.messages.serializer import Serializer

KEY_LETTERS, VALUE = 28, "v" * 64
BATCH = 100


def key(number: int) -> str:
    return f"{number:0{KEY_LETTERS}d}"


class Silence:
    """No hints, no journal: the projector is fed by hand."""

    def subscribe(self, listener: Callable[[Any], None]) -> Callable[[], None]:
        return lambda: None


def projector(memory: Values) -> Projector:
    types = MessageTypes()
    types.add(ValuePut)
    types.add(ValueDeleted)
    silence: Any = Silence()
    one = Projector(silence, silence, [memory], Serializer(types))
    one.phase = Phase.LIVE
    return one


def records(first: int, keys: int, number: int) -> list[list[Record]]:
    """Batches as a consumer's hint brings them: puts of keys that are there already."""
    encode = msgspec.json.Encoder().encode
    found = []
    for n in range(number):
        data = msgspec.Raw(encode(ValuePut(key((n * 7919) % keys), VALUE)))
        found.append(Record(first + n, f"{n:032x}", "", "value_put", 1, 1.0, False, data))
    return [found[n : n + BATCH] for n in range(0, number, BATCH)]


def applied_per_second() -> dict[str, float]:
    """Events a second with 1e3 and with 1e6 stored keys, in turns; CPU time. "hot": the events are about the same
    1,000 keys in both; "spread": about all keys, so that a million do not fit into the processor's cache."""
    rates: dict[str, list[float]] = {"1e3": [], "1e6 hot": [], "1e6 spread": []}
    few, many = (filled(1_000), filled(1_000_000))
    cases = {"1e3": (few, 1_000), "1e6 hot": (many, 1_000), "1e6 spread": (many, 1_000_000)}
    gc.collect()
    gc.freeze()
    for _ in range(5):
        for name, (one, touched) in cases.items():
            batches = records(one.position.offset + 1, touched, 50_000)
            began = time.process_time()
            for batch in batches:
                one._take(batch)
            rates[name].append(50_000 / (time.process_time() - began))
    return {name: statistics.median(found) for name, found in rates.items()}


def filled(keys: int) -> Projector:
    memory = Values()
    for n in range(keys):
        memory.load(None, key(n), ValuePut("", VALUE), 1)  # type: ignore[arg-type]
    return projector(memory)


def bytes_per_key(keys: int = 1_000_000) -> dict[str, float]:
    """Resident bytes that a key costs above the bare process, filled by events as a live server is."""
    memory = Values()
    one = projector(memory)
    gc.collect()
    before = _resident()
    encode = msgspec.json.Encoder().encode
    for start in range(0, keys, BATCH):
        one._take(
            [
                Record(
                    n + 1, "", "", "value_put", 1, 1.0, False, msgspec.Raw(encode(ValuePut(key(n), VALUE)))
                )
                for n in range(start, start + BATCH)
            ]
        )
    gc.collect()
    return {"bytes": (_resident() - before) / keys}


def _resident() -> int:
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))


def start_seconds(keys: int = 1_000_000) -> dict[str, float]:
    """From opening the journal to a memory that is live, over a SQLite file with so many keys; and the longest that one
    turn of the loop takes when all of it is loaded anew, as CPU time of the loop's thread."""
    import tempfile
    from pathlib import Path

    from livekv.messages import Value, values
    from skerry.backends.sqlite.journal import SqliteJournal
    from skerry.journal.journal import NewEvent, NewOutcome, Status, Writes

    async def fill(path: Path) -> None:
        encode = msgspec.json.Encoder().encode
        async with SqliteJournal(str(path), "livekv") as journal:
            await journal.prepare(["key_value"])
            for start in range(0, keys, 20_000):
                writes = Writes()
                for n in range(start, start + 20_000):
                    data = encode(ValuePut(key(n), VALUE))
                    writes.events.append(NewEvent(f"{n:032x}", key(n), "value_put", 1, data, 1.0, False))
                    writes.outcomes.append(NewOutcome(f"{n:032x}", Status.APPLIED, len(writes.events), 1))
                    writes.puts.setdefault("key_value", {})[key(n)] = (
                        values.encode(Value(VALUE)),
                        len(writes.events),
                    )
                async with journal.batch([o.command_id for o in writes.outcomes], []) as (batch, _):
                    await batch.commit(writes)

    async def load(path: Path) -> tuple[float, float]:
        began = time.perf_counter()
        async with SqliteJournal(str(path), "livekv") as journal:
            await journal.prepare(["key_value"])
            memory = Values()
            types = MessageTypes()
            types.add(ValuePut)
            types.add(ValueDeleted)
            one = Projector(journal, Silence(), [memory], Serializer(types))
            await one.start()
            took = time.perf_counter() - began
            assert len(memory) == keys
            gc.collect()
            gc.freeze()
            reloaded = asyncio.Event()
            one.events.on("reloaded", lambda position: reloaded.set())
            await journal.new_epoch("a benchmark")
            longest, was = 0.0, time.thread_time()
            while not reloaded.is_set() or one._left:
                await asyncio.sleep(0)
                now = time.thread_time()
                longest, was = max(longest, now - was), now
            await one.stop()
        return took, longest

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        asyncio.run(fill(path))
        took, longest = asyncio.run(load(path))
        return {"seconds": took, "longest": longest * 1000}


PARTS: dict[str, Callable[[], dict[str, float]]] = {
    "applied": applied_per_second,
    "bytes": bytes_per_key,
    "start": start_seconds,
}


def measured(part: str) -> dict[str, float]:
    """One part, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", part], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def run() -> list[Row]:
    applied, size, started = measured("applied"), measured("bytes")["bytes"], measured("start")
    start, longest = started["seconds"], started["longest"]
    few, hot, spread = applied["1e3"], applied["1e6 hot"], applied["1e6 spread"]
    return [
        Row("events applied to memory, 1e3 keys", few, "events/s", "300,000 events/s", 300_000 / few, 1.0),
        Row("events applied, 1e6 keys, the same 1e3 change", hot, "events/s", "1e3 keys", few / hot, 1.1),
        Row(
            "events applied, 1e6 keys, all change",
            spread,
            "events/s",
            "300,000 events/s",
            300_000 / spread,
            1.0,
        ),
        Row("memory per key at 1e6 keys", size, "bytes", "400 bytes", size / 400, 1.0),
        Row("start with 1e6 keys until live", start, "s", "5 s", start / 5, 1.0),
        Row("1e6 keys loaded anew, longest turn of the loop", longest, "ms", "20 ms", longest / 20, 1.0),
    ]


def main(arguments: Sequence[str]) -> None:
    if arguments:
        print(json.dumps(PARTS[arguments[0]]()))
    else:
        print(table(run()))


if __name__ == "__main__":
    main(sys.argv[1:])
