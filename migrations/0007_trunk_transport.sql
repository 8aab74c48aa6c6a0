-- How SIP travels to a trunk, and whom its certificate has to name.

alter table trunk
    add column transport text not null default 'udp',
    -- PEM. Its certificate must chain to one of these, whichever side opens the connection.
    add column tls_ca text,
    -- The DNS name or address that its certificate must hold; its own target when absent.
    add column tls_name text,
    add constraint trunk_transport_known check (transport in ('udp', 'tcp', 'tls')),
    add constraint trunk_tls_ca_length check (length(tls_ca) between 1 and 65536),
    add constraint trunk_tls_name_length check (length(tls_name) between 1 and 253);
