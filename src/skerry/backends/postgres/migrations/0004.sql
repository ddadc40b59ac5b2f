-- Several batches of one process in one transaction.

-- Raises the journal's end by what all of these batches add together, when what each decided on still holds, and says
-- what it was before; the lock on it is held to the end of the transaction. Nothing is raised when the first number is
-- negative: -1 another epoch is to begin, or has, -3 the end has moved and nothing was given to check, -4 some are
-- refused, and what follows says it of each batch: 0 it may be written, -1 another writer was quicker, -2 its lease was
-- lost. p_expected: where the end stood when all of them were opened, null: always check. p_moves: false when they
-- change nothing that a reader of the journal sees, and only their leases and claims count. *_batches: whose it is, by
-- numbers from 1. `{ns}__advance` does the same for one batch, for consumers of the release before.
create function {ns}__gather(
    p_moves boolean, p_count bigint, p_expected bigint, p_epoch text,
    p_leases text[], p_owners text[], p_fences bigint[],
    p_claims text[], p_claim_batches integer[],
    p_tables text[], p_counts integer[], p_keys text[], p_positions bigint[], p_read_batches integer[]
) returns bigint[] language plpgsql volatile as $$
declare
    v_base bigint;
    v_told bigint[] := array_fill(0::bigint, array[cardinality(p_leases)]);
    v_number integer;
    v_found integer[];
    v_first integer := 1;
    v_last integer;
    v_history text := {ns}__history();
begin
    for i in 1 .. cardinality(p_leases) loop
        if p_leases[i] is not null then
            perform 1 from {ns}__lease where name = p_leases[i] and owner = p_owners[i] and fence = p_fences[i] for share;
            if not found then
                v_told[i] := -2;
            end if;
        end if;
    end loop;
    if -2 = any(v_told) then
        return (-4)::bigint || v_told;
    end if;
    if p_moves then
        update {ns}__log set pos = pos + p_count where epoch = p_epoch and pos = p_expected and history = v_history
            returning pos - p_count into v_base;
        if found then
            return array[v_base];
        end if;
        if p_claims is null then
            return array[-3]::bigint[];
        end if;
        select pos into v_base from {ns}__log where epoch = p_epoch and history = v_history for update;
    else
        select pos into v_base from {ns}__log where epoch = p_epoch and history = v_history;
    end if;
    if not found then
        return array[-1]::bigint[];
    end if;
    for v_number in
        select claim.batch from unnest(p_claims, p_claim_batches) as claim (id, batch)
        where exists (select from {ns}__outcome where command_id = claim.id)
    loop
        v_told[v_number] := -1;
    end loop;
    for i in 1 .. coalesce(array_length(p_tables, 1), 0) loop
        v_last := v_first + p_counts[i] - 1;
        execute format(
            'select array_agg(distinct read.batch) from unnest($1, $2, $3) as read (key, pos, batch) '
            'where (select present.pos from %I as present where present.key = read.key) is distinct from read.pos',
            '{ns}_' || p_tables[i]
        ) into v_found using p_keys[v_first : v_last], p_positions[v_first : v_last], p_read_batches[v_first : v_last];
        foreach v_number in array coalesce(v_found, '{}') loop
            v_told[v_number] := -1;
        end loop;
        v_first := v_last + 1;
    end loop;
    if -1 = any(v_told) then
        return (-4)::bigint || v_told;
    end if;
    if p_moves then
        update {ns}__log set pos = pos + p_count;
    end if;
    return array[v_base];
end
$$;
