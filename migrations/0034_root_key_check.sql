-- By what a database knows the root key that its tenants' keys are wrapped under: a key that nobody uses, wrapped too. The
-- first start stores it, or of a database of before, the first start whose root key opens a tenant's keys.
create table root_key_check (
    -- There is one row or none.
    single boolean not null default true,
    key_sealed bytea not null,
    created_at timestamptz not null,
    constraint root_key_check_pkey primary key (single),
    constraint root_key_check_single check (single)
);
-- For the owner alone: the program's own roles are granted nothing.
alter table root_key_check enable row level security;
alter table root_key_check force row level security;
create policy root_key_check_owner on root_key_check using (true) with check (true);
