-- A node of before 0031 goes on to write codes as they are spoken while the others are new already. The code is taken away
-- before it is stored; its row stays, and says that a code was spoken which nobody can know again.
-- When 0031 has forgotten all codes: the call of one that was spoken before is not said to have been none. A database
-- that had no calls by then has no row here.
create table call_code_loss (
    lost_at timestamptz not null,
    constraint call_code_loss_pkey primary key (lost_at)
);
grant select on call_code_loss to maskline_relay;
alter table cdr no force row level security;
insert into call_code_loss (lost_at)
select installed_on from _sqlx_migrations where version = 31 and exists (select from cdr);
alter table cdr force row level security;
alter table call_code_loss enable row level security;
alter table call_code_loss force row level security;
create policy call_code_loss_relay on call_code_loss for select to maskline_relay using (true);

create function call_code_without_code() returns trigger language plpgsql as $$
begin
    new.code := null;
    return new;
end $$;
create trigger call_code_without_code before insert or update on call_code
    for each row execute function call_code_without_code();
alter table call_code no force row level security;
update call_code set code = null where code is not null;
alter table call_code force row level security;
alter table call_code add constraint call_code_not_clear check (code is null);
