//! The store on a real PostgreSQL, as the program's own roles.

#[path = "../support/mod.rs"]
mod support;
mod whispers;

mod batch;
mod bindings;
mod caps;
mod choice;
mod embedded;
mod fixture;
mod imports;
mod intents;
mod isolation;
mod look;
mod menus;
mod pairs;
mod pairs_at_once;
mod pool_stock;
mod recordings;
mod records;
mod root_key;
mod routes;
mod sweeps;
mod terms;
