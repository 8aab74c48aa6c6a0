//! What subscribers have just said they do not want: given out at once to be written, and no more
//! calls of a kind in force here from the key on, until the store says it too.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::call::Call;
use super::core::CallCore;
use super::coupling::{Event, Stage};
use super::io::Output;
use super::place::Serial;
use super::wires::Wires;
use crate::domain::cause::Cause;
use crate::domain::id::{SubscriberId, TenantId};
use crate::domain::now::Now;
use crate::domain::purpose::Purpose;
use crate::domain::route::Route;
use crate::domain::whisper::{Dislike, Unwanted};

/// As many as are kept. More than the recorder has places, each of which stands for one attempt
/// that is not written yet: the oldest ones, which give way, are in the store by then.
pub(super) const DENIED_MAX: usize = 20_000;
/// After this nothing is in force here that the store does not say.
const DENIED_TIME: Duration = Duration::from_secs(24 * 3_600);

/// The calls that are refused although a route may not say so yet.
#[derive(Debug, Default)]
pub(super) struct Denied {
    kinds: BTreeMap<Kind, Refusal>,
    /// The kinds by their age.
    ages: BTreeMap<u64, Kind>,
    next: u64,
}

/// Calls of this tenant to this subscriber for this purpose.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Kind {
    tenant: TenantId,
    subscriber: SubscriberId,
    purpose: Purpose,
}

#[derive(Debug)]
struct Refusal {
    age: u64,
    unwanted: Unwanted,
}

impl From<&Unwanted> for Kind {
    fn from(it: &Unwanted) -> Self {
        Self { tenant: it.tenant, subscriber: it.subscriber, purpose: it.purpose }
    }
}

impl Denied {
    fn insert(&mut self, unwanted: Unwanted) {
        let kind = Kind::from(&unwanted);
        let age = self.next;
        self.next += 1;
        if let Some(before) = self.kinds.insert(kind, Refusal { age, unwanted }) {
            self.ages.remove(&before.age);
        }
        self.ages.insert(age, kind);
        if self.ages.len() > DENIED_MAX
            && let Some((_, oldest)) = self.ages.pop_first()
        {
            self.kinds.remove(&oldest);
        }
    }

    /// The store says it now. What was said again in a later call stays.
    fn remove(&mut self, unwanted: &Unwanted) {
        let kind = Kind::from(unwanted);
        let said = self.kinds.get(&kind).filter(|it| it.unwanted.call == unwanted.call);
        if let Some(age) = said.map(|it| it.age) {
            self.kinds.remove(&kind);
            self.ages.remove(&age);
        }
    }

    /// Adds to a route what it does not say yet.
    pub(super) fn add_to(&self, route: &mut Route) {
        let (tenant, subscriber) = (route.tenant, route.subscriber);
        let all = Purpose::ALL.iter().chain(&[Purpose::Unspecified]);
        let kinds = all.map(|purpose| Kind { tenant, subscriber, purpose: *purpose });
        let said = kinds.filter_map(|kind| Some(&self.kinds.get(&kind)?.unwanted));
        route.do_not_call.extend(said.map(|it| (it.purpose, until(it.at))));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.kinds.len(), self.ages.len());
        self.kinds.len()
    }
}

fn until(at: SystemTime) -> SystemTime {
    at.checked_add(DENIED_TIME).unwrap_or(at)
}

impl Call {
    /// The callee has said by a key that it does not want this call, or any such.
    pub(super) fn dislikes(&self, wires: &mut Wires, now: Now, what: Dislike) {
        let Some(cdr) = self.record().map(|record| record.known()) else { return };
        let (Some(tenant), Some(binding), Some(subscriber)) =
            (cdr.tenant, cdr.binding, cdr.subscriber)
        else {
            return;
        };
        wires.unwanted.push(Unwanted {
            what,
            call: self.id,
            tenant,
            binding,
            subscriber,
            agent: cdr.agent,
            purpose: cdr.purpose.unwrap_or_default(),
            at: now.wall,
        });
    }
}

impl CallCore {
    /// What callees have said with the last input takes effect before the next one.
    pub(super) fn heed_refusals(&mut self, now: Now) {
        while let Some(unwanted) = self.wires.unwanted.pop() {
            self.wires.outputs.push_back(Output::Unwanted(unwanted));
            self.on_unwanted(now, unwanted);
        }
    }

    /// No more calls of this kind: none from now on, and none that only rings. A report alone
    /// forbids nothing.
    pub(super) fn on_unwanted(&mut self, now: Now, unwanted: Unwanted) {
        match unwanted.what {
            Dislike::Kind => {}
            Dislike::Call => return,
        }
        self.wires.denied.insert(unwanted);
        let is_such = |call: &Call| {
            let purpose = call.record().and_then(|record| record.known().purpose);
            let is_before_bridge = !matches!(call.stage(), Stage::Bridged | Stage::Over);
            call.id != unwanted.call
                && is_before_bridge
                && call.is_to_subscriber()
                && purpose.unwrap_or_default() == unwanted.purpose
        };
        let ending: Vec<Serial> = self.through(unwanted.binding, is_such);
        for serial in ending {
            self.happen(now, serial, Event::Stopped(Cause::DoNotCall));
        }
    }

    /// The store says it, and whatever was read before is forgotten.
    pub(super) fn on_unwanted_stored(&mut self, unwanted: &Unwanted) {
        self.wires.denied.remove(unwanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::tests::harness::{BINDING, TENANT, route};
    use crate::domain::id::CallId;

    fn said(subscriber: u128, call: u64) -> Unwanted {
        Unwanted {
            what: Dislike::Kind,
            call: CallId::new(call, 0),
            tenant: TENANT,
            binding: BINDING,
            subscriber: SubscriberId::from_u128(subscriber),
            agent: None,
            purpose: Purpose::Survey,
            at: SystemTime::UNIX_EPOCH,
        }
    }

    fn is_denied(denied: &Denied, subscriber: u128) -> bool {
        let mut route = route();
        route.subscriber = SubscriberId::from_u128(subscriber);
        denied.add_to(&mut route);
        !route.do_not_call.is_empty()
    }

    #[test]
    fn what_was_said_is_in_force_until_the_store_says_it_and_said_again_stays() {
        let mut denied = Denied::default();
        denied.insert(said(1, 1));
        assert!(is_denied(&denied, 1) && !is_denied(&denied, 2));
        denied.insert(said(1, 2));
        denied.remove(&said(1, 1));
        assert!(is_denied(&denied, 1));
        denied.remove(&said(1, 2));
        assert!(!is_denied(&denied, 1));
        assert_eq!(denied.len(), 0);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_gives_way() {
        let mut denied = Denied::default();
        for n in 0..=DENIED_MAX as u64 {
            denied.insert(said(u128::from(n), n));
        }
        assert_eq!(denied.len(), DENIED_MAX);
        assert!(!is_denied(&denied, 0) && is_denied(&denied, 1));
        assert!(is_denied(&denied, DENIED_MAX as u128));
    }
}
