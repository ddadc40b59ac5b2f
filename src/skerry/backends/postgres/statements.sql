-- Statements of the PostgreSQL journal. $words become numbered parameters (schema.py); {ns} and {table} are
-- checked names. A batch is opened by one statement and written by one statement, whose parts are put together
-- once for each combination of tables.

-- name: lock_schema
select pg_advisory_xact_lock(hashtextextended('skerry:{ns}', 0))

-- name: create_meta
create table if not exists {ns}__meta (name text primary key, value text not null)

-- name: version
select value from {ns}__meta where name = 'version'

-- name: set_version
insert into {ns}__meta values ('version', $version::text) on conflict (name) do update set value = excluded.value

-- name: belongs_to
select value from {ns}__meta where name = 'belongs to'

-- name: adopt
insert into {ns}__meta values ('belongs to', $name::text) on conflict (name) do update set value = excluded.value

-- name: own_version
select value from {ns}__meta where name = 'application'

-- name: own_steps
select name, value from {ns}__meta where name like 'application:%'

-- name: set_own_step
insert into {ns}__meta values ($name::text, $value::text) on conflict (name) do nothing

-- name: set_own_version
insert into {ns}__meta values ('application', $version::text)
on conflict (name) do update set value = excluded.value

-- name: take_time
set local statement_timeout = '{seconds}s'

-- name: users
select name, owner from {ns}__lease where until > clock_timestamp() order by name

-- name: first_position
with made as (
    insert into {ns}__log (only_one, epoch, pos, floor, history) values (true, $epoch::text, 0, 0, {ns}__history())
    on conflict do nothing returning epoch, history
)
insert into {ns}__epoch (number, epoch, began, common, history, reason) select 1, epoch, 0, 0, history, '' from made

-- name: tables
select name from {ns}__table order by name

-- name: table_exists
select to_regclass($name::text) is not null

-- name: server
select current_setting('server_version') as version, current_setting('server_version_num')::integer as number,
    current_user::text as who, pg_is_in_recovery() as standby,
    current_setting('default_transaction_read_only')::boolean as read_only, current_setting('fsync')::boolean as fsync,
    current_setting('full_page_writes')::boolean as full_page_writes,
    current_setting('max_connections')::integer as connections

-- name: rights
select name from unnest($names::text[]) with ordinality as wanted (name, number)
where to_regclass(name) is not null
    and not (has_table_privilege(name, 'select') and has_table_privilege(name, 'insert')
        and has_table_privilege(name, 'update') and has_table_privilege(name, 'delete'))
order by number

-- name: create_table
create table {ns}_{table} (key text collate "C" primary key, data text collate "C" not null, pos bigint not null)
with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0)

-- name: has_rows
select exists (select from {ns}_{table})

-- name: rename_table
drop table {ns}_{new};
alter table {ns}_{old} rename to {ns}_{new};
alter index {ns}_{old}_pkey rename to {ns}_{new}_pkey;
delete from {ns}__table where name = '{old}'

-- name: add_table
insert into {ns}__table values ($name::text)

-- name: transactions
select pg_current_snapshot()::text

-- name: head
select epoch, pos, floor, case when floor = $at::bigint then trimmed_id
    else coalesce((select command_id from {ns}__event as event where event.pos = $at), '') end,
    pg_is_in_recovery()
from {ns}__log

-- name: end
select epoch, pos from {ns}__log

-- name: epochs
select number, epoch, began, common, reason, history, lost, extract(epoch from at)::double precision
from {ns}__epoch order by number

-- name: is_another
select history <> {ns}__history() from {ns}__log

-- name: begin_epoch
select {ns}__begin_epoch($epoch::text, $common::bigint, $reason::text, $seen_epoch::text, $seen::bigint)

-- name: missed
update {ns}__epoch set lost = greatest(lost, $pos::bigint - began) where number = (
    select min(later.number) from {ns}__epoch as mine join {ns}__epoch as later on later.number > mine.number
    where mine.epoch = $epoch::text and later.began < $pos
)
returning 1

-- name: read
select log.floor, event.*
from {ns}__log as log left join lateral (
    select pos, command_id, key, coalesce(new.name, event.name), coalesce(new.version, event.version), at, more,
        coalesce(new.data, event.data), who, trace
    from {ns}__event as event left join {ns}__amendment as new using (pos)
    where pos > $after::bigint and pos <= (
        select max(pos) from (
            select pos, size, sum(size) over (order by pos rows unbounded preceding) as total
            from (
                select pos, octet_length(data) as size from {ns}__event
                where pos > $after order by pos limit $limit::bigint
            ) as sizes
        ) as found
        where total <= $bytes::bigint or total = size
    )
) as event on true
order by event.pos

-- name: page
select key, data, pos
from {ns}_{table} where key >= $after::text and (key <> $after or $first::boolean) and key <= (
    select max(key) from (
        select key, size, sum(size) over (order by key rows unbounded preceding) as total
        from (
            select key, octet_length(data) as size from {ns}_{table}
            where key >= $after and (key <> $after or $first) order by key limit $limit::bigint
        ) as sizes
    ) as found
    where total <= $bytes::bigint or total = size
)
order by key

-- name: open
select 0 as kind, case when history = {ns}__history() then
    coalesce((select command_id from {ns}__event as event where event.pos = $seen::bigint), '') end as key,
    epoch as data, pos from {ns}__log
union all
select 1, command_id, '', 0 from {ns}__outcome where command_id = any($claims::text[])
{rows}

-- name: open_rows
union all
select {number}, key, data, pos from {ns}_{table} where key = any($keys_{table}::text[])

-- name: load
{rows}

-- name: load_rows
select {number} as kind, key, data, pos from {ns}_{table} where key = any($keys_{table}::text[])

-- name: outcomes
select command_id, status, pos, events, reason, kind, result, request_hash, at, {ns}__named(pos)
from {ns}__outcome where command_id = any($claims::text[])

-- name: flush
with {parts}
select case when told[1] >= 0 then told || pg_current_xact_id()::text::bigint else told end from asked

-- name: flush_and_move
with {parts}
-- a cast that fails: one statement has no other way to undo what its parts have done
select case when told[1] >= 0 and (select count(*) from moved) <> cardinality($moved)
    then array[('skerry: moved ' || (select count(*) from moved))::bigint]
    when told[1] >= 0 then told || pg_current_xact_id()::text::bigint else told end
from asked

-- name: flush_asked
-- what was opened without asking stands as long as its writer was the last one: the row of the journal's end is the one
-- that its own transaction left, in a history that has its last event
asked as materialized (
    select case when $wrote::text is not null and not exists (
        select from {ns}__log as log where log.xmin::text = $wrote and log.pos >= $seen::bigint and $seen_id::text in (
            '', coalesce((select command_id from {ns}__event as event where event.pos = $seen), $seen_id)
        )
    ) then array[-1]::bigint[] else {ns}__gather(
        $moves::boolean, $count::bigint, $expected::bigint, $epoch::text, $leases::text[], $owners::text[],
        $fences::bigint[], $claims::text[], $claim_batches::integer[], $read_tables::text[], $read_counts::integer[],
        $read_keys::text[], $read_positions::bigint[], $read_batches::integer[]
    ) end as told
),
counter as (select told[1] as base from asked where told[1] >= 0)

-- name: flush_events
events as (
    insert into {ns}__event (pos, command_id, key, name, version, at, more, data, who, trace)
    select base + number, new.command_id, new.key, new.name, new.version, new.at, new.more, new.data, new.who,
        new.trace
    from counter, unnest(
        $event_ids::text[], $event_keys::text[], $event_names::text[], $event_versions::integer[],
        $event_ats::double precision[], $event_mores::boolean[], $event_data::text[],
        $event_whos::text[], $event_traces::text[]
    ) with ordinality as new (command_id, key, name, version, at, more, data, who, trace, number)
)

-- name: flush_outcomes
outcomes as (
    insert into {ns}__outcome (command_id, status, pos, events, reason, kind, result, request_hash, at)
    select new.command_id, new.status, base + before, new.events, new.reason, new.kind, new.result,
        new.request_hash, extract(epoch from clock_timestamp())::double precision
    from counter, unnest(
        $outcome_ids::text[], $outcome_statuses::text[], $outcome_befores::bigint[], $outcome_events::integer[],
        $outcome_reasons::text[], $outcome_kinds::text[], $outcome_results::text[], $outcome_hashes::text[]
    ) as new (command_id, status, before, events, reason, kind, result, request_hash)
)

-- name: flush_dead
dead as (
    insert into {ns}__dead (command_id, name, version, key, body, reason, details, attempts, at, headers, number)
    overriding system value
    select new.command_id, new.name, new.version, new.key, new.body, new.reason, new.details, new.attempts, new.at,
        new.headers, case
            when new.number > 0 and not exists (select from {ns}__dead as old where old.number = new.number)
            then new.number else nextval(pg_get_serial_sequence('{ns}__dead', 'number')) end
    from counter, unnest(
        $dead_ids::text[], $dead_names::text[], $dead_versions::integer[], $dead_keys::text[], $dead_bodies::bytea[],
        $dead_reasons::text[], $dead_details::text[], $dead_attempts::integer[], $dead_ats::double precision[],
        $dead_headers::text[], $dead_numbers::bigint[]
    ) as new (command_id, name, version, key, body, reason, details, attempts, at, headers, number)
    on conflict (command_id) do update set name = excluded.name, version = excluded.version,
        key = excluded.key, body = excluded.body, reason = excluded.reason, details = excluded.details,
        attempts = excluded.attempts, at = excluded.at, headers = excluded.headers
)

-- name: flush_moved
moved as (
    delete from {ns}__intake using counter where id = any($moved::bigint[]) returning 1
)

-- name: flush_puts
put_{table} as (
    insert into {ns}_{table} (key, data, pos)
    select new.key, new.data, base + before
    from counter, unnest(
        $put_{table}_keys::text[], $put_{table}_data::text[], $put_{table}_befores::bigint[]
    ) as new (key, data, before)
    on conflict (key) do update set data = excluded.data, pos = excluded.pos
)

-- name: flush_deletes
delete_{table} as (
    delete from {ns}_{table} using counter where key = any($delete_{table}::text[])
)

-- name: amend
insert into {ns}__amendment
values ($offset::bigint, $by::bigint, $name::text, $version::integer, $data::text)
on conflict (pos) do update set amended_by = excluded.amended_by, name = excluded.name,
    version = excluded.version, data = excluded.data

-- name: trim_amendments
delete from {ns}__amendment where pos <= $floor::bigint

-- name: plan_as_usual
set local enable_seqscan = on;
set local plan_cache_mode = auto

-- name: plan_by_keys
set local enable_seqscan = off;
set local plan_cache_mode = force_generic_plan

-- name: attempts
insert into {ns}__attempt as attempt select id, 1, extract(epoch from clock_timestamp())::double precision from unnest($claims::text[]) as id
on conflict (command_id) do update set count = attempt.count + 1, at = excluded.at
returning command_id, count

-- name: survived
update {ns}__attempt as attempt set count = greatest(0, attempt.count - taken.times)
from (select id, count(*)::integer as times from unnest($claims::text[]) as id group by id) as taken
where attempt.command_id = taken.id

-- name: acquire
insert into {ns}__lease as lease
values ($name::text, $owner::text, 1, clock_timestamp() + make_interval(secs => $seconds::double precision))
on conflict (name) do update set owner = excluded.owner, until = excluded.until,
    fence = lease.fence + (lease.owner <> excluded.owner)::integer
where lease.owner = excluded.owner or lease.until <= clock_timestamp()
returning fence, (select log.history <> {ns}__history() from {ns}__log as log)

-- name: release
update {ns}__lease set owner = '', until = '-infinity'
where name = $lease::text and owner = $owner::text and fence = $fence::bigint

-- name: cursor
select epoch, pos from {ns}__cursor where subscriber = $subscriber::text

-- name: advance
insert into {ns}__cursor values ($subscriber::text, $epoch::text, $pos::bigint)
on conflict (subscriber) do update set epoch = excluded.epoch, pos = excluded.pos

-- name: forget
delete from {ns}__cursor where subscriber = $subscriber::text

-- name: readers
select subscriber, 'reactor' as kind, epoch, pos from {ns}__cursor
union all select name, 'projection', epoch, pos from {ns}__projection order by 1, 2

-- name: forget_projection
delete from {ns}__projection where name = $name::text

-- name: load_projection
select version, epoch, pos, data from {ns}__projection where name = $name::text

-- name: save_projection
insert into {ns}__projection as old
select $name::text, $version::integer, $epoch::text, $pos::bigint, $data::bytea where {ns}__common($epoch, $pos) = $pos
on conflict (name) do update set
    version = excluded.version, epoch = excluded.epoch, pos = excluded.pos, data = excluded.data
where old.version <> excluded.version or old.epoch <> excluded.epoch or old.pos <= excluded.pos

-- name: dead_letters
select command_id, name, version, key, body, reason, details, attempts, at, headers, number
from {ns}__dead where command_id > $after::text order by command_id limit $limit::bigint

-- name: dead_letter
select command_id, name, version, key, body, reason, details, attempts, at, headers, number
from {ns}__dead where command_id = $id::text

-- name: letters
select number, command_id, name, version, key, reason, attempts, at, headers from {ns}__dead
where number > $after::bigint order by number limit $limit::bigint

-- name: letters_waiting
select number, command_id, name, version, key, reason, attempts, at, headers from {ns}__dead
where number > $after::bigint and headers like '%"skerry-waits":%' order by number limit $limit::bigint

-- name: first_letters
select number, command_id, name, version, key, reason, attempts, at, headers from {ns}__dead
where number in (
    select min(number) from {ns}__dead where key = any($keys::text[])
        and name <> '' and command_id !~ '^(reactor|intake)-' group by key
    union
    select min(number) from {ns}__dead where key = any($keys::text[])
        and name <> '' and command_id !~ '^(reactor|intake)-' and headers like '%"skerry-waits":%' group by key
)

-- name: bury
with counter as (select 1),
{dead}
select

-- name: exhume
with gone as (delete from {ns}__dead where command_id = $id::text returning command_id),
outcome as (delete from {ns}__outcome using gone where {ns}__outcome.command_id = gone.command_id and status = 'failed'),
attempt as (delete from {ns}__attempt using gone where {ns}__attempt.command_id = gone.command_id)
select count(*) from gone

-- name: raise_floor
update {ns}__log as log set floor = greatest(log.floor, wanted.pos), trimmed_id = case
    when wanted.pos > log.floor then coalesce(
        (select command_id from {ns}__event as event where event.pos = wanted.pos), ''
    ) else trimmed_id end
from (
    select least(
        pos, $wanted::bigint, (select min(coalesce({ns}__common(epoch, pos), pos)) from {ns}__cursor),
        (select min(coalesce({ns}__common(epoch, pos), pos)) from {ns}__projection)
    ) as pos from {ns}__log
) as wanted
where log.epoch = $epoch::text
returning log.floor

-- name: trim_events
with gone as (
    delete from {ns}__event where pos <= (
        select max(pos) from (
            select pos from {ns}__event where pos <= $floor::bigint order by pos limit $limit::bigint
        ) as next
    ) returning 1
)
select count(*) from gone

-- name: ninth_day
select extract(epoch from clock_timestamp())::double precision, began, (
    select min(pos) from (
        select pos from {ns}__outcome where at >= began and at < began + 86400 limit 100
    ) as found
)
from (
    select day * 86400.0::double precision as began
    from generate_series(0, $days::integer) as back, lateral (
        select floor(extract(epoch from clock_timestamp()) / 86400)::bigint - back as day
    ) as number
    where exists (
        select from {ns}__outcome where at >= day * 86400.0 and at < day * 86400.0 + 86400
    )
    order by back limit 1 offset 8
) as ninth

-- name: trim_outcomes
with gone as (
    delete from {ns}__outcome where command_id = any(array(
        select command_id from {ns}__outcome as old
        where at < $horizon::double precision and pos <= $last::bigint
        and not exists (select from {ns}__dead as dead where dead.command_id = old.command_id)
        limit $limit::bigint
    )) returning 1
)
select count(*) from gone

-- name: trim_attempts
delete from {ns}__attempt where at < $horizon::double precision

-- name: intake
select id, event_id, source, name, version, key, data, who, trace, extract(epoch from at)::double precision, xid::text
from {ns}__intake where id <= (
    select max(id) from (
        select id, size, sum(size) over (order by id rows unbounded preceding) as total
        from (select id, octet_length(data) as size from {ns}__intake order by id limit $limit::bigint) as sizes
    ) as found
    where total <= $bytes::bigint or total = size
)
order by id

-- name: intake_waiting
select coalesce((select max(id) from {ns}__intake) - min(id) + 1, 0),
    coalesce(max(extract(epoch from clock_timestamp() - at)), 0)::double precision
from (select id, at from {ns}__intake order by id limit 1) as oldest

-- name: intake_put_back
with letter as (delete from {ns}__dead where command_id = $letter::text returning 1)
insert into {ns}__intake (event_id, source, name, version, key, data, who)
select $id::text, $source::text, $name::text, $version::integer, $key::text, $data::text, $who::text from letter

-- name: put_body
insert into {ns}__body values ($key::text, $body::bytea, extract(epoch from clock_timestamp())::double precision)
on conflict (key) do update set at = excluded.at

-- name: body
select body from {ns}__body where key = $key::text

-- name: remove_bodies
delete from {ns}__body where key = any($keys::text[])

-- name: trim_bodies
delete from {ns}__body as body where at < extract(epoch from clock_timestamp()) - $orphaned::double precision
or at < extract(epoch from clock_timestamp()) - $settled::double precision and exists (select from {ns}__outcome where command_id = split_part(body.key, '.', 1))

-- name: verify_events
select log.pos, log.floor, count(event.pos), min(event.pos), max(event.pos)
from {ns}__log as log left join {ns}__event as event on event.pos > log.floor
group by log.pos, log.floor

-- name: verify_gaps
select previous, pos from (
    select lag(pos) over (order by pos) as previous, pos from {ns}__event
    where pos > (select floor from {ns}__log)
) as event
where pos <> previous + 1 order by pos limit 5

-- name: verify_last
select 1 from {ns}__event as event join {ns}__log as log using (pos) where more

-- name: verify_rows
select count(*) from {ns}_{table} as stored, {ns}__log as log where stored.pos > log.pos

-- name: verify_outcomes
select count(*) from {ns}__outcome as outcome, {ns}__log as log where outcome.pos > log.pos

-- name: verify_cursors
select subscriber, stored.pos from {ns}__cursor as stored join {ns}__log as log using (epoch)
where stored.pos > log.pos

-- name: verify_projections
select name, stored.pos from {ns}__projection as stored join {ns}__log as log using (epoch)
where stored.pos > log.pos

-- name: relation_kind
select coalesce((select relkind::text from pg_class where oid = to_regclass($table::text)), '')

-- name: schema_of
select coalesce((
    select nspname::text from pg_namespace join pg_class on relnamespace = pg_namespace.oid
    where pg_class.oid = to_regclass($table::text)
), current_schema()::text)

-- name: partitions
select relid::regclass::text from pg_partition_tree(to_regclass($table::text))
where isleaf and relid <> to_regclass($table) order by 1

-- name: writers
select distinct case when grantee = 0 then 'public' else grantee::regrole::text end
from pg_class, aclexplode(coalesce(relacl, acldefault('r', relowner)))
where oid = to_regclass($table::text) and privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
order by 1

-- name: function_body
select prosrc from pg_proc where oid = to_regproc($name::text)

-- name: has_trigger
select exists (
    select from pg_trigger where tgrelid = to_regclass($table::text) and tgname = $name::text and tgenabled <> 'D'
)

-- name: may_insert
select bool_and(case when $role::text <> 'public'
    then has_column_privilege($role::text::regrole, attrelid, attnum, 'insert')
    else exists (select from aclexplode(attacl) where grantee = 0 and privilege_type = 'INSERT') end)
from pg_attribute where attrelid = to_regclass($intake::text) and attname = any($columns::text[])

-- name: mirror_triggers
select tgname, tgrelid::regclass::text, proname from pg_trigger join pg_proc on pg_proc.oid = tgfoid
where tgname = any($names::text[]) and tgparentid = 0 order by 2, 1

-- name: mirror_functions
select pg_proc.oid::regprocedure::text from pg_proc, unnest($names::text[]) as begins
where starts_with(proname, begins) and prorettype = 'trigger'::regtype order by 1
