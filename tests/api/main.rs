//! The control API on a real PostgreSQL, driven in process as a client would.

#[path = "../certificates/mod.rs"]
mod certificates;
#[expect(dead_code, reason = "other tests need more of it")]
#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod batch;
mod choice;
mod contract;
mod events;
mod examples;
mod imports;
mod intents;
mod isolation;
mod live_calls;
mod nouns;
mod pairs;
mod rate;
mod recordings;
mod repeated;
mod roles;
mod signed;
mod signer;
mod sip_access;
mod terms;
mod test_mode;
mod webhooks;
mod world;
