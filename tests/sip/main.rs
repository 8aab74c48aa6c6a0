//! The SIP core from outside: the torture messages, and random mutations of valid ones.

mod mutation;
mod torture;
mod walk;
