-- A tenant asks which bindings an X ever had by its digits: the number itself may belong to somebody else by now.
create index binding_by_virtual_number on binding (tenant_id, virtual_number, id);
drop index binding_by_number;
