-- Requests that are signed instead of carrying their key. The secret of a key that signs is kept, since a signature is
-- checked by making it once more; of all other keys only a hash is known.
create table api_key_signing (
    key_id uuid not null,
    secret_sealed bytea not null,
    constraint api_key_signing_pkey primary key (key_id),
    constraint api_key_signing_key foreign key (key_id) references api_key (id)
);
alter table api_key_signing enable row level security;
alter table api_key_signing force row level security;
create policy api_key_signing_platform on api_key_signing to maskline_app using (is_platform()) with check (is_platform());
grant select, insert, update on api_key_signing to maskline_app;

-- Tenants whose keys do nothing without a signature.
create table tenant_signing (
    tenant_id uuid not null,
    required_at timestamptz not null,
    constraint tenant_signing_pkey primary key (tenant_id),
    constraint tenant_signing_tenant foreign key (tenant_id) references tenant (id)
);
alter table tenant_signing enable row level security;
alter table tenant_signing force row level security;
create policy tenant_signing_platform on tenant_signing to maskline_app using (is_platform()) with check (is_platform());
create policy tenant_signing_tenant on tenant_signing for select to maskline_app using (tenant_id = current_tenant());
grant select, insert, delete on tenant_signing to maskline_app;

-- Requests that were taken: each signs a word of its own, and is taken once by all nodes together.
create table api_nonce (
    key_id uuid not null,
    nonce_hash bytea not null,
    expires_at timestamptz not null,
    constraint api_nonce_pkey primary key (key_id, nonce_hash),
    constraint api_nonce_key foreign key (key_id) references api_key (id),
    constraint api_nonce_hash_length check (length(nonce_hash) = 16)
);
create index api_nonce_expires on api_nonce (expires_at);
alter table api_nonce enable row level security;
alter table api_nonce force row level security;
create policy api_nonce_platform on api_nonce to maskline_app using (is_platform()) with check (is_platform());
grant select, insert, delete on api_nonce to maskline_app;
