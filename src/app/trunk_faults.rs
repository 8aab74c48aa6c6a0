//! What is wrong with stored trunks, said once: they are loaded again and again.

use std::collections::BTreeMap;

use crate::domain::id::TrunkId;
use crate::store::trunk::TrunkFault;

/// What has been said, and still holds.
#[derive(Debug, Default)]
pub(super) struct TrunkFaults(BTreeMap<TrunkId, TrunkFault>);

impl TrunkFaults {
    /// Takes what holds now, and says what is new of it.
    pub(super) fn tell(&mut self, found: BTreeMap<TrunkId, TrunkFault>) {
        for (trunk, fault) in self.learn(found) {
            let text = fault.text();
            tracing::error!(trunk.id = %trunk, "{trunk} {text}");
        }
    }

    fn learn(&mut self, found: BTreeMap<TrunkId, TrunkFault>) -> Vec<(TrunkId, TrunkFault)> {
        let is_new = |(trunk, fault): &(&TrunkId, &TrunkFault)| self.0.get(trunk) != Some(fault);
        let new = found.iter().filter(is_new).map(|(trunk, fault)| (*trunk, *fault)).collect();
        self.0 = found;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_said_once_and_again_when_it_has_come_back() {
        let (one, other) = (TrunkId::from_u128(1), TrunkId::from_u128(2));
        let mut faults = TrunkFaults::default();
        let mut learn = |found: &[_]| faults.learn(found.iter().copied().collect());
        assert_eq!(learn(&[(one, TrunkFault::NoRoots)]), [(one, TrunkFault::NoRoots)]);
        let both = [(one, TrunkFault::NoRoots), (other, TrunkFault::NotTls)];
        assert_eq!(learn(&both), [(other, TrunkFault::NotTls)]);
        assert_eq!(learn(&both), []);
        assert_eq!(learn(&[(one, TrunkFault::NotTls)]), [(one, TrunkFault::NotTls)]);
        assert_eq!(learn(&[]), []);
        assert_eq!(learn(&[(one, TrunkFault::NotTls)]), [(one, TrunkFault::NotTls)]);
    }
}
