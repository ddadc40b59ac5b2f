"""The bookings example: its rule holds under concurrency, its two memories agree, confirmations are written."""

from __future__ import annotations

import asyncio
import importlib
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from skerry.testing.app import World, running

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture
def bookings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example, imported anew."""
    monkeypatch.setenv("BOOKINGS_LETTERS", str(tmp_path / "letters.txt"))
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.delitem(sys.modules, "bookings", raising=False)
    return importlib.import_module("bookings")


async def book(world: World, guest: str, seats: int, room: str = "blue", slot: str = "s") -> Any:
    body = {"slot": slot, "guest": guest, "seats": seats}
    return await world.client.post(f"/rooms/{room}/bookings", json=body)


async def test_a_room_is_never_overbooked(bookings: ModuleType) -> None:
    """Two hundred guests at once for fifty seats: exactly as many as fit are told yes, and memory says the same."""
    async with running(bookings.app) as world:
        assert (await world.client.put("/rooms/blue", json={"seats": 50})).status == 200
        wanted = [random.Random(n).randint(1, 4) for n in range(200)]
        answers = await asyncio.gather(*(book(world, f"g{n}", seats) for n, seats in enumerate(wanted)))
        sold = sum(seats for seats, answer in zip(wanted, answers, strict=True) if answer.status == 201)
        assert {answer.status for answer in answers} == {201, 409}
        left = (await world.client.get("/rooms/blue")).json()["left"]
        assert left == {"": 50, "s": 50 - sold}
        assert 0 <= 50 - sold < 4
        guests = world.service(bookings.Guests)
        assert sum(b.seats for of in guests.of.values() for b in of.values()) == sold


async def test_what_is_cancelled_can_be_booked_again(bookings: ModuleType) -> None:
    """Seats come back, twice cancelled is told, and a room is never made smaller than its bookings."""
    async with running(bookings.app) as world:
        await world.client.put("/rooms/blue", json={"seats": 2})
        first = await book(world, "ada", 2)
        assert (await book(world, "bob", 1)).status == 409
        assert (await world.client.put("/rooms/blue", json={"seats": 1})).status == 409
        assert (await world.client.delete(first.headers["location"])).status == 204
        assert (await world.client.delete(first.headers["location"])).status == 409
        assert (await book(world, "bob", 1)).status == 201
        assert list((await world.client.get("/guests/ada")).json()["bookings"]) == []


async def test_one_idempotency_key_is_one_booking(bookings: ModuleType) -> None:
    """A client that lost its answer asks again and gets the same one."""
    async with running(bookings.app) as world:
        await world.client.put("/rooms/blue", json={"seats": 10})
        body = {"slot": "s", "guest": "ada", "seats": 1}
        key = {"Idempotency-Key": "ada-1"}
        one = await world.client.post("/rooms/blue/bookings", json=body, headers=key)
        two = await world.client.post("/rooms/blue/bookings", json=body, headers=key)
        assert (one.status, one.body) == (two.status, two.body) == (201, one.body)
        assert (await world.client.get("/rooms/blue")).json()["left"]["s"] == 9


async def test_bad_input_is_told_with_its_reason(bookings: ModuleType) -> None:
    """422 with what is wrong, 404 for no room, 409 for a rule."""
    async with running(bookings.app) as world:
        wrong = await world.client.put("/rooms/blue", json={"seats": 0})
        assert (wrong.status, "seats" in wrong.json()["detail"]) == (422, True)
        json = {"Content-Type": "application/json"}
        assert (await world.client.put("/rooms/blue", body="{", headers=json)).status == 400
        assert (await world.client.put("/rooms/blue", body='{"seats": 2}')).status == 415
        assert (await world.client.get("/rooms/red")).status == 404
        assert (await book(world, "ada", 1, room="red")).status == 409


async def test_every_booking_is_confirmed(bookings: ModuleType, tmp_path: Path) -> None:
    """The reactor writes one letter for each booking."""
    letters = tmp_path / "letters.txt"
    async with running(bookings.app) as world:
        reacted = asyncio.Event()
        world.consumer.reactions.on("reacted", lambda *_: reacted.set() if count(letters) == 3 else None)
        await world.client.put("/rooms/blue", json={"seats": 10})
        for guest in ("ada", "bob", "eve"):
            await book(world, guest, 1)
        await asyncio.wait_for(reacted.wait(), 60)
    assert "Dear ada, 1 seats in blue at s are yours." in letters.read_text()


def count(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0
