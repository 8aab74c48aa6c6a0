//! How far a trunk is believed.

/// What is believed of the messages of a trunk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TrunkIdentity {
    /// What it says of purposes and of callers in headers of their own is believed.
    pub trusted: bool,
}
