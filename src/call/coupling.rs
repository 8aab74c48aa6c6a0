//! How the two legs of a call depend on each other: events of both sides in, actions out. Knows no
//! bytes, addresses or times, so that every race is one line of a table.

mod menu;

use super::failover::{Attempted, Plan};
use super::timers::Timer;
use crate::domain::cause::Cause;
use crate::domain::cdr::EndedBy;

/// How far a call is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// The route is being looked up.
    Routing,
    /// It is refused for this, and the caller is told why; nobody is called.
    Refusing(Cause),
    /// The gate has allowed it; ports are being opened.
    Opening,
    /// A trunk has been asked for the callee.
    Calling {
        /// The caller has been told that it rings.
        ringing: bool,
    },
    /// The callee has answered and is told who calls; to the caller it still rings.
    Announcing,
    /// The callee has answered, and so have we.
    Bridged,
    /// Nobody else takes part: the caller uses the menu.
    Menu,
    /// Both legs have been told to end. Nothing is changed by what comes now.
    Over,
}

/// Something happened to a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// The gate allows it, and so many trunks can be tried.
    Allowed {
        /// How many.
        targets: usize,
    },
    /// The attempt ends before the callee was asked.
    Refused(Cause),
    /// The same, and the caller is to be told why.
    RefusedAloud(Cause),
    /// The caller was told.
    Told,
    /// Both sides have ports.
    MediaOpened,
    /// There are no ports.
    MediaFailed,
    /// The trunk lives: a provisional response that does not mean ringing.
    Progress,
    /// The callee's phone rings.
    Ringing,
    /// The callee has answered with media that can be relayed.
    Answered,
    /// The same, and is to be told who calls before it is connected.
    AnsweredToHear,
    /// The callee has heard who calls, and is to be connected.
    Admitted,
    /// The callee has heard who calls, and does not want the call.
    Declined(Cause),
    /// The caller wants the menu and not the callee.
    MenuAsked,
    /// The caller is done with the menu.
    MenuOver,
    /// The callee has answered with media that cannot be relayed.
    AnsweredUnusable,
    /// The trunk was asked once more, as it had demanded.
    AskedAgain,
    /// The trunk that was asked has failed or refused.
    TargetFailed(Attempted),
    /// The caller gave up before the answer.
    CallerCancelled,
    /// The caller ended the call.
    CallerHungUp,
    /// The caller never confirmed our answer.
    CallerVanished,
    /// The callee ended the call.
    CalleeHungUp,
    /// The relay ends the call: an operator, a rule, silence, a fault.
    Stopped(Cause),
    /// The time of a timer has come.
    Elapsed(Timer),
}

/// What has to be done about a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    /// Have ports opened.
    OpenMedia,
    /// Tell the caller why it is refused.
    SpeakRefusal(Cause),
    /// Tell the callee who calls.
    Announce,
    /// Answer the caller for the menu: since nobody else was reached, or without a cause.
    OpenMenu(Option<Cause>),
    /// Let media flow between both sides.
    Bridge,
    /// Have the ports closed.
    CloseMedia,
    /// Ask the trunk of this position for the callee.
    TryTarget(usize),
    /// Give the trunk up that is being asked: CANCEL, or ACK and BYE when it answers all the same.
    DropTarget(Cause),
    /// Tell the caller that it rings.
    RingCaller,
    /// Tell the caller that the callee has answered.
    AnswerCaller,
    /// Tell the caller that it will not be: a final refusal.
    RefuseCaller(Cause),
    /// End the caller's answered leg.
    EndCaller(Cause),
    /// End the callee's answered leg.
    EndCallee(Cause),
    /// Set a timer.
    Arm(Timer),
    /// Forget a timer.
    Disarm(Timer),
    /// The call is over: write down why.
    Finish {
        /// Why.
        cause: Cause,
        /// Who ended it.
        by: EndedBy,
    },
}

/// The state that couples both legs.
#[derive(Debug)]
pub(super) struct Coupling {
    stage: Stage,
    plan: Plan,
    has_media: bool,
    /// The caller gets the menu where it reaches nobody.
    has_menu: bool,
}

impl Coupling {
    /// A call whose route is being looked up.
    pub(super) const fn new() -> Self {
        Self { stage: Stage::Routing, plan: Plan::none(), has_media: false, has_menu: false }
    }

    /// How far the call is.
    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    /// Takes one event and adds what has to be done, in order.
    pub(super) fn handle(&mut self, event: Event, actions: &mut Vec<Action>) {
        match (self.stage, event) {
            (Stage::Over, _) => {}
            // Why it is refused stays the same, whoever is tired of hearing it.
            (Stage::Refusing(cause), event) => self.handle_refusing(cause, event, actions),
            (_, Event::Stopped(cause)) => self.end(cause, EndedBy::Relay, actions),
            (_, Event::CallerVanished) => {
                self.end(Cause::CallerHangup, EndedBy::Relay, actions);
            }
            (Stage::Bridged, event) => self.handle_bridged(event, actions),
            (Stage::Menu, event) => self.handle_menu(event, actions),
            (_, Event::CallerCancelled | Event::CallerHungUp) => {
                self.end(Cause::CallerCancelled, EndedBy::Caller, actions);
            }
            (Stage::Routing | Stage::Opening, Event::Refused(cause)) => {
                self.end(cause, EndedBy::Relay, actions);
            }
            (Stage::Routing, event) => self.handle_routing(event, actions),
            (Stage::Opening, event) => self.handle_opening(event, actions),
            (Stage::Calling { ringing }, event) => self.handle_calling(ringing, event, actions),
            (Stage::Announcing, event) => self.handle_announcing(event, actions),
        }
    }

    fn handle_routing(&mut self, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Allowed { targets: 0 } if !self.has_menu => {
                self.end(Cause::NoRoute, EndedBy::Relay, actions)
            }
            Event::Allowed { targets } => {
                self.plan = Plan::new(targets);
                self.stage = Stage::Opening;
                self.has_media = true;
                actions.extend([
                    Action::Disarm(Timer::Route),
                    Action::OpenMedia,
                    Action::Arm(Timer::MediaOpen),
                ]);
            }
            Event::RefusedAloud(cause) => {
                self.stage = Stage::Refusing(cause);
                self.has_media = true;
                actions.extend([
                    Action::Disarm(Timer::Route),
                    Action::OpenMedia,
                    Action::Arm(Timer::MediaOpen),
                ]);
            }
            Event::Elapsed(Timer::Route) => {
                self.end(Cause::StoreUnavailable, EndedBy::Relay, actions);
            }
            // Late, repeated, or handled for all stages alike.
            Event::Refused(_)
            | Event::Told
            | Event::MediaOpened
            | Event::MediaFailed
            | Event::Progress
            | Event::AskedAgain
            | Event::Ringing
            | Event::Answered
            | Event::AnsweredToHear
            | Event::Admitted
            | Event::Declined(_)
            | Event::MenuAsked
            | Event::MenuOver
            | Event::AnsweredUnusable
            | Event::TargetFailed(_)
            | Event::CallerCancelled
            | Event::CallerHungUp
            | Event::CallerVanished
            | Event::CalleeHungUp
            | Event::Stopped(_)
            | Event::Elapsed(_) => {}
        }
    }

    fn handle_refusing(&mut self, cause: Cause, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::MediaOpened => {
                actions.extend([Action::Disarm(Timer::MediaOpen), Action::SpeakRefusal(cause)]);
            }
            Event::CallerCancelled | Event::CallerHungUp => {
                // Its INVITE is answered as a cancelled one (RFC 3261 §9.2, §15.1.2).
                let refusal = Action::RefuseCaller(cause);
                self.end(cause, EndedBy::Relay, actions);
                for action in actions.iter_mut().filter(|action| **action == refusal) {
                    *action = Action::RefuseCaller(Cause::CallerCancelled);
                }
            }
            Event::Told
            | Event::MediaFailed
            | Event::CallerVanished
            | Event::Stopped(_)
            | Event::Elapsed(_) => self.end(cause, EndedBy::Relay, actions),
            Event::Allowed { .. }
            | Event::Refused(_)
            | Event::RefusedAloud(_)
            | Event::Progress
            | Event::AskedAgain
            | Event::Ringing
            | Event::Answered
            | Event::AnsweredToHear
            | Event::Admitted
            | Event::Declined(_)
            | Event::MenuAsked
            | Event::MenuOver
            | Event::AnsweredUnusable
            | Event::TargetFailed(_)
            | Event::CalleeHungUp => {}
        }
    }

    fn handle_opening(&mut self, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::MediaOpened if !self.plan.has_next() => {
                actions.push(Action::Disarm(Timer::MediaOpen));
                self.reach_nobody(Cause::NoRoute, EndedBy::Relay, actions);
            }
            Event::MediaOpened => {
                actions.extend([Action::Disarm(Timer::MediaOpen), Action::Arm(Timer::Ring)]);
                self.try_next(Attempted::Silent, actions);
            }
            Event::MediaFailed | Event::Elapsed(Timer::MediaOpen) => {
                self.end(Cause::NoMediaPort, EndedBy::Relay, actions);
            }
            Event::Allowed { .. }
            | Event::Refused(_)
            | Event::RefusedAloud(_)
            | Event::Told
            | Event::Progress
            | Event::AskedAgain
            | Event::Ringing
            | Event::Answered
            | Event::AnsweredToHear
            | Event::Admitted
            | Event::Declined(_)
            | Event::MenuAsked
            | Event::MenuOver
            | Event::AnsweredUnusable
            | Event::TargetFailed(_)
            | Event::CallerCancelled
            | Event::CallerHungUp
            | Event::CallerVanished
            | Event::CalleeHungUp
            | Event::Stopped(_)
            | Event::Elapsed(_) => {}
        }
    }

    fn handle_calling(&mut self, ringing: bool, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Progress => self.trunk_lives(actions),
            Event::Ringing => {
                self.trunk_lives(actions);
                self.stage = Stage::Calling { ringing: true };
                if !ringing {
                    actions.push(Action::RingCaller);
                }
            }
            Event::Answered => {
                actions.extend([Action::Disarm(Timer::Failover), Action::Disarm(Timer::Ring)]);
                self.bridge(actions);
            }
            Event::AnsweredToHear => {
                actions.extend([Action::Disarm(Timer::Failover), Action::Disarm(Timer::Ring)]);
                if !ringing {
                    actions.push(Action::RingCaller);
                }
                self.stage = Stage::Announcing;
                actions.push(Action::Announce);
            }
            Event::AnsweredUnusable => {
                self.end(Cause::MediaUnacceptable, EndedBy::Callee, actions);
            }
            // Ports that were promised could not be had after all.
            Event::MediaFailed => self.end(Cause::NoMediaPort, EndedBy::Relay, actions),
            Event::MenuAsked if self.has_menu => {
                self.open_menu(None, Cause::CallerCancelled, actions);
            }
            Event::TargetFailed(how) => self.try_next(how, actions),
            Event::AskedAgain => {
                self.plan.ask_again();
                if self.plan.has_next() {
                    actions.push(Action::Arm(Timer::Failover));
                }
            }
            // The BYE has overtaken the 2xx.
            Event::CalleeHungUp => self.end(Cause::CalleeHangup, EndedBy::Callee, actions),
            Event::Elapsed(Timer::Failover) if self.plan.has_next() => {
                actions.push(Action::DropTarget(Cause::TrunkFailed));
                self.try_next(Attempted::Silent, actions);
            }
            Event::Elapsed(Timer::Ring) => {
                let cause = if self.plan.is_alive() { Cause::NoAnswer } else { Cause::TrunkFailed };
                self.reach_nobody(cause, EndedBy::Relay, actions);
            }
            Event::Allowed { .. }
            | Event::Refused(_)
            | Event::RefusedAloud(_)
            | Event::Told
            | Event::MediaOpened
            | Event::Admitted
            | Event::Declined(_)
            | Event::MenuAsked
            | Event::MenuOver
            | Event::CallerCancelled
            | Event::CallerHungUp
            | Event::CallerVanished
            | Event::Stopped(_)
            | Event::Elapsed(_) => {}
        }
    }

    fn handle_announcing(&mut self, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Admitted => self.bridge(actions),
            // Whom the callee's silence ends, the relay has ended.
            Event::Declined(Cause::WhisperTimeout) => {
                self.end(Cause::WhisperTimeout, EndedBy::Relay, actions);
            }
            Event::Declined(cause) => self.end(cause, EndedBy::Callee, actions),
            Event::CalleeHungUp => self.end(Cause::CalleeHangup, EndedBy::Callee, actions),
            Event::MediaFailed => self.end(Cause::NoMediaPort, EndedBy::Relay, actions),
            // Other phones of a fork may go on for a while.
            Event::Allowed { .. }
            | Event::Refused(_)
            | Event::RefusedAloud(_)
            | Event::Told
            | Event::MediaOpened
            | Event::Progress
            | Event::AskedAgain
            | Event::Ringing
            | Event::Answered
            | Event::AnsweredToHear
            | Event::MenuAsked
            | Event::MenuOver
            | Event::AnsweredUnusable
            | Event::TargetFailed(_)
            | Event::CallerCancelled
            | Event::CallerHungUp
            | Event::CallerVanished
            | Event::Stopped(_)
            | Event::Elapsed(_) => {}
        }
    }

    fn bridge(&mut self, actions: &mut Vec<Action>) {
        self.stage = Stage::Bridged;
        actions.extend([Action::Bridge, Action::AnswerCaller, Action::Arm(Timer::Duration)]);
    }

    fn handle_bridged(&mut self, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::CallerHungUp => self.end(Cause::CallerHangup, EndedBy::Caller, actions),
            Event::CalleeHungUp => self.end(Cause::CalleeHangup, EndedBy::Callee, actions),
            Event::MediaFailed => self.end(Cause::NoMediaPort, EndedBy::Relay, actions),
            Event::Elapsed(Timer::Duration) => {
                self.end(Cause::MaxDuration, EndedBy::Relay, actions);
            }
            // A CANCEL that crossed our 200 changes nothing: the caller has to send BYE.
            Event::Allowed { .. }
            | Event::Refused(_)
            | Event::RefusedAloud(_)
            | Event::Told
            | Event::MediaOpened
            | Event::Progress
            | Event::AskedAgain
            | Event::Ringing
            | Event::Answered
            | Event::AnsweredToHear
            | Event::Admitted
            | Event::Declined(_)
            | Event::MenuAsked
            | Event::MenuOver
            | Event::AnsweredUnusable
            | Event::TargetFailed(_)
            | Event::CallerCancelled
            | Event::CallerVanished
            | Event::Stopped(_)
            | Event::Elapsed(_) => {}
        }
    }

    fn trunk_lives(&mut self, actions: &mut Vec<Action>) {
        if self.plan.mark_alive() {
            actions.push(Action::Disarm(Timer::Failover));
        }
    }

    /// Asks the next trunk where the last one failed in a way that lets another one help.
    fn try_next(&mut self, how: Attempted, actions: &mut Vec<Action>) {
        let ringing = matches!(self.stage, Stage::Calling { ringing: true });
        if let Some(cause) = how.final_cause(ringing) {
            return self.reach_nobody(cause, EndedBy::Callee, actions);
        }
        let Some(target) = self.plan.next() else {
            let (cause, by) = how.last_cause();
            return self.reach_nobody(cause, by, actions);
        };
        self.stage = Stage::Calling { ringing };
        actions.push(Action::TryTarget(target));
        actions.push(if self.plan.has_next() {
            Action::Arm(Timer::Failover)
        } else {
            Action::Disarm(Timer::Failover)
        });
    }

    /// Ends both legs, each as its state demands, and the media.
    fn end(&mut self, cause: Cause, by: EndedBy, actions: &mut Vec<Action>) {
        match self.stage {
            Stage::Routing => actions.extend([Action::Disarm(Timer::Route)]),
            Stage::Opening => actions.extend([Action::Disarm(Timer::MediaOpen)]),
            Stage::Refusing(_) => {
                actions.extend([Action::Disarm(Timer::MediaOpen), Action::Disarm(Timer::Speech)])
            }
            Stage::Calling { .. } => actions.extend([
                Action::Disarm(Timer::Failover),
                Action::Disarm(Timer::Ring),
                Action::DropTarget(cause),
            ]),
            Stage::Announcing => {
                actions.extend([Action::Disarm(Timer::Speech), Action::EndCallee(cause)]);
            }
            Stage::Bridged => actions.extend([
                Action::Disarm(Timer::Duration),
                Action::EndCaller(cause),
                Action::EndCallee(cause),
            ]),
            Stage::Menu => actions.extend([
                Action::Disarm(Timer::Duration),
                Action::Disarm(Timer::Speech),
                Action::EndCaller(cause),
            ]),
            Stage::Over => return,
        }
        if !matches!(self.stage, Stage::Bridged | Stage::Menu) {
            actions.push(Action::RefuseCaller(cause));
        }
        if self.has_media {
            actions.push(Action::CloseMedia);
        }
        self.stage = Stage::Over;
        actions.push(Action::Finish { cause, by });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds events in order and returns what the last one asked for.
    fn last_actions(events: &[Event]) -> (Stage, Vec<Action>) {
        let mut coupling = Coupling::new();
        let mut actions = Vec::new();
        for event in events {
            actions.clear();
            coupling.handle(*event, &mut actions);
        }
        (coupling.stage(), actions)
    }

    const ALLOWED: Event = Event::Allowed { targets: 2 };

    fn finish(actions: &[Action]) -> Option<(Cause, EndedBy)> {
        actions.iter().find_map(|action| {
            if let Action::Finish { cause, by } = action { Some((*cause, *by)) } else { None }
        })
    }

    #[test]
    fn a_call_is_routed_opened_called_and_bridged() {
        let (stage, actions) = last_actions(&[
            ALLOWED,
            Event::MediaOpened,
            Event::Progress,
            Event::Ringing,
            Event::Answered,
        ]);
        assert_eq!(stage, Stage::Bridged);
        assert!(actions.contains(&Action::Bridge) && actions.contains(&Action::AnswerCaller));
    }

    #[test]
    fn each_stage_ends_with_its_own_actions_when_the_caller_gives_up() {
        let give_up = |before: &[Event]| {
            let events: Vec<Event> =
                before.iter().copied().chain([Event::CallerCancelled]).collect();
            last_actions(&events).1
        };
        let refuse = Action::RefuseCaller(Cause::CallerCancelled);
        let drop_target = Action::DropTarget(Cause::CallerCancelled);
        let routing = give_up(&[]);
        assert!(routing.contains(&refuse) && !routing.contains(&Action::CloseMedia));
        let opening = give_up(&[ALLOWED]);
        assert!(opening.contains(&Action::CloseMedia) && !opening.contains(&drop_target));
        let calling = give_up(&[ALLOWED, Event::MediaOpened]);
        assert!(calling.contains(&drop_target) && calling.contains(&refuse));
        assert_eq!(finish(&calling), Some((Cause::CallerCancelled, EndedBy::Caller)));
        let bridged = give_up(&[ALLOWED, Event::MediaOpened, Event::Answered]);
        assert!(bridged.is_empty(), "a CANCEL that crossed the 200 changes nothing");
    }

    const HEARING: [Event; 3] = [ALLOWED, Event::MediaOpened, Event::AnsweredToHear];

    #[test]
    fn a_callee_who_is_told_who_calls_is_connected_only_when_admitted() {
        let (stage, actions) = last_actions(&HEARING);
        assert_eq!(stage, Stage::Announcing);
        let told = [Action::RingCaller, Action::Announce];
        assert!(actions.ends_with(&told), "{actions:?}");
        let (stage, actions) = last_actions(&[&HEARING[..], &[Event::Admitted]].concat());
        let bridged = [Action::Bridge, Action::AnswerCaller, Action::Arm(Timer::Duration)];
        assert_eq!((stage, actions.as_slice()), (Stage::Bridged, &bridged[..]));
    }

    #[test]
    fn who_is_told_who_calls_while_it_rings_is_no_news_to_the_caller() {
        let ringing = [ALLOWED, Event::MediaOpened, Event::Ringing, Event::AnsweredToHear];
        assert!(!last_actions(&ringing).1.contains(&Action::RingCaller));
    }

    #[test]
    fn every_way_out_of_an_announcement_refuses_the_caller_and_ends_the_callee() {
        let ways = [
            (Event::Declined(Cause::WhisperRefused), Cause::WhisperRefused, EndedBy::Callee),
            (Event::CalleeHungUp, Cause::CalleeHangup, EndedBy::Callee),
            (Event::CallerCancelled, Cause::CallerCancelled, EndedBy::Caller),
            (Event::Stopped(Cause::BindingExpired), Cause::BindingExpired, EndedBy::Relay),
            (Event::MediaFailed, Cause::NoMediaPort, EndedBy::Relay),
        ];
        for (event, cause, by) in ways {
            let (stage, actions) = last_actions(&[&HEARING[..], &[event]].concat());
            let wanted = [
                Action::Disarm(Timer::Speech),
                Action::EndCallee(cause),
                Action::RefuseCaller(cause),
                Action::CloseMedia,
                Action::Finish { cause, by },
            ];
            assert_eq!((stage, actions.as_slice()), (Stage::Over, &wanted[..]), "{event:?}");
        }
    }

    #[test]
    fn a_caller_is_told_why_and_refused_for_that_whatever_happens_meanwhile() {
        let cause = Cause::NumberUnknown;
        let told = [Event::RefusedAloud(cause), Event::MediaOpened];
        let (stage, actions) = last_actions(&told);
        assert_eq!(stage, Stage::Refusing(cause));
        assert!(actions.contains(&Action::SpeakRefusal(cause)));
        let ends = [
            Event::Told,
            Event::CallerCancelled,
            Event::MediaFailed,
            Event::Stopped(Cause::Draining),
            Event::Elapsed(Timer::Speech),
        ];
        for end in ends {
            let (stage, actions) = last_actions(&[&told[..], &[end]].concat());
            assert_eq!(stage, Stage::Over);
            let is_given_up = end == Event::CallerCancelled;
            let said = if is_given_up { Cause::CallerCancelled } else { cause };
            assert!(actions.contains(&Action::RefuseCaller(said)), "{end:?}");
            assert!(actions.contains(&Action::CloseMedia), "{end:?}");
            assert_eq!(finish(&actions), Some((cause, EndedBy::Relay)));
        }
    }

    #[test]
    fn several_ringing_phones_ring_the_caller_once() {
        let (_, actions) =
            last_actions(&[ALLOWED, Event::MediaOpened, Event::Ringing, Event::Ringing]);
        assert!(actions.is_empty());
    }

    #[test]
    fn silence_moves_on_to_the_second_trunk_and_drops_the_first() {
        let (_, actions) =
            last_actions(&[ALLOWED, Event::MediaOpened, Event::Elapsed(Timer::Failover)]);
        let first = Action::DropTarget(Cause::TrunkFailed);
        let wanted = [first, Action::TryTarget(1), Action::Disarm(Timer::Failover)];
        assert_eq!(actions, wanted);
    }

    #[test]
    fn a_trunk_that_lives_is_not_left_for_silence() {
        let (_, actions) = last_actions(&[ALLOWED, Event::MediaOpened, Event::Progress]);
        assert_eq!(actions, [Action::Disarm(Timer::Failover)]);
    }

    #[test]
    fn only_a_failed_trunk_is_replaced_and_a_refusal_is_final() {
        let failed = |how| last_actions(&[ALLOWED, Event::MediaOpened, Event::TargetFailed(how)]).1;
        let statuses = [503, 401, 407, 408].map(Attempted::Status);
        for how in statuses.into_iter().chain([Attempted::Silent, Attempted::Unreachable]) {
            assert!(failed(how).contains(&Action::TryTarget(1)), "{how:?}");
        }
        assert_eq!(finish(&failed(Attempted::Status(486))), Some((Cause::Busy, EndedBy::Callee)));
        let redirected = finish(&failed(Attempted::Status(302)));
        assert_eq!(redirected, Some((Cause::TrunkFailed, EndedBy::Callee)));
    }

    #[test]
    fn the_last_trunk_failing_ends_the_call() {
        let failed = Event::TargetFailed(Attempted::Unreachable);
        let (stage, actions) = last_actions(&[ALLOWED, Event::MediaOpened, failed, failed]);
        assert_eq!(stage, Stage::Over);
        assert_eq!(finish(&actions), Some((Cause::TrunkFailed, EndedBy::Relay)));
    }

    #[test]
    fn ring_time_over_is_no_answer_only_where_a_trunk_lives() {
        let rung_out = Event::Elapsed(Timer::Ring);
        let one = Event::Allowed { targets: 1 };
        let (_, silent) = last_actions(&[one, Event::MediaOpened, rung_out]);
        assert_eq!(finish(&silent), Some((Cause::TrunkFailed, EndedBy::Relay)));
        let (_, rang) = last_actions(&[one, Event::MediaOpened, Event::Ringing, rung_out]);
        assert_eq!(finish(&rang), Some((Cause::NoAnswer, EndedBy::Relay)));
    }

    #[test]
    fn what_comes_after_the_end_changes_nothing() {
        let (stage, actions) = last_actions(&[
            ALLOWED,
            Event::MediaOpened,
            Event::Answered,
            Event::CalleeHungUp,
            Event::CallerHungUp,
        ]);
        assert_eq!((stage, actions.len()), (Stage::Over, 0));
    }

    #[test]
    fn every_way_in_which_the_relay_stops_a_call_ends_both_legs() {
        let (_, actions) = last_actions(&[
            ALLOWED,
            Event::MediaOpened,
            Event::Answered,
            Event::Stopped(Cause::MediaTimeout),
        ]);
        assert!(actions.contains(&Action::EndCaller(Cause::MediaTimeout)));
        assert!(actions.contains(&Action::EndCallee(Cause::MediaTimeout)));
        assert!(actions.contains(&Action::CloseMedia));
        assert_eq!(finish(&actions), Some((Cause::MediaTimeout, EndedBy::Relay)));
    }

    /// Any order of events at all: one end, one final word to the caller, nothing afterwards.
    #[test]
    fn whatever_happens_in_whatever_order_there_is_one_end() {
        use rand_core::{Rng, SeedableRng};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        for _ in 0..20_000 {
            let mut coupling = Coupling::new();
            let mut actions = Vec::new();
            for _ in 0..12 {
                let event = EVENTS[rng.next_u32() as usize % EVENTS.len()];
                coupling.handle(event, &mut actions);
            }
            coupling.handle(Event::Stopped(Cause::Draining), &mut actions);
            let count =
                |wanted: fn(&Action) -> bool| actions.iter().filter(|it| wanted(it)).count();
            assert_eq!(coupling.stage(), Stage::Over);
            assert_eq!(count(|it| matches!(it, Action::Finish { .. })), 1);
            let answered = count(|it| matches!(it, Action::AnswerCaller));
            assert_eq!(answered + count(|it| matches!(it, Action::RefuseCaller(_))), 1);
            assert_eq!(answered, count(|it| matches!(it, Action::EndCaller(_))));
            let announced = count(|it| matches!(it, Action::Announce));
            let ended = count(|it| matches!(it, Action::EndCallee(_)));
            assert!(answered.max(announced) == ended && ended <= 1);
            assert_eq!(answered, count(|it| matches!(it, Action::Bridge)));
            let opened = count(|it| matches!(it, Action::OpenMedia));
            assert_eq!(opened, count(|it| matches!(it, Action::CloseMedia)));
            assert!(matches!(actions.last(), Some(Action::Finish { .. })));
            check_timers(&actions);
        }
    }

    /// What is armed is disarmed before the end, unless its time has come.
    fn check_timers(actions: &[Action]) {
        for timer in [Timer::Route, Timer::MediaOpen, Timer::Failover, Timer::Ring, Timer::Duration]
        {
            let last = actions.iter().rev().find(
                |action| matches!(action, Action::Arm(it) | Action::Disarm(it) if *it == timer),
            );
            assert!(!matches!(last, Some(Action::Arm(_))), "{timer:?} is left in {actions:?}");
        }
    }

    const EVENTS: [Event; 28] = [
        ALLOWED,
        ALLOWED,
        Event::Allowed { targets: 0 },
        Event::RefusedAloud(Cause::NumberUnknown),
        Event::Told,
        Event::MediaOpened,
        Event::MediaOpened,
        Event::MediaFailed,
        Event::Progress,
        Event::AskedAgain,
        Event::Ringing,
        Event::Answered,
        Event::AnsweredToHear,
        Event::AnsweredToHear,
        Event::Admitted,
        Event::Declined(Cause::WhisperLater),
        Event::AnsweredUnusable,
        Event::TargetFailed(Attempted::Status(503)),
        Event::TargetFailed(Attempted::Status(486)),
        Event::CallerCancelled,
        Event::CallerHungUp,
        Event::CallerVanished,
        Event::CalleeHungUp,
        Event::Elapsed(Timer::Route),
        Event::Elapsed(Timer::MediaOpen),
        Event::Elapsed(Timer::Failover),
        Event::Elapsed(Timer::Ring),
        Event::Elapsed(Timer::Duration),
    ];
}
