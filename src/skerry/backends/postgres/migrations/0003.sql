-- Round two, in one step: whose history an offset belongs to, who caused an event and within which trace, corrections
-- of stored events, dead letters in the order in which they came, and events from foreign transactions.

-- Epochs in order. An epoch ended at the offset at which the next one began. history: what the database said about
-- itself when the epoch began (system identifier, timeline, start of the server); '' when nothing is known.
create table {ns}__epoch (
    number bigint primary key,
    epoch text collate "C" not null unique,
    began bigint not null check (began >= 0),
    history text collate "C" not null,
    reason text collate "C" not null,
    at timestamptz not null default clock_timestamp()
);
insert into {ns}__epoch (number, epoch, began, history, reason) select 1, epoch, 0, '', '' from {ns}__log;

alter table {ns}__event add column who text collate "C" not null default '';
alter table {ns}__event add column trace text collate "C" not null default '';

-- What is read in place of a stored event, which is never rewritten. amended_by: the event at the head that said so;
-- the last one about an offset counts.
create table {ns}__amendment (
    pos bigint primary key,
    amended_by bigint not null check (amended_by > pos),
    name text collate "C" not null,
    version integer not null,
    data text collate "C" not null
);

-- Letters in the order in which they came, whatever their ids and their senders' clocks say.
alter table {ns}__dead add column number bigint;
update {ns}__dead as dead set number = counted.number
from (select command_id, row_number() over (order by at, command_id) as number from {ns}__dead) as counted
where counted.command_id = dead.command_id;
alter table {ns}__dead alter column number set not null;
alter table {ns}__dead alter column number add generated always as identity;
select setval(pg_get_serial_sequence('{ns}__dead', 'number'), coalesce(max(number), 0) + 1, false) from {ns}__dead;
create unique index {ns}__dead_number on {ns}__dead (number);
create index {ns}__dead_key on {ns}__dead (key, number);

-- Events that foreign transactions have left; the consumer moves them into the journal in order of id. xid: the
-- transaction that left it, so that a loader can tell what its own snapshot has already seen. source: '' for an
-- event of the application, else the mirror whose trigger wrote it.
create table {ns}__intake (
    id bigint generated always as identity primary key,
    xid xid8 not null default pg_current_xact_id(),
    event_id text collate "C" not null default replace(gen_random_uuid()::text, '-', ''),
    source text collate "C" not null default '',
    name text collate "C" not null,
    version integer not null default 1,
    key text collate "C" not null default '',
    data text collate "C" not null,
    who text collate "C" not null default session_user,
    trace text collate "C" not null default '',
    at timestamptz not null default clock_timestamp()
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
