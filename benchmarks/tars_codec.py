"""Tars: encode and decode a struct of 20 members, against a codec that looks at the types of each message.

Bars: <= 0.3x of a reflective codec in Python (written below, as TUP codecs for Python are: a reader that takes
heads apart, a writer that appends, a walk over the schema), <= 8x of `tarsio`, which is written in Rust and is measured
when it can be imported. CPU time, in turns in one process, medians. Run: `python -m benchmarks.tars_codec`.
"""

from __future__ import annotations

import statistics
import struct
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.rows import Row, table

from skerry import tars

SOURCE = """
module bench
{
    struct Inner { 0 require int id; 1 require string name; };
    struct Record
    {
        0 require int id; 1 require long created; 2 require string name; 3 require string email; 4 require bool active;
        5 require short level; 6 require byte kind; 7 require double score; 8 require float ratio; 9 require int zero;
        10 require string city; 11 require unsigned int flags; 12 require long balance; 13 require vector<byte> token;
        14 require vector<int> numbers; 15 require map<string, string> labels; 16 require Inner owner;
        17 require vector<string> tags; 18 require bool deleted; 19 require int version;
    };
};
"""


# A reflective codec: the schema is data, and every message is encoded by walking it.

Kind = Any  # a name, ("list", Kind), ("map", Kind, Kind) or a schema
Schema = dict[int, tuple[str, Kind]]

INNER: Schema = {0: ("id", "int"), 1: ("name", "string")}
RECORD: Schema = {
    0: ("id", "int"), 1: ("created", "int"), 2: ("name", "string"), 3: ("email", "string"), 4: ("active", "bool"),
    5: ("level", "int"), 6: ("kind", "int"), 7: ("score", "double"), 8: ("ratio", "float"), 9: ("zero", "int"),
    10: ("city", "string"), 11: ("flags", "int"), 12: ("balance", "int"), 13: ("token", "bytes"),
    14: ("numbers", ("list", "int")), 15: ("labels", ("map", "string", "string")), 16: ("owner", INNER),
    17: ("tags", ("list", "string")), 18: ("deleted", "bool"), 19: ("version", "int"),
}  # fmt: skip


def write_head(out: bytearray, tag: int, kind: int) -> None:
    if tag < 15:
        out.append(tag << 4 | kind)
    else:
        out += bytes((0xF0 | kind, tag))


def write(out: bytearray, tag: int, kind: Kind, value: Any) -> None:
    if isinstance(kind, dict):
        write_head(out, tag, 10)
        for member, (name, inner) in kind.items():
            write(out, member, inner, getattr(value, name))
        write_head(out, 0, 11)
    elif kind in ("int", "bool"):
        number = int(value)
        if number == 0:
            write_head(out, tag, 12)
        elif -128 <= number <= 127:
            write_head(out, tag, 0)
            out += struct.pack(">b", number)
        elif -32768 <= number <= 32767:
            write_head(out, tag, 1)
            out += struct.pack(">h", number)
        elif -(2**31) <= number < 2**31:
            write_head(out, tag, 2)
            out += struct.pack(">i", number)
        else:
            write_head(out, tag, 3)
            out += struct.pack(">q", number)
    elif kind in ("float", "double"):
        write_head(out, tag, 4 if kind == "float" else 5)
        out += struct.pack(">f" if kind == "float" else ">d", value)
    elif kind == "string":
        text = value.encode()
        write_head(out, tag, 6 if len(text) < 256 else 7)
        out += struct.pack(">B" if len(text) < 256 else ">I", len(text)) + text
    elif kind == "bytes":
        write_head(out, tag, 13)
        write_head(out, 0, 0)
        write(out, 0, "int", len(value))
        out += value
    elif kind[0] == "list":
        write_head(out, tag, 9)
        write(out, 0, "int", len(value))
        for item in value:
            write(out, 0, kind[1], item)
    else:
        write_head(out, tag, 8)
        write(out, 0, "int", len(value))
        for key, item in value.items():
            write(out, 0, kind[1], key)
            write(out, 1, kind[2], item)


class Reader:
    """Takes heads apart one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        part = self.data[self.at : self.at + size]
        if len(part) < size:
            raise ValueError("the bytes end")
        self.at += size
        return part

    def head(self) -> tuple[int, int]:
        first = self.take(1)[0]
        tag = first >> 4
        return (tag if tag < 15 else self.take(1)[0]), first & 15

    def value(self, wire: int, kind: Kind, make: Callable[[Kind, dict[str, Any]], Any]) -> Any:
        if wire == 12:
            return False if kind == "bool" else 0
        if wire < 6:
            form = ">b", ">h", ">i", ">q", ">f", ">d"
            number = struct.unpack(form[wire], self.take(struct.calcsize(form[wire])))[0]
            return bool(number) if kind == "bool" else number
        if wire in (6, 7):
            size = struct.unpack(">B" if wire == 6 else ">I", self.take(1 if wire == 6 else 4))[0]
            return self.take(size).decode()
        if wire == 13:
            self.head()
            return self.take(self.value(self.head()[1], "int", make))
        if wire == 9:
            size = self.value(self.head()[1], "int", make)
            return [self.value(self.head()[1], kind[1], make) for _ in range(size)]
        if wire == 8:
            size = self.value(self.head()[1], "int", make)
            pairs = range(size)
            return {
                self.value(self.head()[1], kind[1], make): self.value(self.head()[1], kind[2], make)
                for _ in pairs
            }
        return self.struct(kind, make)

    def struct(self, schema: Schema, make: Callable[[Kind, dict[str, Any]], Any]) -> Any:
        values: dict[str, Any] = {}
        while self.at < len(self.data):
            tag, wire = self.head()
            if wire == 11:
                break
            name, kind = schema[tag]
            values[name] = self.value(wire, kind, make)
        return make(schema, values)


def round_of(call: Callable[[], object], calls: int) -> float:
    """CPU microseconds of one call."""
    began = time.process_time_ns()
    for _ in range(calls):
        call()
    return (time.process_time_ns() - began) / calls / 1000


def median_of(calls: list[Callable[[], object]], rounds: int = 11, count: int = 2000) -> list[float]:
    """Medians of calls that were measured in turns."""
    rows = [[round_of(call, count) for call in calls] for _ in range(rounds + 1)][1:]
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def values_of(inner: Any) -> dict[str, Any]:
    """The message: small and large numbers, short texts, one container of each kind."""
    return {
        "id": 123456, "created": 1700000000123, "name": "a name of a person", "email": "someone@example.org",
        "active": True, "level": 300, "kind": 7, "score": 3.25, "ratio": 0.5, "zero": 0, "city": "Ōsaka",
        "flags": 4000000000, "balance": -5, "token": b"0123456789abcdef", "numbers": [1, 200, 70000, -3, 5],
        "labels": {"a": "first", "b": "second", "c": "third"}, "owner": inner(id=9, name="owner"),
        "tags": ["red", "green"], "deleted": False, "version": 70000,
    }  # fmt: skip


def tarsio_calls() -> tuple[Callable[[], object], Callable[[], object], bytes] | None:
    """Encode and decode by tarsio, and what it encodes; None where it is not installed."""
    try:
        import tarsio  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None

    class Inner(tarsio.Struct):  # type: ignore[misc, unused-ignore]
        id: int = tarsio.field(tag=0)
        name: str = tarsio.field(tag=1)

    kinds: dict[str, Any] = {
        "id": int, "created": int, "name": str, "email": str, "active": bool, "level": int, "kind": int,
        "score": float, "ratio": float, "zero": int, "city": str, "flags": int, "balance": int, "token": bytes,
        "numbers": list[int], "labels": dict[str, str], "owner": Inner, "tags": list[str], "deleted": bool,
        "version": int,
    }  # fmt: skip
    fields = {name: tarsio.field(tag=tag) for tag, name in enumerate(kinds)}
    record: Any = type(tarsio.Struct)("Record", (tarsio.Struct,), {"__annotations__": kinds, **fields})
    value = record(**values_of(Inner))
    data = tarsio.encode(value)
    assert tarsio.decode(data, record) == value
    return (lambda: tarsio.encode(value)), (lambda: tarsio.decode(data, record)), data


def run() -> list[Row]:
    """The table: encode and decode, microseconds, against each peer."""
    bench = tars.load_text(SOURCE).bench
    value = bench.Record(**values_of(bench.Inner))
    data = tars.encode(value)

    def reflective_encode() -> bytes:
        out = bytearray()
        for tag, (name, kind) in RECORD.items():
            write(out, tag, kind, getattr(value, name))
        return bytes(out)

    def make(schema: Schema, values: dict[str, Any]) -> Any:
        return (bench.Inner if schema is INNER else bench.Record)(**values)

    def reflective_decode() -> object:
        return Reader(data).struct(RECORD, make)

    assert reflective_encode() == data
    assert reflective_decode() == tars.decode(bench.Record, data) == value
    calls: list[Callable[[], object]] = [
        lambda: tars.encode(value),
        lambda: tars.decode(bench.Record, data),
        reflective_encode,
        reflective_decode,
    ]
    peer = tarsio_calls()
    if peer:
        calls += peer[:2]
    encode, decode, slow_encode, slow_decode, *fast = median_of(calls)
    found = [_row("reflective Python", encode, decode, slow_encode, slow_decode, 0.3)]
    if fast:
        try:
            name = f"tarsio {version('tarsio')}"
        except PackageNotFoundError:
            name = "tarsio"
        found.append(_row(name, encode, decode, fast[0], fast[1], 8.0))
    return found


def _row(peer: str, encode: float, decode: float, peer_encode: float, peer_decode: float, bar: float) -> Row:
    ratio = (encode + decode) / (peer_encode + peer_decode)
    against = f"{peer}: {peer_encode:.1f} + {peer_decode:.1f} us"
    note = f"{encode:.1f} + {decode:.1f} us"
    return Row("Tars encode + decode of 20 members", encode + decode, "us", against, ratio, bar, note)


if __name__ == "__main__":
    print(table(run()))
