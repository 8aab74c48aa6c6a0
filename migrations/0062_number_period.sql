-- Which number a subscriber had from when on, since its first change: no number, only a commitment to it, keyed by the
-- tenant's key. A row is never changed, and says nothing to whoever has no key.
create table number_period (
    tenant_id uuid not null,
    -- Grows from period to period of a subscriber.
    id uuid not null,
    subscriber_id uuid not null,
    since timestamptz not null,
    commitment bytea not null,
    constraint number_period_pkey primary key (tenant_id, id),
    constraint number_period_subscriber foreign key (tenant_id, subscriber_id) references subscriber (tenant_id, id),
    constraint number_period_commitment_length check (length(commitment) = 32)
);
create index number_period_of_subscriber on number_period (tenant_id, subscriber_id, id);
alter table number_period enable row level security;
alter table number_period force row level security;
create policy number_period_tenant on number_period to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
grant select, insert on number_period to maskline_app;
