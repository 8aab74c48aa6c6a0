//! L3: the media plane. Dedicated threads move packets between the two sides of each call; the
//! brain commands them by messages and hears back by messages.
//!
//! ```no_run
//! use maskline::media::{Plane, PlaneConfig};
//! use maskline::rtp::plane::{Command, SessionId};
//! # fn main() -> std::io::Result<()> {
//! let config = PlaneConfig::on("127.0.0.1".parse().unwrap(), [7; 32]);
//! let (plane, mut links) = Plane::start(&config, vec![Box::new(|| { /* wake the shard */ })])?;
//! let mut link = links.remove(0);
//! if link.send(Command::Open { session: SessionId(1) }).is_err() {
//!     // Full: the same as `Report::Failed`.
//! }
//! while let Some(report) = link.try_report() { /* Input::Media(report) */ }
//! plane.stop();
//! # Ok(())
//! # }
//! ```

mod apart;
mod batch;
mod bell;
mod calls;
mod clock;
mod config;
mod free_ports;
mod limits;
mod link;
mod meter;
mod pace;
mod plane;
mod sockets;
pub mod sounds;
pub mod tape;
mod worker;

pub use apart::{MediaSocket, Outside, RemoteLink, Server, ServerError, ShardLink, listen};
pub use config::PlaneConfig;
pub use free_ports::FreePorts;
pub use link::{COMMANDS_MAX, Full, Link, OPENS_WAITING_MAX, REPORTS_MAX, Waker};
pub use plane::Plane;
