-- How a trunk spells numbers, and how numbers are written to it.

alter table trunk
    add column number_format_in text not null default 'as_is',
    add column number_format_out text not null default 'as_is',
    add constraint trunk_number_format_in_known
        check (number_format_in in ('as_is', 'e164', 'e164_digits', 'trunk_prefix', 'national')),
    add constraint trunk_number_format_out_known
        check (number_format_out in ('as_is', 'e164', 'e164_digits', 'trunk_prefix', 'national'));
