"""Bookings: rooms with so many seats a slot, and a rule that holds whatever happens at once.

    cd examples && skerry run bookings:app
    curl -XPUT localhost:8999/rooms/blue --json '{"seats": 2}'
    curl localhost:8999/rooms/blue/bookings --json '{"slot": "2026-12-01T19", "guest": "ada", "seats": 2}'
    curl localhost:8999/rooms/blue

Two tables, two projections, a rule that must never be broken (no more seats than there are), and a reactor that
writes a confirmation for each booking, at least once, after it is certain.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import msgspec

from skerry import (
    App,
    Command,
    Event,
    HttpReads,
    HttpWrites,
    Problem,
    Projection,
    Query,
    QueryBus,
    Receipt,
    Record,
    Rejected,
    Request,
    Response,
    Table,
    Unit,
)

Seats = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


# What is said --------------------------------------------------------------------------------------------------


class SetSeats(Command):
    """A room has so many seats in every slot."""

    key: str
    seats: Seats


class Book(Command):
    """Seats of a room in a slot for a guest. `key` is the room: what is decided about one room is in order."""

    key: str
    booking: str
    slot: Name
    guest: Name
    seats: Seats


class Cancel(Command):
    """Give a booking's seats back."""

    key: str
    booking: str


class SeatsSet(Event):
    key: str
    seats: int


class Booked(Event):
    key: str
    booking: str
    slot: str
    guest: str
    seats: int


class Cancelled(Event):
    key: str
    booking: str
    slot: str
    guest: str
    seats: int


# What is remembered --------------------------------------------------------------------------------------------


class Room(msgspec.Struct, frozen=True):
    """`taken`: seats taken, by slot."""

    seats: int
    taken: dict[str, int] = {}


class Booking(msgspec.Struct, frozen=True):
    room: str
    slot: str
    guest: str
    seats: int


rooms = Table("rooms", key=str, row=Room)
bookings = Table("bookings", key=str, row=Booking)

app = App("bookings", title="Bookings", version="1")


# How it is decided ---------------------------------------------------------------------------------------------


@app.handles(loads=rooms)
def set_seats(command: SetSeats, unit: Unit) -> None:
    """Change a room; never below what is booked already."""
    room = unit.loaded(rooms, command.key) or Room(0)
    most = max(room.taken.values(), default=0)
    if command.seats < most:
        raise Rejected(f"{most} seats are booked in one slot already")
    unit.put(rooms, command.key, msgspec.structs.replace(room, seats=command.seats))
    unit.emit(SeatsSet(command.key, command.seats))


@app.handles(loads=lambda command: [(rooms, command.key), (bookings, command.booking)])
def book(command: Book, unit: Unit) -> None:
    """The rule: within a slot, never more than the room has."""
    room = unit.loaded(rooms, command.key)
    if room is None:
        raise Rejected("there is no such room")
    if unit.loaded(bookings, command.booking) is not None:
        raise Rejected("there is a booking of this name")
    taken = room.taken.get(command.slot, 0) + command.seats
    if taken > room.seats:
        raise Rejected(f"only {room.seats - room.taken.get(command.slot, 0)} seats are left")
    unit.put(rooms, command.key, msgspec.structs.replace(room, taken={**room.taken, command.slot: taken}))
    unit.put(bookings, command.booking, Booking(command.key, command.slot, command.guest, command.seats))
    unit.emit(Booked(command.key, command.booking, command.slot, command.guest, command.seats))


@app.handles(loads=lambda command: [(rooms, command.key), (bookings, command.booking)])
def cancel(command: Cancel, unit: Unit) -> None:
    room, booking = unit.loaded(rooms, command.key), unit.loaded(bookings, command.booking)
    if room is None or booking is None or booking.room != command.key:
        raise Rejected("there is no such booking")
    left = room.taken[booking.slot] - booking.seats
    taken = {slot: n for slot, n in {**room.taken, booking.slot: left}.items() if n}
    unit.put(rooms, command.key, msgspec.structs.replace(room, taken=taken))
    unit.delete(bookings, command.booking)
    unit.emit(Cancelled(command.key, command.booking, booking.slot, booking.guest, booking.seats))


# What is kept in memory ----------------------------------------------------------------------------------------


@app.projection
class Availability(Projection):
    """Seats left, by room and slot."""

    table = rooms

    def __init__(self) -> None:
        self.seats: dict[str, int] = {}
        self.taken: dict[str, dict[str, int]] = defaultdict(dict)

    def clear(self) -> None:
        self.seats.clear()
        self.taken.clear()

    def load(self, table: Any, key: str, row: Room, offset: int) -> None:
        self.seats[key] = row.seats
        self.taken[key] = dict(row.taken)

    @Projection.applies(SeatsSet)
    def set(self, event: SeatsSet, record: Record) -> None:
        self.seats[event.key] = event.seats

    @Projection.applies(Booked)
    def booked(self, event: Booked, record: Record) -> None:
        slots = self.taken[event.key]
        slots[event.slot] = slots.get(event.slot, 0) + event.seats

    @Projection.applies(Cancelled)
    def cancelled(self, event: Cancelled, record: Record) -> None:
        self.taken[event.key][event.slot] -= event.seats


@app.projection
class Guests(Projection):
    """The bookings of each guest."""

    table = bookings

    def __init__(self) -> None:
        self.of: dict[str, dict[str, Booking]] = defaultdict(dict)

    def clear(self) -> None:
        self.of.clear()

    def load(self, table: Any, key: str, row: Booking, offset: int) -> None:
        self.of[row.guest][key] = row

    @Projection.applies(Booked)
    def booked(self, event: Booked, record: Record) -> None:
        self.of[event.guest][event.booking] = Booking(event.key, event.slot, event.guest, event.seats)

    @Projection.applies(Cancelled)
    def cancelled(self, event: Cancelled, record: Record) -> None:
        self.of[event.guest].pop(event.booking, None)


# What happens outside, once it is certain ----------------------------------------------------------------------


class Letters:
    """Where confirmations go: one line each, into a file. A booking is confirmed once, however often we try."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, booking: str, line: str) -> None:
        known = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        if f"[{booking}]" not in known:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"[{booking}] {line}\n")


@app.service()
def letters() -> Letters:
    return Letters(Path(os.environ.get("BOOKINGS_LETTERS", "confirmations.txt")))


@app.reactor("confirmations", Booked, begin="start")
async def confirm(event: Booked, letters: Letters) -> None:
    """At least once for every booking: a crash in between makes it happen again."""
    line = f"Dear {event.guest}, {event.seats} seats in {event.key} at {event.slot} are yours."
    await asyncio.to_thread(letters.write, event.booking, line)


# What is said over HTTP ----------------------------------------------------------------------------------------


class NewSeats(msgspec.Struct, frozen=True):
    seats: Seats


class NewBooking(msgspec.Struct, frozen=True):
    slot: Name
    guest: Name
    seats: Seats = 1


class SeatsLeft(Query[dict[str, int]]):
    """Seats left in each slot of a room that has bookings; `""` is a slot without any."""

    room: str


@app.answers()
def seats_left(query: SeatsLeft, availability: Availability) -> dict[str, int]:
    seats = availability.seats[query.room]
    return {"": seats} | {slot: seats - taken for slot, taken in availability.taken[query.room].items()}


@app.put("/rooms/{room}")
def put_room(request: Request, room: str, body: NewSeats, writes: HttpWrites) -> asyncio.Future[Response]:
    """Say how many seats a room has."""
    answer = {"room": room, "seats": body.seats}
    return writes.send(request, SetSeats(room, body.seats), lambda receipt: Response.json(answer))


@app.get("/rooms/{room}")
def get_room(
    request: Request, room: str, queries: QueryBus, availability: Availability, reads: HttpReads
) -> Response | asyncio.Future[Response]:
    """Seats left, slot by slot."""

    def answer() -> Response:
        if room not in availability.seats:
            raise Problem(404, "there is no such room")
        return Response.json({"room": room, "left": queries.ask(SeatsLeft(room))})

    return reads.at(request, answer)


@app.post("/rooms/{room}/bookings")
def post_booking(
    request: Request, room: str, body: NewBooking, writes: HttpWrites
) -> asyncio.Future[Response]:
    """Book seats; 409 when they are not there. Repeat with the same Idempotency-Key: it is one booking."""
    name = os.urandom(6).hex() if (key := request.headers.get("idempotency-key")) is None else key

    def answer(receipt: Receipt) -> Response:
        where = {"Location": f"/rooms/{room}/bookings/{name}"}
        return Response.json({"booking": name, "room": room, "slot": body.slot}, 201, headers=where)

    return writes.send(request, Book(room, name, body.slot, body.guest, body.seats), answer)


@app.delete("/rooms/{room}/bookings/{booking}")
def delete_booking(request: Request, room: str, booking: str, writes: HttpWrites) -> asyncio.Future[Response]:
    """Give the seats back."""
    return writes.send(request, Cancel(room, booking), lambda receipt: Response(b"", 204))


@app.get("/guests/{guest}")
def get_guest(guest: str, guests: Guests) -> Response:
    """A guest's bookings."""
    return Response.json({"guest": guest, "bookings": guests.of.get(guest, {})})
