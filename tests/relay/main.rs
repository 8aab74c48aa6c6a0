//! The shell of signalling against the real things: PostgreSQL, sockets, the whole service.

#[expect(dead_code, reason = "shared with the tests of the store")]
#[path = "../support/mod.rs"]
mod support;

mod calls;
mod caps;
#[path = "../certificates/mod.rs"]
mod certificates;
mod families;
mod https;
mod intents;
mod jobs;
mod live_events;
mod nodes;
mod pairs;
mod peers;
mod ready;
mod registration;
mod service;
mod shards;
mod spoofed;
mod test_mode;
mod watch;
