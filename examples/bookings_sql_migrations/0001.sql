-- Runs on SQLite and on PostgreSQL.
create table rooms (
    name text primary key,
    seats integer not null check (seats >= 1)
);

create table bookings (
    name text primary key,
    room text not null references rooms (name),
    slot text not null,
    guest text not null,
    seats integer not null check (seats >= 1),
    constraint in_one_room_at_a_time unique (guest, slot)
);

create index bookings_of_a_slot on bookings (room, slot);
