//! The brain between peers made of text: races, refusals, privacy.

mod admission;
mod challenged;
mod checklist;
mod clocks;
mod connections;
mod debug;
mod delayed;
mod door;
mod errands;
mod failing;
mod guessing;
pub(crate) mod harness;
mod identity;
mod intruder;
mod keys;
mod privacy;
mod purpose;
mod races;
mod refusal;
mod reliable;
mod renegotiate;
mod setup;
mod softphone;
mod strays;
mod stream;
mod swarm;
mod whisper;
