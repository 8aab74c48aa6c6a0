-- The terms of a binding beside its end: whether it follows the policy, how long it may lie unused, and what becomes of
-- calls that are up when it ends.
alter table binding
    add column follow_policy boolean not null default false,
    add column on_expiry text not null default 'finish',
    add column idle_ttl_s integer,
    -- When it is next asked whether the binding was used; no call writes here.
    add column idle_check_at timestamptz;
alter table binding
    add constraint binding_on_expiry_known check (on_expiry in ('finish', 'end')) not valid,
    add constraint binding_idle_ttl_range check (idle_ttl_s between 86400 and 315360000) not valid,
    add constraint binding_idle_whole check ((idle_ttl_s is null) = (idle_check_at is null)) not valid,
    add constraint binding_follow_policy_ends check (not follow_policy or policy_ends_at is not null) not valid;
create index binding_idle on binding (idle_check_at) where ended_at is null and idle_check_at is not null;
