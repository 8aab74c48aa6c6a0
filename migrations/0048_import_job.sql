-- Imports of bindings: what a tenant has sent is kept until it is bound, sealed under the tenant's key, and then gone. A
-- tenant has one import at a time that is not over.
create table import_job (
    tenant_id uuid not null,
    id uuid not null,
    state text not null,
    -- The language of the problems, as the request wanted it.
    language text not null,
    -- Keyed hashes of the request's Idempotency-Key, and of all that came.
    key_hash bytea,
    body_hash bytea,
    rows_read integer not null default 0,
    rows_made integer not null default 0,
    rows_existing integer not null default 0,
    rows_failed integer not null default 0,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    started_at timestamptz,
    ended_at timestamptz,
    constraint import_job_pkey primary key (tenant_id, id),
    constraint import_job_tenant foreign key (tenant_id) references tenant (id),
    constraint import_job_state_known check (state in ('reading', 'running', 'done', 'cancelled', 'abandoned')),
    constraint import_job_start_facts check (
        (started_at is not null) = (state in ('running', 'done', 'cancelled'))
        and (body_hash is not null) = (started_at is not null)
    ),
    constraint import_job_end_facts check ((ended_at is not null) = (state in ('done', 'cancelled', 'abandoned'))),
    constraint import_job_language_known check (language in ('zh-CN', 'en')),
    constraint import_job_rows_counted check (rows_made + rows_existing + rows_failed <= rows_read)
);
create unique index import_job_live on import_job (tenant_id) where ended_at is null;
-- The key of an import that broke off may be used again: nothing came of it.
create unique index import_job_key on import_job (tenant_id, key_hash) where state <> 'abandoned';
create index import_job_not_ended on import_job (created_at, id) where ended_at is null;
create index import_job_ended on import_job (ended_at) where ended_at is not null;
alter table import_job enable row level security;
alter table import_job force row level security;
create policy import_job_tenant on import_job to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
-- The program looks for what there is to do, whosever it is.
create policy import_job_platform on import_job for select to maskline_app using (is_platform());
grant select, insert, update, delete on import_job to maskline_app;

-- Rows that are not bound yet. They hold real numbers: nothing of them is in clear.
create table import_chunk (
    tenant_id uuid not null,
    id uuid not null,
    job_id uuid not null,
    first_row integer not null,
    row_count integer not null,
    rows_sealed bytea not null,
    constraint import_chunk_pkey primary key (tenant_id, id),
    constraint import_chunk_job foreign key (tenant_id, job_id) references import_job (tenant_id, id) on delete cascade,
    constraint import_chunk_first_row unique (tenant_id, job_id, first_row),
    constraint import_chunk_rows_range check (first_row >= 1 and row_count >= 1)
);
alter table import_chunk enable row level security;
alter table import_chunk force row level security;
create policy import_chunk_tenant on import_chunk to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
grant select, insert, delete on import_chunk to maskline_app;

-- Why rows were refused; never what was in them.
create table import_problem (
    tenant_id uuid not null,
    job_id uuid not null,
    row_number integer not null,
    problem jsonb not null,
    constraint import_problem_pkey primary key (tenant_id, job_id, row_number),
    constraint import_problem_job foreign key (tenant_id, job_id) references import_job (tenant_id, id) on delete cascade
);
alter table import_problem enable row level security;
alter table import_problem force row level security;
create policy import_problem_tenant on import_problem to maskline_app
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
grant select, insert on import_problem to maskline_app;
