-- A million bindings that nobody dials, so that every index has its real depth. Their sealed columns hold noise.
begin;
insert into virtual_number (id, digits, pool_id, tenant_id, state, created_at, updated_at)
select ('00000001-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, (700200000000000 + n)::text,
       spare.id, owner.id, 'bound', '2026-01-01', '2026-01-01'
from generate_series(1, :rows) n,
     (select id from pool order by id limit 1) spare, (select id from tenant order by id limit 1) owner;
insert into subscriber (tenant_id, id, number_sealed, key_sealed, lookup_hash, language, time_zone,
                        created_at, updated_at)
select owner.id, ('00000002-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       decode(repeat(md5(n::text), 2), 'hex'), decode(repeat(md5(n::text), 4), 'hex'),
       decode(md5('hash' || n), 'hex'), 'zh-CN', 'Asia/Shanghai', '2026-01-01', '2026-01-01'
from generate_series(1, :rows) n, (select id from tenant order by id limit 1) owner;
insert into binding (tenant_id, id, external_id, content_hash, mode, term, policy_ref, subscriber_id, number_id,
                     virtual_number, state, valid_from, metadata, created_at, updated_at)
select owner.id, ('00000003-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'filler-' || n,
       decode(repeat(md5(n::text), 2), 'hex'), 'ax', 'long', 'filler-' || n,
       ('00000002-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       ('00000001-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       (700200000000000 + n)::text, 'active', '2026-01-01', '{}', '2026-01-01', '2026-01-01'
from generate_series(1, :rows) n, (select id from tenant order by id limit 1) owner;
commit;
analyze;
