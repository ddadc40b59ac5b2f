"""Bookings in SQL mode: the same application as bookings.py, decided with relational tables of its own.

    cd examples && skerry run bookings_sql:app
    curl -XPUT localhost:8999/rooms/blue --json '{"seats": 2}'
    curl localhost:8999/rooms/blue/bookings --json '{"slot": "2026-12-01T19", "guest": "ada", "seats": 2}'
    curl localhost:8999/rooms/blue

Two rules. No more seats than a room has: commands of one room are decided in order, so the handler may look and then
write. No guest in two rooms at once: that spans rooms, which different consumers may be deciding at this moment, so a
constraint of the database guards it. The same SQL runs on SQLite and on PostgreSQL; the tables come from
bookings_sql_migrations/, and rows, events and outcomes commit together.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from pathlib import Path

import msgspec

from bookings import Book, Booked, Cancel, Cancelled, NewBooking, NewSeats, SeatsSet, SetSeats
from skerry import (
    App,
    HttpReads,
    HttpWrites,
    Problem,
    Projection,
    Receipt,
    Record,
    Rejected,
    Request,
    Response,
    Unit,
)

app = App("bookings_sql", title="Bookings in SQL", version="1")
app.migrations(Path(__file__).parent / "bookings_sql_migrations")


# How it is decided ---------------------------------------------------------------------------------------------


@app.handles(sql=True)
async def set_seats(command: SetSeats, unit: Unit) -> None:
    """Change a room; never below what is booked already."""
    sql = unit.connection
    most = await sql.fetchval(
        "select max(taken) from (select sum(seats) as taken from bookings where room = $1 group by slot) as slots",
        command.key,
    )
    if command.seats < (most or 0):
        raise Rejected(f"{most} seats are booked in one slot already")
    await sql.execute(
        "insert into rooms (name, seats) values ($1, $2) on conflict (name) do update set seats = excluded.seats",
        command.key,
        command.seats,
    )
    unit.emit(SeatsSet(command.key, command.seats))


@app.handles(sql=True)
async def book(command: Book, unit: Unit) -> None:
    """Both rules. `on conflict do nothing` waits for another booking of the same guest that is under way, then
    tells."""
    sql = unit.connection
    room = await sql.fetchrow(
        "select seats, (select coalesce(sum(seats), 0) from bookings where room = $1 and slot = $2) as taken"
        " from rooms where name = $1",
        command.key,
        command.slot,
    )
    if room is None:
        raise Rejected("there is no such room")
    if room["taken"] + command.seats > room["seats"]:
        raise Rejected(f"only {room['seats'] - room['taken']} seats are left")
    made = await sql.fetchval(
        "insert into bookings (name, room, slot, guest, seats) values ($1, $2, $3, $4, $5)"
        " on conflict do nothing returning name",
        command.booking,
        command.key,
        command.slot,
        command.guest,
        command.seats,
    )
    if made is None:
        raise Rejected("there is a booking of this name, or the guest is in another room then")
    unit.emit(Booked(command.key, command.booking, command.slot, command.guest, command.seats))


@app.handles(sql=True)
async def cancel(command: Cancel, unit: Unit) -> None:
    gone = await unit.connection.fetchrow(
        "delete from bookings where name = $1 and room = $2 returning slot, guest, seats",
        command.booking,
        command.key,
    )
    if gone is None:
        raise Rejected("there is no such booking")
    unit.emit(Cancelled(command.key, command.booking, gone["slot"], gone["guest"], gone["seats"]))


# What is kept in memory ----------------------------------------------------------------------------------------


class State(msgspec.Struct):
    """Seats by room, seats taken by room and slot."""

    seats: dict[str, int] = {}
    taken: dict[str, dict[str, int]] = msgspec.field(default_factory=lambda: defaultdict(dict))


@app.projection
class Availability(Projection):
    """Follows from events alone: tables of our own are not loaded into memory, so it keeps a snapshot of its own."""

    stored = True

    def __init__(self) -> None:
        self.now = State()

    def clear(self) -> None:
        self.now = State()

    def state(self) -> bytes:
        return msgspec.json.encode(self.now)

    def restore(self, state: bytes) -> None:
        found = msgspec.json.decode(state, type=State)
        self.now = State(found.seats, defaultdict(dict, found.taken))

    @Projection.applies(SeatsSet)
    def set(self, event: SeatsSet, record: Record) -> None:
        self.now.seats[event.key] = event.seats

    @Projection.applies(Booked)
    def booked(self, event: Booked, record: Record) -> None:
        slots = self.now.taken[event.key]
        slots[event.slot] = slots.get(event.slot, 0) + event.seats

    @Projection.applies(Cancelled)
    def cancelled(self, event: Cancelled, record: Record) -> None:
        self.now.taken[event.key][event.slot] -= event.seats


# What is said over HTTP ----------------------------------------------------------------------------------------


@app.put("/rooms/{room}")
def put_room(request: Request, room: str, body: NewSeats, writes: HttpWrites) -> asyncio.Future[Response]:
    """Say how many seats a room has."""
    answer = {"room": room, "seats": body.seats}
    return writes.send(request, SetSeats(room, body.seats), lambda receipt: Response.json(answer))


@app.get("/rooms/{room}")
def get_room(
    request: Request, room: str, availability: Availability, reads: HttpReads
) -> Response | asyncio.Future[Response]:
    """Seats left, slot by slot."""

    def answer() -> Response:
        seats = availability.now.seats.get(room)
        if seats is None:
            raise Problem(404, "there is no such room")
        taken = availability.now.taken.get(room, {})
        return Response.json({"room": room, "left": {slot: seats - n for slot, n in taken.items()}})

    return reads.at(request, answer)


@app.post("/rooms/{room}/bookings")
def post_booking(
    request: Request, room: str, body: NewBooking, writes: HttpWrites
) -> asyncio.Future[Response]:
    """Book seats; 409 when a rule says no. Repeat with the same Idempotency-Key: it is one booking."""
    name = request.headers.get("idempotency-key") or os.urandom(6).hex()

    def answer(receipt: Receipt) -> Response:
        return Response.json({"booking": name}, 201, headers={"Location": f"/rooms/{room}/bookings/{name}"})

    return writes.send(request, Book(room, name, body.slot, body.guest, body.seats), answer)


@app.delete("/rooms/{room}/bookings/{booking}")
def delete_booking(request: Request, room: str, booking: str, writes: HttpWrites) -> asyncio.Future[Response]:
    """Give the seats back."""
    return writes.send(request, Cancel(room, booking), lambda receipt: Response(b"", 204))
