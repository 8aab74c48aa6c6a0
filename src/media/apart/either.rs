//! A shard's link to the media plane, wherever that runs.

use super::client::RemoteLink;
use crate::media::link::{Full, Link};
use crate::rtp::plane::{Command, Report};

/// See [`Link`] for what each of its methods promises.
pub enum ShardLink {
    /// The plane runs in this process.
    Own(Link),
    /// It runs in another one.
    Apart(RemoteLink),
}

impl ShardLink {
    /// As [`Link::queue`].
    ///
    /// # Errors
    /// Too many commands wait.
    pub fn queue(&mut self, command: Command) -> Result<Option<Report>, Full> {
        match self {
            Self::Own(link) => link.queue(command),
            Self::Apart(link) => link.queue(command),
        }
    }

    /// As [`Link::flush`].
    pub fn flush(&mut self) {
        match self {
            Self::Own(link) => link.flush(),
            Self::Apart(link) => link.flush(),
        }
    }

    /// As [`Link::flush_all`].
    pub fn flush_all(&mut self) {
        match self {
            Self::Own(link) => link.flush_all(),
            Self::Apart(link) => link.flush(),
        }
    }

    /// As [`Link::try_report`].
    pub fn try_report(&mut self) -> Option<Report> {
        match self {
            Self::Own(link) => link.try_report(),
            Self::Apart(link) => link.try_report(),
        }
    }
}
