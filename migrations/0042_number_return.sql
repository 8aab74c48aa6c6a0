-- A number that rests after a binding may go back to the subscriber it was bound to, at the same tenant: nobody else has
-- heard of it meanwhile. To everybody else it stays shut, whatever the program believes.
create or replace function check_number_transition() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if new.state = 'bound' and old.state not in ('available', 'reserved', 'bound', 'sick', 'draining', 'cooling')
        or new.state in ('available', 'reserved') and old.state in ('bound', 'draining')
        or new.state = 'bound' and old.state in ('bound', 'draining', 'cooling')
            and new.tenant_id is distinct from old.tenant_id then
        raise exception 'a number cannot go from % to %', old.state, new.state
            using errcode = 'check_violation', constraint = 'virtual_number_transition', table = 'virtual_number';
    end if;
    return new;
end $$;

-- Looked at when the transaction is committed: the binding is written after its number.
create function check_number_return() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select from public.virtual_number v where v.id = new.id and v.state = 'bound')
        and not exists (
            select from public.binding live
            where live.tenant_id = new.tenant_id and live.virtual_number = new.digits and live.number_id = new.id
              and live.ended_at is null
              and live.subscriber_id = (
                  select past.subscriber_id from public.binding past
                  where past.tenant_id = new.tenant_id and past.virtual_number = new.digits
                    and past.number_id = new.id and past.ended_at is not null
                  order by past.ended_at desc, past.id desc limit 1)) then
        raise exception 'a resting number returns to its last subscriber only'
            using errcode = 'check_violation', constraint = 'virtual_number_return', table = 'virtual_number';
    end if;
    return null;
end $$;
create constraint trigger virtual_number_return after update of state on virtual_number
    deferrable initially deferred for each row
    when (old.state in ('draining', 'cooling') and new.state = 'bound')
    execute function check_number_return();
