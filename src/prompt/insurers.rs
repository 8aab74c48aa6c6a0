//! Where the recordings of insurers' names are in the table of sounds.

use std::collections::BTreeMap;

use crate::domain::id::TenantId;
use crate::domain::language::Language;
use crate::rtp::sound::ClipId;

/// The most recordings of names.
pub const INSURERS_MAX: usize = 10_000;
/// Theirs are above all clips of the catalogue.
const FIRST: u16 = 0x4000;

/// Which tenants have recorded their name, in which language.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Insurers {
    clips: BTreeMap<(TenantId, Language), ClipId>,
}

impl Insurers {
    /// Takes a recording in; answers with its place, or `None` when there are [`INSURERS_MAX`].
    pub fn insert(&mut self, tenant: TenantId, language: Language) -> Option<ClipId> {
        if let Some(clip) = self.find(tenant, language) {
            return Some(clip);
        }
        if self.clips.len() >= INSURERS_MAX {
            return None;
        }
        let clip = ClipId(FIRST + u16::try_from(self.clips.len()).ok()?);
        self.clips.insert((tenant, language), clip);
        Some(clip)
    }

    /// The recording of a tenant's name. A language that it has not recorded is spoken by ours.
    #[must_use]
    pub fn find(&self, tenant: TenantId, language: Language) -> Option<ClipId> {
        self.clips.get(&(tenant, language)).copied()
    }
}
