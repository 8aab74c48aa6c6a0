-- As `virtual_numbers_ending`, for many endings at once: a batch of bindings asks one question, not one for each row. A
-- number that ends as several of them do comes once.
create function virtual_numbers_ending_any(endings text[]) returns table (digits text, country_code text)
    language plpgsql volatile set search_path = public, pg_temp
as $$
declare
    before text := coalesce(current_setting('maskline.platform', true), '');
    -- The shortest virtual numbers have three digits.
    wanted text[] := array(select e from unnest(endings) as e union select right(e, 3) from unnest(endings) as e);
begin
    perform set_config('maskline.platform', 'on', true);
    return query
        select v.digits, c.country_code from virtual_number v
        left join (select distinct t.country_code from trunk t where t.role = 'carrier' and t.deleted_at is null) c on true
        where v.ending = any (wanted) and v.state <> 'retired';
    perform set_config('maskline.platform', before, true);
end $$;
revoke execute on function virtual_numbers_ending_any(text[]) from public;
grant execute on function virtual_numbers_ending_any(text[]) to maskline_app;
