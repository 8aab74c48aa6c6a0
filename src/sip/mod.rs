//! L0: SIP alone. It has never heard of a binding, a socket or a clock.

pub mod address;
pub mod dialog;
pub mod digest;
pub mod framer;
pub mod header;
pub mod ids;
mod index;
pub mod key_press;

mod lex;
pub mod limits;
pub mod locate;
pub mod malformed;
pub mod message;
pub mod method;
pub mod overload;
mod parse;
pub mod reason;
pub mod reliable;
pub mod screen;
pub mod session_timer;
pub mod status;
pub mod steer;
pub mod timers;
pub mod transaction;
pub mod transport;
pub mod uri;
pub mod via;
pub mod wheel;
pub mod write;

pub use lex::InvalidValue;
pub use parse::Fault;

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod parse_tests;
#[cfg(test)]
mod tests;
