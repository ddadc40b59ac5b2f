-- Bodies of large commands while they wait in a queue (key: the command's id, a point, a digest). Short-lived, so not
-- compressed.
create table {ns}__body (
    key text collate "C" primary key,
    body bytea not null,
    at double precision not null
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
alter table {ns}__body alter column body set storage external;
