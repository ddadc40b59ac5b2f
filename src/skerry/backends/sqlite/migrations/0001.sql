-- The journal of one namespace. One row of log says where it ends; offsets come from there, never from rowids.
create table {ns}__log (
    only_one integer primary key check (only_one = 1),
    epoch text not null,
    pos integer not null check (pos >= 0),
    floor integer not null check (floor between 0 and pos)
);

create table {ns}__event (
    pos integer primary key,
    command_id text not null,
    key text not null,
    name text not null,
    version integer not null,
    at real not null,
    more integer not null,
    data text not null
);

create table {ns}__outcome (
    command_id text primary key,
    status text not null,
    pos integer not null,
    events integer not null,
    reason text not null,
    kind text not null,
    result text,
    request_hash text not null,
    at real not null
) without rowid;

create table {ns}__dead (
    command_id text primary key,
    name text not null,
    version integer not null,
    key text not null,
    body blob not null,
    reason text not null,
    details text not null,
    attempts integer not null,
    at real not null,
    headers text not null
);

create table {ns}__attempt (
    command_id text primary key,
    count integer not null,
    at real not null
) without rowid;

create table {ns}__cursor (
    subscriber text primary key,
    epoch text not null,
    pos integer not null
) without rowid;

create table {ns}__projection (
    name text primary key,
    version integer not null,
    epoch text not null,
    pos integer not null,
    data blob not null
);

create table {ns}__lease (
    name text primary key,
    owner text not null,
    fence integer not null,
    until real not null
) without rowid;

create table {ns}__table (
    name text primary key
) without rowid;
