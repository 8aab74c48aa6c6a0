//! The gate: one pure decision about one attempt. Every rule is asked, the first refusal wins, in
//! doubt it refuses.

use std::time::SystemTime;

use crate::domain::binding::BindingState;
use crate::domain::cap::CapMeasure;
use crate::domain::cause::Cause;
use crate::domain::cdr::Direction;
use crate::domain::now::unix_ms;
use crate::domain::purpose::Stated;
use crate::domain::route::{Callee, CallerParty, Route};

/// What the gate says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// The callee may be called.
    Allow,
    /// The callee's phone does not ring.
    Refuse {
        /// What the caller is told: the first of `reasons`.
        cause: Cause,
        /// Every rule that refuses, in the order of the rules.
        reasons: Vec<Cause>,
    },
}

/// What is known of an attempt beside its route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attempt {
    /// Which way it goes.
    pub direction: Direction,
    /// What it says it is for.
    pub stated: Stated,
}

/// An attempt that names no purpose.
impl From<Direction> for Attempt {
    fn from(direction: Direction) -> Self {
        Self { direction, stated: Stated::default() }
    }
}

/// One rule: the cause for which it refuses, or nothing.
type Rule = fn(&Route, &Attempt, SystemTime) -> Option<Cause>;

/// In the order in which a caller is told: binding live, tenant, caller and what it may call for,
/// direction, what the subscriber wants, caps against fraud.
const RULES: [Rule; 11] = [
    binding_is_live,
    tenant_is_active,
    caller_is_known,
    purpose_is_the_agents,
    direction_fits,
    calls_are_not_paused,
    caller_is_not_blocked,
    call_is_wanted,
    there_is_room_for_a_call,
    one_more_may_begin,
    minutes_are_left,
];

/// Decides on an attempt at `now`. Pure and total: no rule can fail, and a rule that is not sure
/// refuses.
#[must_use]
pub fn decide(route: &Route, attempt: impl Into<Attempt>, now: SystemTime) -> Decision {
    let attempt = attempt.into();
    // A stranger learns nothing at all, not even that the binding is suspended.
    if matches!(route.caller, CallerParty::Stranger) {
        return Decision::Refuse {
            cause: Cause::NumberUnknown,
            reasons: vec![Cause::NumberUnknown],
        };
    }
    let reasons: Vec<Cause> =
        RULES.iter().filter_map(|refuses| refuses(route, &attempt, now)).collect();
    match reasons.first() {
        None => Decision::Allow,
        Some(&cause) => Decision::Refuse { cause, reasons },
    }
}

fn binding_is_live(route: &Route, _attempt: &Attempt, now: SystemTime) -> Option<Cause> {
    match route.state.at(now) {
        BindingState::Active { .. } => None,
        BindingState::Suspended { .. } => Some(Cause::BindingSuspended),
        // Not begun and over sound alike: nobody is reached by this number now.
        BindingState::Pending { .. } => Some(Cause::NumberUnknown),
        BindingState::Expired { .. } | BindingState::Released { .. } => Some(Cause::BindingExpired),
    }
}

fn tenant_is_active(route: &Route, _attempt: &Attempt, _now: SystemTime) -> Option<Cause> {
    (!route.tenant_active).then_some(Cause::TenantSuspended)
}

fn caller_is_known(route: &Route, _attempt: &Attempt, _now: SystemTime) -> Option<Cause> {
    match route.caller {
        CallerParty::Agent { active: true, .. } | CallerParty::Subscriber => None,
        CallerParty::Agent { active: false, .. } | CallerParty::UnknownAgent => {
            Some(Cause::AgentUnknown)
        }
        CallerParty::Stranger => Some(Cause::NumberUnknown),
    }
}

/// The agent may call for this. A call that says nothing of what it is for is for none of the
/// purposes that an agent is limited to.
fn purpose_is_the_agents(route: &Route, attempt: &Attempt, _now: SystemTime) -> Option<Cause> {
    let to_subscriber = attempt.direction == Direction::ToSubscriber;
    let purpose = &attempt.stated.purpose;
    let is_refused = route.allowed_purposes.as_ref().is_some_and(|only| !only.contains(purpose));
    (to_subscriber && is_refused).then_some(Cause::PurposeNotAllowed)
}

/// An agent may only reach the subscriber, and the subscriber only the desk, each from its own side
/// of the relay.
fn direction_fits(route: &Route, attempt: &Attempt, _now: SystemTime) -> Option<Cause> {
    let fits = match (attempt.direction, &route.caller, &route.callee) {
        (
            Direction::ToSubscriber,
            CallerParty::Agent { .. } | CallerParty::UnknownAgent,
            Callee::Subscriber(_),
        )
        | (Direction::FromSubscriber, CallerParty::Subscriber, Callee::Desk(_)) => true,
        (Direction::ToSubscriber | Direction::FromSubscriber, _, _) => false,
    };
    (!fits).then_some(Cause::DirectionNotAllowed)
}

/// The subscriber has not paused all calls. It may call itself meanwhile.
fn calls_are_not_paused(route: &Route, attempt: &Attempt, now: SystemTime) -> Option<Cause> {
    let to_subscriber = attempt.direction == Direction::ToSubscriber;
    let is_paused = route.paused_until.is_some_and(|until| now < until);
    (to_subscriber && is_paused).then_some(Cause::Paused)
}

/// The subscriber has not blocked who calls.
fn caller_is_not_blocked(route: &Route, attempt: &Attempt, _now: SystemTime) -> Option<Cause> {
    let to_subscriber = attempt.direction == Direction::ToSubscriber;
    (to_subscriber && route.is_blocked).then_some(Cause::Blocked)
}

/// The subscriber has not asked to be left alone with calls of this kind.
fn call_is_wanted(route: &Route, attempt: &Attempt, now: SystemTime) -> Option<Cause> {
    let is_refused =
        |(purpose, until): &(_, SystemTime)| *purpose == attempt.stated.purpose && now < *until;
    let to_subscriber = attempt.direction == Direction::ToSubscriber;
    (to_subscriber && route.do_not_call.iter().any(is_refused)).then_some(Cause::DoNotCall)
}

fn there_is_room_for_a_call(route: &Route, _attempt: &Attempt, now: SystemTime) -> Option<Cause> {
    find_full(route, CapMeasure::Calls, now)
}

fn one_more_may_begin(route: &Route, _attempt: &Attempt, now: SystemTime) -> Option<Cause> {
    find_full(route, CapMeasure::CallsPerMinute, now)
}

fn minutes_are_left(route: &Route, _attempt: &Attempt, now: SystemTime) -> Option<Cause> {
    find_full(route, CapMeasure::MinutesPerDay, now)
}

/// Whether one of the caps leaves no room for one more; the place itself is taken afterwards.
fn find_full(route: &Route, measure: CapMeasure, now: SystemTime) -> Option<Cause> {
    let mut full = route.caps.iter().flat_map(|cap| cap.full(unix_ms(now)));
    full.any(|it| it.measure == measure).then(|| measure.cause())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::binding::SuspendReason;
    use crate::domain::id::{AgentId, BindingId, SubscriberId, TenantId};
    use crate::domain::number::{RealNumber, VirtualNumber};
    use crate::domain::purpose::Purpose;
    use crate::domain::route::Hearer;
    use std::sync::Arc;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn agent(active: bool) -> CallerParty {
        CallerParty::Agent { id: AgentId::from_u128(1), active }
    }

    pub(in crate::policy) fn subscriber() -> Callee {
        let number = RealNumber::parse("+8613800001234").expect("a valid number");
        Callee::Subscriber(Arc::new(number))
    }

    /// The route of a binding of which there is nothing to say but this.
    pub(in crate::policy) fn route(
        state: BindingState,
        caller: CallerParty,
        callee: Callee,
    ) -> Route {
        Route {
            tenant: TenantId::from_u128(1),
            tenant_active: true,
            binding: BindingId::from_u128(2),
            state,
            subscriber: SubscriberId::from_u128(3),
            virtual_number: VirtualNumber::parse("95012345678").expect("a valid number"),
            caller,
            callee,
            targets: Vec::new(),
            duration_max: None,
            hearer: Hearer::default(),
            agent_number: "4821".into(),
            allowed_purposes: None,
            do_not_call: Vec::new(),
            paused_until: None,
            is_blocked: false,
            caps: Vec::new(),
            recording: None,
            announced: None,
        }
    }

    const ACTIVE: BindingState = BindingState::Active { expires_at: None };

    fn refusals(decision: Decision) -> Vec<Cause> {
        match decision {
            Decision::Allow => Vec::new(),
            Decision::Refuse { cause, reasons } => {
                assert_eq!(Some(&cause), reasons.first(), "the first refusal wins");
                reasons
            }
        }
    }

    #[test]
    fn an_active_agent_reaches_the_subscriber_of_a_live_binding() {
        let route = route(ACTIVE, agent(true), subscriber());
        assert_eq!(decide(&route, Direction::ToSubscriber, at(1)), Decision::Allow);
    }

    #[test]
    fn an_agent_who_is_limited_calls_for_its_purposes_alone_and_names_them() {
        let mut route = route(ACTIVE, agent(true), subscriber());
        let causes = |route: &Route, direction, purpose| {
            let stated = Stated { purpose, intent: None };
            refusals(decide(route, Attempt { direction, stated }, at(1)))
        };
        let to = Direction::ToSubscriber;
        route.allowed_purposes = Some([Purpose::Claim, Purpose::Survey].into());
        assert_eq!(causes(&route, to, Purpose::Claim), []);
        assert_eq!(causes(&route, to, Purpose::Survey), []);
        assert_eq!(causes(&route, to, Purpose::Marketing), [Cause::PurposeNotAllowed]);
        assert_eq!(causes(&route, to, Purpose::Unspecified), [Cause::PurposeNotAllowed]);
        route.do_not_call = vec![(Purpose::Marketing, at(10))];
        let both = [Cause::PurposeNotAllowed, Cause::DoNotCall];
        assert_eq!(causes(&route, to, Purpose::Marketing), both);
        route.allowed_purposes = Some([].into());
        assert_eq!(causes(&route, to, Purpose::Claim), [Cause::PurposeNotAllowed], "none is none");
        let (caller, callee) = (CallerParty::Subscriber, Callee::Desk("600".into()));
        let back = Route { caller, callee, ..route };
        assert_eq!(causes(&back, Direction::FromSubscriber, Purpose::Unspecified), []);
    }

    #[test]
    fn what_a_subscriber_does_not_want_is_refused_for_its_purpose_and_its_time_alone() {
        let mut route = route(ACTIVE, agent(true), subscriber());
        route.do_not_call = vec![(Purpose::Marketing, at(10)), (Purpose::Survey, at(5))];
        let causes = |purpose, seconds| {
            let stated = Stated { purpose, intent: None };
            let attempt = Attempt { direction: Direction::ToSubscriber, stated };
            refusals(decide(&route, attempt, at(seconds)))
        };
        assert_eq!(causes(Purpose::Marketing, 9), [Cause::DoNotCall]);
        assert_eq!(causes(Purpose::Marketing, 10), []);
        assert_eq!(causes(Purpose::Survey, 9), []);
        assert_eq!(causes(Purpose::Claim, 1), []);
    }

    #[test]
    fn a_pause_is_for_all_purposes_and_ends_and_a_blocked_agent_stays_so() {
        let mut route = route(ACTIVE, agent(true), subscriber());
        route.paused_until = Some(at(10));
        let causes =
            |route: &Route, seconds| refusals(decide(route, Direction::ToSubscriber, at(seconds)));
        assert_eq!(causes(&route, 9), [Cause::Paused]);
        assert_eq!(causes(&route, 10), []);
        route.is_blocked = true;
        assert_eq!(causes(&route, 9), [Cause::Paused, Cause::Blocked]);
        assert_eq!(causes(&route, 10), [Cause::Blocked]);
    }

    #[test]
    fn who_does_not_want_calls_may_still_call() {
        let mut route = route(ACTIVE, CallerParty::Subscriber, Callee::Desk("600".into()));
        route.do_not_call = vec![(Purpose::Unspecified, at(10))];
        (route.paused_until, route.is_blocked) = (Some(at(10)), true);
        assert_eq!(decide(&route, Direction::FromSubscriber, at(1)), Decision::Allow);
    }

    #[test]
    fn full_caps_refuse_each_for_its_own_reason() {
        use crate::domain::cap::{Cap, CapSubject, Limits};
        let mut route = route(ACTIVE, agent(true), subscriber());
        let one = Some(1);
        let limits = Limits { calls_max: one, calls_per_minute_max: one, minutes_per_day_max: one };
        let cap = |subject, limits| Cap { subject, limits, load: Arc::default() };
        let number = Limits { minutes_per_day_max: None, ..limits };
        route.caps = vec![cap(CapSubject::Number, number), cap(CapSubject::Agent, limits)];
        assert_eq!(decide(&route, Direction::ToSubscriber, at(60)), Decision::Allow);
        let [number, agent] = &route.caps[..] else { panic!("two caps") };
        assert!(agent.take(CapMeasure::MinutesPerDay, 60_000));
        assert!(number.take(CapMeasure::Calls, 60_000) && agent.take(CapMeasure::Calls, 60_000));
        assert!(number.take(CapMeasure::CallsPerMinute, 60_000));
        route.is_blocked = true;
        let causes = |seconds| refusals(decide(&route, Direction::ToSubscriber, at(seconds)));
        let all = [Cause::Blocked, Cause::CallsCap, Cause::RateCap, Cause::MinutesCap];
        assert_eq!(causes(119), all);
        assert_eq!(causes(120), [Cause::Blocked, Cause::CallsCap, Cause::MinutesCap]);
        assert_eq!(causes(86_400), [Cause::Blocked, Cause::CallsCap], "another day");
    }

    #[test]
    fn the_subscriber_reaches_the_desk() {
        let route = route(ACTIVE, CallerParty::Subscriber, Callee::Desk("600".into()));
        assert_eq!(decide(&route, Direction::FromSubscriber, at(1)), Decision::Allow);
    }

    #[test]
    fn all_refusals_are_kept_and_the_first_one_wins() {
        let suspended = BindingState::Suspended { reason: SuspendReason::Tenant, expires_at: None };
        let mut route = route(suspended, agent(false), Callee::Desk("600".into()));
        route.tenant_active = false;
        assert_eq!(
            refusals(decide(&route, Direction::ToSubscriber, at(1))),
            [
                Cause::BindingSuspended,
                Cause::TenantSuspended,
                Cause::AgentUnknown,
                Cause::DirectionNotAllowed
            ]
        );
    }

    #[test]
    fn a_binding_is_judged_by_the_time_of_the_attempt() {
        let state = BindingState::Pending { starts_at: at(10), expires_at: Some(at(20)) };
        let route = route(state, agent(true), subscriber());
        let causes = |seconds| refusals(decide(&route, Direction::ToSubscriber, at(seconds)));
        assert_eq!(causes(9), [Cause::NumberUnknown]);
        assert_eq!(causes(10), []);
        assert_eq!(causes(20), [Cause::BindingExpired]);
        let released = BindingState::Released { released_at: at(1) };
        let route = self::route(released, agent(true), subscriber());
        assert_eq!(
            refusals(decide(&route, Direction::ToSubscriber, at(2))),
            [Cause::BindingExpired]
        );
    }

    #[test]
    fn a_stranger_learns_nothing_of_the_binding() {
        let mut route = route(ACTIVE, CallerParty::Stranger, Callee::Desk("600".into()));
        route.tenant_active = false;
        assert_eq!(
            refusals(decide(&route, Direction::FromSubscriber, at(1))),
            [Cause::NumberUnknown]
        );
    }

    #[test]
    fn nobody_calls_from_the_wrong_side() {
        let to_desk = route(ACTIVE, CallerParty::Subscriber, Callee::Desk("600".into()));
        assert_eq!(
            refusals(decide(&to_desk, Direction::ToSubscriber, at(1))),
            [Cause::DirectionNotAllowed]
        );
        let to_self = route(ACTIVE, CallerParty::Subscriber, subscriber());
        assert_eq!(
            refusals(decide(&to_self, Direction::FromSubscriber, at(1))),
            [Cause::DirectionNotAllowed]
        );
        let by_agent = route(ACTIVE, agent(true), subscriber());
        assert_eq!(
            refusals(decide(&by_agent, Direction::FromSubscriber, at(1))),
            [Cause::DirectionNotAllowed]
        );
    }
}
