-- The virtual numbers, of whatever tenant, that end as a number does, once for each country whose carriers serve us: nobody
-- behind a virtual number may be reached by another virtual number. A tenant's transaction sees its own numbers only, so this
-- looks as the platform does while it runs; an error between undoes the transaction, and the setting with it. (`set` in the
-- head of a function would be shorter, but a setting of our own stands there for superusers only.) It is told an ending and
-- no number: what is asked here may be logged.
create function virtual_numbers_ending(ending text) returns table (digits text, country_code text)
    language plpgsql volatile set search_path = public, pg_temp
as $$
declare
    before text := coalesce(current_setting('maskline.platform', true), '');
begin
    perform set_config('maskline.platform', 'on', true);
    return query
        select v.digits, c.country_code from virtual_number v
        left join (select distinct t.country_code from trunk t where t.role = 'carrier' and t.deleted_at is null) c on true
        -- The shortest virtual numbers have three digits.
        where right(v.digits, 4) in (ending, right(ending, 3)) and v.state <> 'retired';
    perform set_config('maskline.platform', before, true);
end $$;
revoke execute on function virtual_numbers_ending(text) from public;
grant execute on function virtual_numbers_ending(text) to maskline_app;
create index virtual_number_ending on virtual_number (right(digits, 4));
