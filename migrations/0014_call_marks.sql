-- What a trusted trunk says of a call beside who calls: `diverted`, `private`, `signed`.

alter table cdr add column marks text[] not null default '{}';
alter table call_fact add column marks text[] not null default '{}';
