-- The code of a call is no longer kept as it is spoken, but as a hash under a key that the database does not have: whoever
-- reads a dump or a backup could else have shown it in the menu. Codes of before are forgotten with this. A node of the
-- release before goes on to write `code`, which nobody looks at; a release later the column is dropped.
alter table call_code add column code_hash bytea;
alter table call_code add constraint call_code_hash_length check (length(code_hash) = 32);
alter table call_code alter column code drop not null;
alter table call_code no force row level security;
delete from call_code;
alter table call_code force row level security;
