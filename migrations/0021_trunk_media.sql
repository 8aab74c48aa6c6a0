-- How the media of a trunk behaves.

alter table trunk
    -- Its peers may be behind a NAT: their port may turn out to be another than the announced one.
    add column media_learning boolean not null default false,
    add column dtmf text not null default 'rfc4733',
    add constraint trunk_dtmf_known check (dtmf in ('rfc4733', 'info', 'inband'));
