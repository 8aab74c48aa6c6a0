//! `maskline demo`: one call through the whole service on this machine, shown and proven.

pub mod ladder;
pub mod leak;
pub mod progress;
pub mod provision;
pub mod stage;
pub mod talk;
