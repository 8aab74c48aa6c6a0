//! The stories: one test each, told as people would.

pub(crate) mod caps;
pub(crate) mod desk;
pub(crate) mod endings;
pub(crate) mod failover;
pub(crate) mod forks;
pub(crate) mod lives;
pub(crate) mod loss;
pub(crate) mod menus;
pub(crate) mod offers;
pub(crate) mod overload;
pub(crate) mod races;
pub(crate) mod refusals;
pub(crate) mod unbinding;
pub(crate) mod whispers;

/// All stories that coverage is measured on.
pub(crate) fn all() -> impl Iterator<Item = fn()> {
    [
        caps::STORIES,
        desk::STORIES,
        endings::STORIES,
        failover::STORIES,
        forks::STORIES,
        lives::STORIES,
        menus::STORIES,
        offers::STORIES,
        overload::STORIES,
        races::STORIES,
        refusals::STORIES,
        unbinding::STORIES,
        whispers::STORIES,
    ]
    .into_iter()
    .flatten()
    .copied()
}
