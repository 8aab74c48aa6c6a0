//! The places of a call on trunks with limits.

use super::call::Call;
use super::challenge::Accounts;
use super::trunks::{Seat, TrunkFull};
use crate::domain::id::TrunkId;
use crate::domain::now::Now;
use crate::domain::purpose::Purpose;
use crate::rtp::plane::Side;

/// The place of each side; none on a trunk without limits.
pub(super) type Seats = [Option<Seat>; 2];

impl Accounts {
    /// A place for one more call on a trunk.
    pub(super) fn seat(&self, trunk: TrunkId, now: Now) -> Result<Option<Seat>, TrunkFull> {
        self.terms(trunk).map_or(Ok(None), |terms| terms.seat(now.unix_ms()))
    }
}

impl Call {
    /// About an accident, where the caller's trunk is believed: it goes before all others.
    pub(super) fn is_emergency(&self, accounts: &Accounts) -> bool {
        let purpose = self.record().and_then(|record| record.known().purpose);
        purpose == Some(Purpose::AccidentEmergency)
            && accounts.identity(self.leg_a.peer().trunk).trusted
    }

    /// Takes a place on the trunk that is asked next, instead of the one before; false when it has
    /// none.
    pub(super) fn sit_down(&mut self, accounts: &Accounts, now: Now, trunk: TrunkId) -> bool {
        let seat = &mut self.seats[Side::B.index()];
        *seat = None;
        match accounts.seat(trunk, now) {
            Ok(taken) => {
                *seat = taken;
                true
            }
            Err(TrunkFull) => false,
        }
    }
}
