//! What the brain knows of trunks beside the route of a call: how each of them wants to be spoken
//! to. Replaced as a whole when a trunk changes.

use std::collections::BTreeMap;

use crate::domain::id::TrunkId;
use crate::sip::digest::{Account, Algorithm};

/// All trunks that take part.
#[derive(Debug, Default)]
pub struct TrunkBook(BTreeMap<TrunkId, TrunkTerms>);

impl TrunkBook {
    /// A book of these.
    #[must_use]
    pub const fn new(terms: BTreeMap<TrunkId, TrunkTerms>) -> Self {
        Self(terms)
    }

    /// What is known of one.
    #[must_use]
    pub fn get(&self, trunk: TrunkId) -> Option<&TrunkTerms> {
        self.0.get(&trunk)
    }
}

/// What is known of one trunk.
#[derive(Clone, Debug)]
pub struct TrunkTerms {
    /// How we answer its challenges.
    pub account: Option<Account>,
    /// Weaker algorithms are neither used nor taken.
    pub algorithm_least: Algorithm,
}

impl Default for TrunkTerms {
    fn default() -> Self {
        Self { account: None, algorithm_least: Algorithm::Md5 }
    }
}
