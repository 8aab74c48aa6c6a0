-- A consent is the proof of itself and of its withdrawal: a tenant writes it once and may only withdraw it, and nobody takes
-- a withdrawal back.

revoke update on consent from maskline_app;
grant update (withdrawn_at) on consent to maskline_app;

create function consent_stays_withdrawn() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using errcode = 'check_violation', constraint = 'consent_stays_withdrawn',
        message = 'a withdrawal is not taken back';
end $$;

create trigger consent_stays_withdrawn before update on consent
    for each row
    when (old.withdrawn_at is not null
          and (new.withdrawn_at is distinct from old.withdrawn_at
               or new.withdrawn_call_id is distinct from old.withdrawn_call_id))
    execute function consent_stays_withdrawn();
