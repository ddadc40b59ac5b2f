-- Statements of the PostgreSQL transport. $words become numbered parameters (schema.py); {ns} is a checked name.
-- What need not survive the server's crash (who reads, what was read, what is done, notifications) commits without
-- waiting for the disk: an acknowledgement that is lost means that a command comes again, and is known by its id.

-- name: create
create table if not exists {ns}__queue (
    id bigint generated always as identity,
    generation integer not null,
    part integer not null,
    body bytea not null,
    at timestamptz not null default clock_timestamp(),
    primary key (generation, part, id)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
alter table {ns}__queue alter body set storage external;
create table if not exists {ns}__reader (
    generation integer not null,
    part integer not null,
    token text not null,
    until timestamptz not null,
    held bigint[] not null,
    primary key (generation, part)
) with (fillfactor = 50)

-- name: missing
select name from unnest(array['{ns}__queue', '{ns}__reader']) as wanted (name) where to_regclass(name) is null

-- name: rights
select bool_and(
    has_table_privilege(name, 'select') and has_table_privilege(name, 'insert')
    and has_table_privilege(name, 'update') and has_table_privilege(name, 'delete')
)
from unnest(array['{ns}__queue', '{ns}__reader']) as wanted (name)

-- name: drop
drop table if exists {ns}__queue, {ns}__reader

-- name: send
insert into {ns}__queue (generation, part, body)
select $generation::integer, part, body
from unnest($parts::integer[], $bodies::bytea[]) with ordinality as new (part, body, number) order by number

-- name: notify
select count(pg_notify(channel, payload)), (select set_config('synchronous_commit', 'off', true))
from unnest($channels::text[], $payloads::text[]) as told (channel, payload)

-- name: claim
insert into {ns}__reader as reader (generation, part, token, until, held)
select $generation::integer, $part::integer, $token::text,
    clock_timestamp() + make_interval(secs => $seconds::double precision), '{}'
from (select set_config('synchronous_commit', 'off', true)) as quick
on conflict (generation, part) do update set token = excluded.token, until = excluded.until
where reader.token = '' or reader.until <= clock_timestamp()
returning array(
    select id from {ns}__queue as queue
    where queue.generation = reader.generation and queue.part = reader.part and queue.id = any(reader.held)
)

-- name: take
with quick as materialized (select set_config('synchronous_commit', 'off', true)),
done as (
    delete from {ns}__queue using quick
    where generation = $generation::integer and part = $part::integer and id = any($done::bigint[])
),
found as materialized (
    select id, body from {ns}__queue where generation = $generation and part = $part and id <= (
        select max(id) from (
            select id, size, sum(size) over (order by id rows unbounded preceding) as total
            from (
                select id, octet_length(body) as size from {ns}__queue
                where generation = $generation and part = $part and id > $floor::bigint
                    and id <> all($held::bigint[]) and id <> all($done)
                order by id limit $limit::bigint
            ) as sizes
        ) as next
        where total <= $bytes::bigint or total = size
    ) and id > $floor and id <> all($held) and id <> all($done)
),
marked as (
    update {ns}__reader set until = clock_timestamp() + make_interval(secs => $seconds::double precision),
        held = $held || $before::bigint[] || array(select id from found)
    from quick where generation = $generation and part = $part and token = $token::text
    returning 1
)
select mine.number, found.id, found.body
from (select count(*) as number from marked) as mine left join found on mine.number > 0
order by found.id

-- name: leave
with quick as materialized (select set_config('synchronous_commit', 'off', true)),
done as (
    delete from {ns}__queue using quick
    where generation = $generation::integer and part = $part::integer and id = any($done::bigint[])
)
update {ns}__reader set token = '', until = '-infinity', held = $held::bigint[]
from quick where generation = $generation and part = $part and token = $token::text

-- name: backlog
select generation, part, count(*), max(extract(epoch from clock_timestamp() - at))::double precision as oldest
from {ns}__queue group by generation, part order by generation, part

-- name: depth
select part, (
    select count(*) from (
        select from {ns}__queue as queue where generation = $generation::integer and queue.part = wanted.part
        limit $most::bigint
    ) as there
)
from generate_series(0, $partitions::integer - 1) as wanted (part)

-- name: readers
select generation, part, token from {ns}__reader where token <> '' and until > clock_timestamp()
order by generation, part

-- name: tidy
delete from {ns}__reader where (generation <> $generation::integer or part >= $partitions::integer)
    and until <= clock_timestamp()
    and not exists (
        select from {ns}__queue as queue
        where queue.generation = {ns}__reader.generation and queue.part = {ns}__reader.part
    )
returning generation, part

-- name: health
select pg_notification_queue_usage(), current_setting('autovacuum')::boolean,
    (select coalesce(max(extract(epoch from clock_timestamp() - xact_start)), 0)::double precision
        from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend')
