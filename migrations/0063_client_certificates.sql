-- Keys of the API that do nothing but over a TLS connection whose client has shown this certificate.
create table api_key_certificate (
    key_id uuid not null,
    sha256 bytea not null,
    constraint api_key_certificate_pkey primary key (key_id),
    constraint api_key_certificate_key foreign key (key_id) references api_key (id),
    constraint api_key_certificate_length check (length(sha256) = 32)
);
alter table api_key_certificate enable row level security;
alter table api_key_certificate force row level security;
create policy api_key_certificate_platform on api_key_certificate to maskline_app
    using (is_platform()) with check (is_platform());
grant select, insert on api_key_certificate to maskline_app;
