-- Round two, in one step: whose history an offset belongs to, who caused an event and within which trace, corrections
-- of stored events, dead letters in the order in which they came, and events from foreign transactions.

-- What the server says about the history of this journal, as far as it lets itself be asked: system identifier,
-- timeline, start, the table's oid. Each of them changes when committed transactions may have been lost: another
-- cluster, a promotion or a restore, a crash, a dump that was read in. Without a timeline on a standby, which can write
-- nothing anyway.
create function {ns}__history() returns text language plpgsql volatile as $$
declare
    v_system text := '';
    v_timeline text := '';
    v_started text := '';
begin
    begin
        v_system := (select system_identifier from pg_control_system())::text;
    exception when others then null;
    end;
    begin
        v_timeline := left(pg_walfile_name(pg_current_wal_lsn()), 8);
    exception when others then null;
    end;
    begin
        v_started := (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint::text;
    exception when others then null;
    end;
    return concat_ws(':', v_system, v_timeline, v_started, to_regclass('{ns}__log')::oid);
end
$$;

-- history: of the present epoch. trimmed_id: whose the event at the floor was.
alter table {ns}__log add column history text collate "C" not null default '';
alter table {ns}__log add column trimmed_id text collate "C" not null default '';
update {ns}__log set history = {ns}__history();

-- Epochs in order. began: where the journal stood. common: up to there, what happened in the epochs before is known to
-- be part of this one's history too. history: of the database then, '' where it says nothing. lost: so many events of
-- the epoch before are known to have been seen by somebody, and are not here.
create table {ns}__epoch (
    number bigint primary key,
    epoch text collate "C" not null unique,
    began bigint not null check (began >= 0),
    common bigint not null check (common between 0 and began),
    history text collate "C" not null,
    reason text collate "C" not null,
    lost bigint not null default 0,
    at timestamptz not null default clock_timestamp()
);
insert into {ns}__epoch (number, epoch, began, common, history, reason)
    select 1, epoch, 0, 0, history, '' from {ns}__log;

-- Up to which offset somebody who is at `p_pos` of `p_epoch` has seen what is the history here; null for an epoch that
-- is not known.
create function {ns}__common(p_epoch text, p_pos bigint) returns bigint language sql stable as $$
    select least(
        p_pos, (select min(common) from {ns}__epoch as later where later.number > mine.number), (select pos from {ns}__log)
    ) from {ns}__epoch as mine where mine.epoch = p_epoch
$$;

-- The epoch in which an offset was given out.
create function {ns}__named(p_pos bigint) returns text language sql stable as $$
    select coalesce(
        (select epoch from {ns}__epoch where common < p_pos order by number desc limit 1),
        (select epoch from {ns}__epoch order by number limit 1)
    )
$$;

-- Begins an epoch and says where the journal stands; null when `p_common` is null and the present epoch is of the
-- server's present history. p_common: up to where the epochs before are to be trusted, null: all that is here. p_seen:
-- how far the caller had known `p_seen_epoch` to have come.
create function {ns}__begin_epoch(
    p_epoch text, p_common bigint, p_reason text, p_seen_epoch text, p_seen bigint
) returns bigint language plpgsql volatile as $$
declare
    v_old {ns}__log%rowtype;
    v_history text;
    v_number bigint;
begin
    select * into strict v_old from {ns}__log for update;
    v_history := {ns}__history();
    if p_common is null and v_old.history = v_history then
        return null;
    end if;
    v_number := (select max(number) + 1 from {ns}__epoch);
    insert into {ns}__epoch (number, epoch, began, common, history, reason, lost) values (
        v_number, p_epoch, v_old.pos, least(v_old.pos, p_common), v_history, p_reason,
        case when p_seen_epoch = v_old.epoch then greatest(0, p_seen - v_old.pos) else 0 end
    );
    delete from {ns}__epoch where number <= v_number - 1000;
    update {ns}__cursor set epoch = p_epoch where epoch = v_old.epoch and pos <= v_old.pos;
    update {ns}__projection set epoch = p_epoch where epoch = v_old.epoch and pos <= v_old.pos;
    update {ns}__log set epoch = p_epoch, history = v_history;
    return v_old.pos;
end
$$;

-- As before (0001), and nothing is raised (-1) in an epoch of another history than the server's.
create or replace function {ns}__advance(
    p_count bigint, p_expected bigint, p_epoch text,
    p_lease text, p_owner text, p_fence bigint,
    p_claims text[], p_tables text[], p_counts integer[], p_keys text[], p_positions bigint[]
) returns bigint language plpgsql volatile as $$
declare
    v_base bigint;
    v_first integer := 1;
    v_changed boolean;
    v_history text := {ns}__history();
begin
    if p_lease is not null then
        perform 1 from {ns}__lease where name = p_lease and owner = p_owner and fence = p_fence for share;
        if not found then
            return -2;
        end if;
    end if;
    update {ns}__log set pos = pos + p_count where epoch = p_epoch and pos = p_expected and history = v_history
        returning pos - p_count into v_base;
    if found then
        return v_base;
    end if;
    if p_claims is null then
        return -3;
    end if;
    select pos into v_base from {ns}__log where epoch = p_epoch and history = v_history for update;
    if not found then
        return -1;
    end if;
    if exists (select from {ns}__outcome where command_id = any(p_claims)) then
        return -1;
    end if;
    for i in 1 .. coalesce(array_length(p_tables, 1), 0) loop
        execute format(
            'select exists (select from unnest($1, $2) as read (key, pos) '
            'where (select present.pos from %I as present where present.key = read.key) is distinct from read.pos)',
            '{ns}_' || p_tables[i]
        ) into v_changed using
            p_keys[v_first : v_first + p_counts[i] - 1], p_positions[v_first : v_first + p_counts[i] - 1];
        if v_changed then
            return -1;
        end if;
        v_first := v_first + p_counts[i];
    end loop;
    update {ns}__log set pos = pos + p_count;
    return v_base;
end
$$;

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
create index {ns}__dead_waits on {ns}__dead (number) where headers like '%"skerry-waits":%';

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
