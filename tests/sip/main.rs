//! The SIP core from outside: the torture messages, and random mutations of valid ones, which are
//! told to the brain in the middle of calls too.

mod act;
mod brain;
mod mutation;
mod torture;
mod walk;
