-- What calls are for, and which trunks are believed about it.

alter table trunk
    -- Headers that name a purpose or a caller count only from a trunk that is trusted.
    add column trusted boolean not null default false;

-- Null where nobody could name one: calls from the subscriber's side.
alter table cdr
    add column purpose text,
    add column intent_id uuid;
alter table call_fact
    add column purpose text,
    add column intent_id uuid;
