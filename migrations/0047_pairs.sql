-- Pairs: bindings of one agent and one subscriber each. A number serves pairs alone, or one binding of another mode alone:
-- who is reached by it is told by who calls, or is the same for all. Which of the two is kept at the number itself, since
-- whoever takes it for a binding holds its row.
alter table virtual_number add column pairs boolean not null default false;
-- A number that rests serves nobody: who takes it next decides anew. A program that knows nothing of pairs thinks that a
-- number may rest when any binding of it ends, and is stopped here.
alter table virtual_number
    add constraint virtual_number_pairs_held check (not pairs or state in ('bound', 'sick')) not valid;
create index virtual_number_pairs on virtual_number (tenant_id, id) where pairs;

alter table binding add constraint binding_agent_mode check ((mode = 'axb') = (agent_id is not null)) not valid;
-- Numbers that an agent has, or had, a pair on.
create index binding_by_agent on binding (tenant_id, agent_id, number_id) where agent_id is not null;

create function check_binding_number() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (
        select from public.virtual_number v where v.id = new.number_id and v.pairs = (new.mode = 'axb')) then
        raise exception 'a number serves pairs alone, or one binding of another mode'
            using errcode = 'check_violation', constraint = 'binding_number_mode', table = 'binding';
    end if;
    return null;
end $$;
create trigger binding_number_mode after insert on binding for each row
    when (new.ended_at is null) execute function check_binding_number();
