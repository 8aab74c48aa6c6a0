//! How many calls the process may hold: each has four descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::sockets::Place;

/// Raises the file limit to the hard limit and says how many calls fit in it.
pub(super) fn sessions_by_descriptors() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    match if raised.is_ok() { maximum } else { current } {
        None => usize::MAX,
        Some(files) => {
            let files = usize::try_from(files).unwrap_or(usize::MAX);
            files.saturating_sub(DESCRIPTORS_KEPT) / Place::COUNT
        }
    }
}

/// Left for everything else: database, API, logs, signalling.
const DESCRIPTORS_KEPT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_the_hard_limit() {
        assert!(sessions_by_descriptors() > 0);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
