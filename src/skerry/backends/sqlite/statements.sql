-- Statements of the SQLite journal. Rows travel as JSON in both directions, one text for many rows: every step of
-- SQLite gives up and takes back the interpreter's lock, so one step that does much beats many that do little
-- (a flush of 100 commands beside a busy loop: 8 ms in one step, 55 ms row by row).

-- name: version
select value from {ns}__meta where name = 'version'

-- name: create_meta
create table if not exists {ns}__meta (name text primary key, value text not null) without rowid

-- name: set_version
insert into {ns}__meta values ('version', ?1) on conflict (name) do update set value = excluded.value

-- name: belongs_to
select value from {ns}__meta where name = 'belongs to'

-- name: adopt
insert into {ns}__meta values ('belongs to', ?1) on conflict (name) do update set value = excluded.value

-- name: own_version
select value from {ns}__meta where name = 'application'

-- name: own_steps
select name, value from {ns}__meta where name like 'application:%'

-- name: set_own_step
insert into {ns}__meta values (?1, ?2) on conflict (name) do nothing

-- name: set_own_version
insert into {ns}__meta values ('application', ?1) on conflict (name) do update set value = excluded.value

-- name: all_tables
select name from sqlite_schema where type in ('table', 'view') and name not like 'sqlite@_%' escape '@'

-- name: first_position
insert into {ns}__log (only_one, epoch, pos, floor) values (1, ?1, 0, 0) on conflict do nothing

-- name: first_epoch
insert into {ns}__epoch (number, epoch, began, common, history, reason, at)
    select 1, epoch, 0, 0, '', '', unixepoch('subsec') from {ns}__log where not exists (select 1 from {ns}__epoch)

-- name: tables
select name from {ns}__table order by name

-- name: create_table
create table {ns}_{table} (key text primary key, data text not null, pos integer not null)

-- name: has_rows
select exists (select 1 from {ns}_{table})

-- name: rename_table
drop table {ns}_{new};
alter table {ns}_{old} rename to {ns}_{new};
delete from {ns}__table where name = '{old}'

-- name: add_table
insert into {ns}__table values (?1)

-- name: head
select epoch, pos, floor, iif(?1 = floor, trimmed_id, coalesce((
    select command_id from {ns}__event as event where event.pos = ?1
), '')), false from {ns}__log

-- name: end
select epoch, pos from {ns}__log

-- name: epochs
select number, epoch, began, common, reason, history, lost, at from {ns}__epoch order by number

-- name: missed
update {ns}__epoch set lost = max(lost, ?2 - began) where number = (
    select min(later.number) from {ns}__epoch as mine join {ns}__epoch as later on later.number > mine.number
    where mine.epoch = ?1 and later.began < ?2
)
returning 1

-- name: read
select floor, (
    select group_concat('[' || pos || ',' || json_quote(command_id) || ',' || json_quote(key) || ','
        || json_quote(name) || ',' || version || ',' || printf('%!.17g', at) || ','
        || iif(more, 'true,', 'false,') || data || ',' || json_quote(who) || ',' || json_quote(trace) || ']', ',')
    from (
        select pos, command_id, key, coalesce(new.name, event.name) as name,
            coalesce(new.version, event.version) as version, at, more, coalesce(new.data, event.data) as data, who, trace
        from {ns}__event as event left join {ns}__amendment as new using (pos) where pos > ?1 and pos <= (
            select max(pos) from (
                select pos, size, sum(size) over (order by pos rows unbounded preceding) as total
                from (select pos, octet_length(data) as size from {ns}__event where pos > ?1 order by pos limit ?2)
            )
            where total <= ?3 or total = size
        )
        order by pos
    )
) from {ns}__log

-- name: page
select group_concat('[' || json_quote(key) || ',' || data || ',' || pos || ']', ',') from (
    select * from {ns}_{table} where key >= ?1 and (key <> ?1 or ?4) and key <= (
        select max(key) from (
            select key, size, sum(size) over (order by key rows unbounded preceding) as total
            from (
                select key, octet_length(data) as size from {ns}_{table}
                where key >= ?1 and (key <> ?1 or ?4) order by key limit ?2
            )
        )
        where total <= ?3 or total = size
    )
    order by key
)

-- name: open
select epoch, pos, (
    select json_group_array(command_id) from {ns}__outcome
    where command_id in (select value from json_each(?1))
){rows} from {ns}__log

-- name: open_rows
, (
    select group_concat('[' || json_quote(key) || ',' || data || ',' || pos || ']', ',')
    from {ns}_{table} where key in (select value from json_each(?{number}))
)

-- name: load
select group_concat('[' || json_quote(key) || ',' || data || ',' || pos || ']', ',')
from {ns}_{table} where key in (select value from json_each(?1))

-- name: outcome
select command_id, status, pos, events, reason, kind, result, request_hash, at, {named}
from {ns}__outcome as outcome where command_id = ?1

-- name: outcomes
select command_id, status, pos, events, reason, kind, result, request_hash, at, {named}
from {ns}__outcome as outcome where command_id in (select value from json_each(?1))

-- name: named
coalesce(
    (select epoch from {ns}__epoch where common < outcome.pos order by number desc limit 1),
    (select epoch from {ns}__epoch order by number limit 1)
)

-- name: common
(
    select min(
        at.pos, (select pos from {ns}__log),
        coalesce((select min(common) from {ns}__epoch as later where later.number > mine.number), at.pos)
    ) from {ns}__epoch as mine where mine.epoch = at.epoch
)

-- name: flush_view
create temp view {ns}__flush as
select 0 as base, 0 as events, '' as event, '' as outcome, '' as dead, '' as lease, 0 as fence, '' as owner{columns}

-- name: flush_column
, '' as put_{table}, '' as delete_{table}

-- name: flush_trigger
create temp trigger {ns}__flushing instead of insert on {ns}__flush begin
    select raise(abort, 'skerry: fenced') where new.lease is not null and not exists (
        select 1 from {ns}__lease where name = new.lease and owner = new.owner and fence = new.fence
    );
    select raise(abort, 'skerry: the journal moved') where new.base <> (select pos from {ns}__log);
    update {ns}__log set pos = new.base + new.events where new.events > 0;
    insert into {ns}__event
        select new.base + 1 + key, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
            value ->> 6, value ->> 7, value ->> 8
        from jsonb_each(new.event);
    insert into {ns}__outcome
        select value ->> 0, value ->> 1, new.base + (value ->> 2), value ->> 3, value ->> 4, value ->> 5,
            value ->> 6, value ->> 7, value ->> 8
        from jsonb_each(new.outcome);
    insert into {ns}__dead (command_id, name, version, key, body, reason, details, attempts, at, headers, number)
        select value ->> 0, value ->> 1, value ->> 2, value ->> 3, unhex(value ->> 4), value ->> 5, value ->> 6,
            value ->> 7, value ->> 8, value ->> 9,
            case when value ->> 10 > 0 and not exists (select 1 from {ns}__dead where number = value ->> 10)
                then value ->> 10 end
        from jsonb_each(new.dead) where true
        on conflict (command_id) do update set name = excluded.name, version = excluded.version,
            key = excluded.key, body = excluded.body, reason = excluded.reason, details = excluded.details,
            attempts = excluded.attempts, at = excluded.at, headers = excluded.headers;
{rows}
end

-- name: flush_rows
    insert into {ns}_{table}
        select value ->> 0, value ->> 1, new.base + (value ->> 2) from jsonb_each(new.put_{table}) where true
        on conflict (key) do update set data = excluded.data, pos = excluded.pos;
    delete from {ns}_{table} where key in (select value from json_each(new.delete_{table}));

-- name: flush
insert into {ns}__flush (base, events, event, outcome, dead, lease, fence, owner{columns})
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8{places})

-- name: amend
insert into {ns}__amendment values (?1, ?2, ?3, ?4, ?5)
on conflict (pos) do update set amended_by = excluded.amended_by, name = excluded.name,
    version = excluded.version, data = excluded.data

-- name: trim_amendments
delete from {ns}__amendment where pos <= ?1

-- name: attempts
insert into {ns}__attempt select value, 1, ?2 from json_each(?1) where true
on conflict (command_id) do update set count = count + 1, at = excluded.at
returning command_id, count

-- name: survived
update {ns}__attempt set count = max(0, count - (select count(*) from json_each(?1) where value = command_id))
where command_id in (select value from json_each(?1))

-- name: acquire
insert into {ns}__lease values (?1, ?2, 1, ?3 + ?4)
on conflict (name) do update set
    owner = excluded.owner, until = excluded.until, fence = fence + (owner <> excluded.owner)
where owner = excluded.owner or until <= ?3
returning fence

-- name: release
update {ns}__lease set owner = '', until = 0 where name = ?1 and owner = ?2 and fence = ?3

-- name: cursor
select epoch, pos from {ns}__cursor where subscriber = ?1

-- name: advance
insert into {ns}__cursor values (?1, ?2, ?3)
on conflict (subscriber) do update set epoch = excluded.epoch, pos = excluded.pos

-- name: forget
delete from {ns}__cursor where subscriber = ?1

-- name: readers
select subscriber, 'reactor' as kind, epoch, pos from {ns}__cursor
union all select name, 'projection', epoch, pos from {ns}__projection order by 1, 2

-- name: forget_projection
delete from {ns}__projection where name = ?1

-- name: load_projection
select version, epoch, pos, data from {ns}__projection where name = ?1

-- name: save_projection
insert into {ns}__projection
    select ?1, ?2, at.epoch, at.pos, ?5 from (select ?3 as epoch, ?4 as pos) as at where {common} = at.pos
on conflict (name) do update set
    version = excluded.version, epoch = excluded.epoch, pos = excluded.pos, data = excluded.data
where version <> excluded.version or epoch <> excluded.epoch or pos <= excluded.pos

-- name: dead_letters
select command_id, name, version, key, body, reason, details, attempts, at, headers, number
from {ns}__dead where command_id > ?1 order by command_id limit ?2

-- name: dead_letter
select command_id, name, version, key, body, reason, details, attempts, at, headers, number
from {ns}__dead where command_id = ?1

-- name: letters
select number, command_id, name, version, key, reason, attempts, at, headers from {ns}__dead
where number > ?1 order by number limit ?2

-- name: letters_waiting
select number, command_id, name, version, key, reason, attempts, at, headers from {ns}__dead
where number > ?1 and headers like '%"skerry-waits":%' order by number limit ?2

-- name: first_letters
select number, command_id, name, version, key, reason, attempts, at, headers from {ns}__dead
where number in (
    select min(number) from {ns}__dead where key in (select value from json_each(?1))
        and name <> '' and command_id not like 'reactor-%' group by key
    union
    select min(number) from {ns}__dead where key in (select value from json_each(?1))
        and name <> '' and command_id not like 'reactor-%' and headers like '%"skerry-waits":%' group by key
)

-- name: bury
insert into {ns}__dead (command_id, name, version, key, body, reason, details, attempts, at, headers, number)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,
    case when ?11 > 0 and not exists (select 1 from {ns}__dead where number = ?11) then ?11 end)
on conflict (command_id) do update set name = excluded.name, version = excluded.version, key = excluded.key,
    body = excluded.body, reason = excluded.reason, details = excluded.details, attempts = excluded.attempts,
    at = excluded.at, headers = excluded.headers

-- name: exhume
delete from {ns}__dead where command_id = ?1 returning 1

-- name: exhume_outcome
delete from {ns}__outcome where command_id = ?1 and status = 'failed'

-- name: exhume_attempts
delete from {ns}__attempt where command_id = ?1

-- name: trim_floor
select epoch, floor, max(floor, min(
    ?1,
    pos,
    coalesce((select min(coalesce({common}, at.pos)) from {ns}__cursor as at), ?1),
    coalesce((select min(coalesce({common}, at.pos)) from {ns}__projection as at), ?1)
)) from {ns}__log

-- name: trim_events
delete from {ns}__event where pos <= ?1

-- name: set_floor
update {ns}__log set floor = ?1, trimmed_id = ?2

-- name: trimmed_id
select command_id from {ns}__event where pos = ?1

-- name: ninth_day
select number * 86400.0, (select max(pos) from {ns}__outcome where cast(at / 86400 as integer) = number)
from (select distinct cast(at / 86400 as integer) as number from {ns}__outcome)
order by number desc limit 1 offset 8

-- name: trim_outcomes
delete from {ns}__outcome
where at < ?1 and pos <= ?2
and not exists (select 1 from {ns}__dead where {ns}__dead.command_id = {ns}__outcome.command_id)

-- name: trim_attempts
delete from {ns}__attempt where at < ?1

-- name: new_epoch
update {ns}__log set epoch = ?1

-- name: begin_epoch
insert into {ns}__epoch (number, epoch, began, common, history, reason, lost, at)
    select max(number) + 1, ?1, (select pos from {ns}__log), (select min(pos, ?3) from {ns}__log), '', ?2,
        max(0, ?4 - (select pos from {ns}__log)), unixepoch('subsec')
    from {ns}__epoch

-- name: forget_epochs
delete from {ns}__epoch where number <= (select max(number) from {ns}__epoch) - ?1

-- name: move_cursors
update {ns}__cursor set epoch = ?1 where epoch = ?2

-- name: move_projections
update {ns}__projection set epoch = ?1 where epoch = ?2

-- name: verify_events
select log.pos, log.floor, count(event.pos), min(event.pos), max(event.pos)
from {ns}__log as log left join {ns}__event as event on true

-- name: verify_gaps
select previous, pos from (select lag(pos) over (order by pos) as previous, pos from {ns}__event)
where pos <> previous + 1 limit 5

-- name: verify_last
select 1 from {ns}__event join {ns}__log using (pos) where more

-- name: verify_event_data
select count(*), min(pos) from {ns}__event where not json_valid(data)

-- name: verify_rows
select count(*) filter (where row.pos > log.pos), count(*) filter (where not json_valid(row.data))
from {ns}_{table} as row, {ns}__log as log

-- name: verify_outcomes
select count(*) from {ns}__outcome as outcome, {ns}__log as log where outcome.pos > log.pos

-- name: verify_cursors
select subscriber, cursor.pos from {ns}__cursor as cursor join {ns}__log as log using (epoch)
where cursor.pos > log.pos

-- name: verify_projections
select name, projection.pos from {ns}__projection as projection join {ns}__log as log using (epoch)
where projection.pos > log.pos
