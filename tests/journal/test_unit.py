"""The unit of work: all or nothing, later commands see earlier ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import pytest

from skerry.errors import DeclarationError, InvalidMessage
from skerry.journal.epochs import Epochs
from skerry.journal.journal import StoredRow
from skerry.journal.table import Table
from skerry.journal.unit import Overlay, Unit
from skerry.messages.message import Event


class Stock(msgspec.Struct, frozen=True):
    amount: int


class Moved(Event):
    key: str


stock = Table("stock", key=str, row=Stock)
STORED = {("stock", "bolt"): StoredRow(b'{"amount":5}', 7), ("stock", "nut"): StoredRow('{"amount":1}', 3)}


class Loads:
    """Counts what is loaded on demand."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, places: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], StoredRow]:
        wanted = list(places)
        self.asked += wanted
        return {place: STORED[place] for place in wanted if place in STORED}


def overlay(loads: Loads | None = None, *loaded: str) -> Overlay:
    places = [("stock", key) for key in loaded]
    return Overlay(loads or Loads(), {p: STORED[p] for p in places if p in STORED}, places)


def unit(of: Overlay, id: str = "1") -> Unit:
    return Unit(of, id, 1.0, "epoch")


async def test_rows_are_loaded_once_for_the_batch() -> None:
    """What was loaded beforehand is not asked for again; the rest is loaded on demand, once."""
    loads = Loads()
    one = overlay(loads, "bolt")

    assert await unit(one).get(stock, "bolt") == Stock(5)
    assert await unit(one).get(stock, "nut") == Stock(1)
    assert await unit(one).get(stock, "nut") == Stock(1)
    assert await unit(one).get(stock, "none") is None

    assert loads.asked == [("stock", "nut"), ("stock", "none")]


async def test_a_later_command_sees_an_earlier_ones_effect() -> None:
    """Within one batch, as if each had its own transaction."""
    one = overlay(None, "bolt")
    first, second = unit(one, "1"), unit(one, "2")

    first.put(stock, "bolt", Stock(6))
    assert await second.get(stock, "bolt") == Stock(5)  # not yet folded
    first.fold(None, "")

    assert await second.get(stock, "bolt") == Stock(6)
    assert second.offset(stock, "bolt") is None  # a version that nobody outside can know


async def test_what_raises_leaves_no_trace() -> None:
    """A unit that is not folded changes nothing; one whose event cannot be encoded neither."""
    one = overlay(None, "bolt")
    broken = unit(one)
    broken.put(stock, "bolt", Stock(0))
    with pytest.raises(InvalidMessage, match="an object of type object"):
        broken.emit(Moved(object()))  # type: ignore[arg-type]

    assert await unit(one).get(stock, "bolt") == Stock(5)
    assert not one.writes.events
    assert not one.writes.puts
    assert not one.writes.outcomes


async def test_writes_are_folded_per_key_and_events_are_not() -> None:
    """One final row per key, every event in order, rows at the position of the command that changed them last."""
    one = overlay()
    for n in range(3):
        work = unit(one, str(n))
        work.put(stock, "bolt", Stock(n))
        work.emit(Moved(f"a{n}"))
        work.emit(Moved(f"b{n}"))
        work.fold(None, "")

    assert one.writes.puts == {"stock": {"bolt": (b'{"amount":2}', 6)}}
    told = [(e.command_id, e.key, e.more) for e in one.writes.events]
    assert told == [(str(n), f"{letter}{n}", letter == "a") for n in range(3) for letter in "ab"]
    assert [o.events_before for o in one.writes.outcomes] == [2, 4, 6]


async def test_a_key_is_put_or_deleted_never_both() -> None:
    """The last word counts."""
    one = overlay(None, "bolt", "nut")
    work = unit(one)
    work.delete(stock, "bolt")
    work.put(stock, "nut", Stock(9))
    work.fold(None, "")
    again = unit(one, "2")
    assert again.loaded(stock, "bolt") is None
    again.put(stock, "bolt", Stock(1))
    again.delete(stock, "nut")
    again.fold(None, "")

    assert set(one.writes.puts["stock"]) == {"bolt"}
    assert one.writes.deletes["stock"] == {"nut"}


async def test_plain_handlers_read_what_was_loaded() -> None:
    """`loaded` and `offset` need no await, and say so when the row was not loaded."""
    one = overlay(None, "bolt", "none")
    work = unit(one)

    assert work.loaded(stock, "bolt") == Stock(5)
    assert (work.offset(stock, "bolt"), work.offset(stock, "none")) == (7, 0)
    assert (work.etag(stock, "bolt"), work.etag(stock, "none")) == (f"{work.epoch}:7", None)
    one.epochs = Epochs([("first", 0, 0), ("second", 7, 7)])
    assert work.etag(stock, "bolt") == "first:7", "by the epoch in which the row was changed"
    other = unit(one, "2")
    other.put(stock, "bolt", Stock(6))
    other.fold(None, "")
    assert work.etag(stock, "bolt") == "not yet known"
    third = unit(one, "3")
    third.delete(stock, "bolt")
    third.fold(None, "")
    assert work.etag(stock, "bolt") is None
    with pytest.raises(LookupError, match="loads="):
        work.loaded(stock, "nut")
    with pytest.raises(LookupError, match="sql=True"):
        _ = work.connection


def test_tables_check_names_and_keys() -> None:
    """A bad name is found when it is declared, a bad key when it is used."""
    with pytest.raises(DeclarationError, match="lower case"):
        Table("Key-Value", key=str, row=Stock)
    with pytest.raises(TypeError, match="not str"):
        stock.key_text(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidMessage, match=r"U\+0000"):
        stock.key_text("a\x00b")
    with pytest.raises(InvalidMessage, match="does not fit"):
        stock.decode(b'{"amount":"many"}')
    assert Table("numbers", key=int, row=Stock).key_of("12") == 12
