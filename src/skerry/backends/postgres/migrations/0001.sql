-- The journal of one namespace. Offsets come from the one row of log, raised in the same statement as what they
-- number, so that offset order is commit order and a missing number is a real gap. Never from a sequence.
create table {ns}__log (
    only_one boolean primary key check (only_one),
    epoch text not null,
    pos bigint not null check (pos >= 0),
    floor bigint not null check (floor between 0 and pos)
) with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

create table {ns}__event (
    pos bigint primary key,
    command_id text collate "C" not null,
    key text collate "C" not null,
    name text collate "C" not null,
    version integer not null,
    at double precision not null,
    more boolean not null,
    data text collate "C" not null
);

create table {ns}__outcome (
    command_id text collate "C" primary key,
    status text collate "C" not null,
    pos bigint not null,
    events integer not null,
    reason text collate "C" not null,
    kind text collate "C" not null,
    result text collate "C",
    request_hash text collate "C" not null,
    at double precision not null
);
create index {ns}__outcome_at on {ns}__outcome using brin (at);

create table {ns}__dead (
    command_id text collate "C" primary key,
    name text collate "C" not null,
    version integer not null,
    key text collate "C" not null,
    body bytea not null,
    reason text collate "C" not null,
    details text collate "C" not null,
    attempts integer not null,
    at double precision not null,
    headers text collate "C" not null
);

create table {ns}__attempt (
    command_id text collate "C" primary key,
    count integer not null,
    at double precision not null
);

create table {ns}__cursor (
    subscriber text collate "C" primary key,
    epoch text not null,
    pos bigint not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

create table {ns}__projection (
    name text collate "C" primary key,
    version integer not null,
    epoch text not null,
    pos bigint not null,
    data bytea not null
);

create table {ns}__lease (
    name text collate "C" primary key,
    owner text collate "C" not null,
    fence bigint not null,
    until timestamptz not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

create table {ns}__table (
    name text collate "C" primary key
);

-- Raises the journal's end by `p_count` when what a batch decided on still holds, and says what it was before; the
-- lock on it is held to the end of the transaction. Negative when nothing was raised: -1 another writer was quicker,
-- -2 the lease was lost, -3 the end has moved and nothing was given to check. A function, because each of its
-- statements sees what was committed while the one before it waited, which the parts of one statement do not.
create function {ns}__advance(
    p_count bigint, p_expected bigint, p_epoch text,
    p_lease text, p_owner text, p_fence bigint,
    p_claims text[], p_tables text[], p_counts integer[], p_keys text[], p_positions bigint[]
) returns bigint language plpgsql volatile as $$
declare
    v_base bigint;
    v_first integer := 1;
    v_changed boolean;
begin
    if p_lease is not null then
        perform 1 from {ns}__lease where name = p_lease and owner = p_owner and fence = p_fence for share;
        if not found then
            return -2;
        end if;
    end if;
    update {ns}__log set pos = pos + p_count where epoch = p_epoch and pos = p_expected
        returning pos - p_count into v_base;
    if found then
        return v_base;
    end if;
    if p_claims is null then
        return -3;
    end if;
    select pos into v_base from {ns}__log where epoch = p_epoch for update;
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
