//! The SIP core from outside: the torture messages, and random mutations of valid ones, which are
//! told to the brain in the middle of calls too; INVITEs with one broken field each.

mod act;
mod brain;
mod broken_fields;
mod mutate;
mod mutation;
#[path = "../protos/mod.rs"]
mod protos;
#[path = "../support/route.rs"]
mod route;
mod torture;
mod walk;
