-- Networks in which the media of a trunk is: a description that names another address is refused. Anywhere when there are
-- none.
alter table trunk
    add column media_networks cidr[] not null default '{}',
    add constraint trunk_media_networks_few check (cardinality(media_networks) <= 16);
