//! L0: the nouns of the relay and their transitions. No clock, no I/O, no other part of the crate.

pub mod binding;
pub mod cap;
pub mod cause;
pub mod cdr;
pub mod event;
pub mod id;
pub mod language;
pub mod magic;
pub mod mark;
pub mod menu;
pub mod network;
pub mod now;
pub mod number;
pub mod number_state;
pub mod purpose;
pub mod recording;
pub mod ring;
pub mod route;
pub mod stock;
pub mod trunk_media;
pub mod trust;
pub mod webhook;
pub mod whisper;
