//! L1: the brain. A back-to-back user agent that couples two legs, without a socket, a clock or a
//! store.

pub mod config;
pub mod core;
pub mod counters;
pub mod door;
pub mod io;
pub mod negotiation;
pub mod trunks;
mod typing;

mod admission;
mod announce;
mod attempt;
mod b_invite;
mod branch;
#[expect(clippy::module_inception, reason = "the module is about calls, this file about one")]
mod call;
mod capped;
mod challenge;
mod clocks;
mod contacts;
mod coupling;
pub mod down;
pub mod egress;
mod errands;
mod failover;
mod hold;
mod hosts;
mod inside;
mod joint_ask;
mod leg_a;
mod menu;
mod names;
mod offer;
mod overload;
pub mod pick;
mod place;
mod pleas;
mod probe;
mod receive;
mod record;
mod refusal;
mod registrar;
mod registration;
mod reliably;
mod renegotiate;
mod reoffer;
mod ring;
mod seats;
mod self_service;
mod set_up;
mod sides;
mod silence;
mod speech;
mod stateless;
mod table;
mod talk;
mod taping;
mod timers;
mod unwanted;
mod watch;
mod whisper;
mod wires;

#[cfg(test)]
mod tests;
