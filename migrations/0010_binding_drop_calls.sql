-- Whoever suspends or ends a binding may end its calls too. A node that did not hear of it reads here what was wanted.
alter table binding add column drop_calls boolean not null default false;
