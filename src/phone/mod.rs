//! L1: a telephone made of code. It follows a script, speaks SIP and RTP like a well-behaved user
//! agent unless the script says otherwise, and writes down all it receives. Sans-IO: the demo gives
//! it sockets, the simulation a world.

mod call;
mod leg;
mod line;
pub mod log;
pub mod magic;
mod record;
pub mod script;
pub mod speech;
mod ua;

pub use line::PhoneConfig;
pub use record::{CallRecord, CallState, Dialler, Ending};
pub use script::{Script, Step};
pub use speech::Voice;
pub use ua::{Phone, PhoneInput, PhoneOutput};

#[cfg(test)]
mod tests;
