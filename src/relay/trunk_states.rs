//! How trunks are reached, as the brain last said: for the API, the metrics and the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::call::io::TrunkStatus;
use crate::domain::id::TrunkId;

/// How one trunk is reached.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TrunkState {
    /// Whether it knows us, where it wants us to register.
    pub is_registered: Option<bool>,
    /// Bits of its targets that are down.
    pub down: u32,
}

/// The states of all trunks that have ever had one.
#[derive(Debug, Default)]
pub(crate) struct TrunkStates(Mutex<BTreeMap<TrunkId, TrunkState>>);

impl TrunkStates {
    pub(crate) fn of(&self, trunk: TrunkId) -> TrunkState {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.get(&trunk).copied().unwrap_or_default()
    }

    /// Some carrier knows us.
    pub(crate) fn is_registered_anywhere(&self) -> bool {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.values().any(|state| state.is_registered == Some(true))
    }

    /// Takes what the brain says.
    pub(crate) fn note(&self, status: TrunkStatus) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match status {
            TrunkStatus::Registered { trunk, is_registered } => {
                states.entry(trunk).or_default().is_registered = Some(is_registered);
                let value = f64::from(u8::from(is_registered));
                metrics::gauge!("maskline_trunk_registered", "trunk" => trunk.to_string())
                    .set(value);
                let word = if is_registered { "Registered" } else { "Not registered" };
                tracing::info!(trunk.id = %trunk, is_registered, "{word} at {trunk}");
            }
            TrunkStatus::Targets { trunk, down } => {
                states.entry(trunk).or_default().down = down;
                let count = down.count_ones();
                metrics::gauge!("maskline_trunk_targets_down", "trunk" => trunk.to_string())
                    .set(f64::from(count));
                tracing::warn!(trunk.id = %trunk, count, "{count} targets of {trunk} are down");
            }
        }
    }
}
