-- Round two, in one step: whose history an offset belongs to, who caused an event and within which trace, corrections
-- of stored events, dead letters in the order in which they came.

-- Whose the event at the floor was.
alter table {ns}__log add column trimmed_id text not null default '';

-- Epochs in order. began: where the journal stood. common: up to there, what happened in the epochs before is known to
-- be part of this one's history too. lost: so many events of the epoch before are known to have been seen by somebody,
-- and are not here.
create table {ns}__epoch (
    number integer primary key,
    epoch text not null unique,
    began integer not null check (began >= 0),
    common integer not null check (common between 0 and began),
    history text not null,
    reason text not null,
    lost integer not null default 0,
    at real not null
);
insert into {ns}__epoch (number, epoch, began, common, history, reason, at)
    select 1, epoch, 0, 0, '', '', unixepoch('subsec') from {ns}__log;

alter table {ns}__event add column who text not null default '';
alter table {ns}__event add column trace text not null default '';

-- What is read in place of a stored event, which is never rewritten. amended_by: the event at the head that said so;
-- the last one about an offset counts.
create table {ns}__amendment (
    pos integer primary key,
    amended_by integer not null check (amended_by > pos),
    name text not null,
    version integer not null,
    data text not null
);

-- Letters in the order in which they came, whatever their ids and their senders' clocks say.
alter table {ns}__dead rename to {ns}__dead_before;
create table {ns}__dead (
    number integer primary key,
    command_id text not null unique,
    name text not null,
    version integer not null,
    key text not null,
    reason text not null,
    attempts integer not null,
    at real not null,
    headers text not null,
    details text not null,
    body blob not null
);
insert into {ns}__dead (command_id, name, version, key, body, reason, details, attempts, at, headers)
    select command_id, name, version, key, body, reason, details, attempts, at, headers
    from {ns}__dead_before order by at, command_id;
drop table {ns}__dead_before;
create index {ns}__dead_key on {ns}__dead (key, number);
create index {ns}__dead_waits on {ns}__dead (number) where headers like '%"skerry-waits":%';
