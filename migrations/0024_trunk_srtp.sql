-- Whether the media of a trunk is encrypted. Whoever reads the signalling reads the keys (RFC 4568), so that it is only a
-- choice where that is encrypted, too.

alter table trunk
    add column srtp text not null default 'off',
    add constraint trunk_srtp_known check (srtp in ('off', 'optional', 'required')),
    add constraint trunk_srtp_over_tls check (srtp = 'off' or transport = 'tls');
