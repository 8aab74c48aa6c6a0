//! The stage in which a caller who reached nobody, or asked for it, uses the menu.

use super::{Action, Coupling, Event, Stage};
use crate::call::timers::Timer;
use crate::domain::cause::Cause;
use crate::domain::cdr::EndedBy;

impl Coupling {
    /// The caller is one who may use the menu.
    pub(in crate::call) const fn offer_menu(&mut self) {
        self.has_menu = true;
    }

    /// The caller who may use the menu is offered it; any other call ends.
    pub(super) fn reach_nobody(&mut self, cause: Cause, by: EndedBy, actions: &mut Vec<Action>) {
        if self.has_menu {
            self.open_menu(Some(cause), cause, actions);
        } else {
            self.end(cause, by, actions);
        }
    }

    /// Whoever is being asked for the callee is told `cause`.
    pub(super) fn open_menu(
        &mut self,
        why: Option<Cause>,
        cause: Cause,
        actions: &mut Vec<Action>,
    ) {
        if matches!(self.stage, Stage::Calling { .. }) {
            actions.extend([
                Action::Disarm(Timer::Failover),
                Action::Disarm(Timer::Ring),
                Action::DropTarget(cause),
            ]);
        }
        self.stage = Stage::Menu;
        actions.extend([Action::OpenMenu(why), Action::Arm(Timer::Duration)]);
    }

    pub(super) fn handle_menu(&mut self, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::MenuOver => self.end(Cause::MenuFinished, EndedBy::Relay, actions),
            Event::CallerHungUp => self.end(Cause::CallerHangup, EndedBy::Caller, actions),
            Event::MediaFailed => self.end(Cause::NoMediaPort, EndedBy::Relay, actions),
            Event::Elapsed(Timer::Duration) => {
                self.end(Cause::MaxDuration, EndedBy::Relay, actions);
            }
            // The callee that was given up may go on for a while.
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
            | Event::AnsweredUnusable
            | Event::TargetFailed(_)
            | Event::CallerCancelled
            | Event::CallerVanished
            | Event::CalleeHungUp
            | Event::Stopped(_)
            | Event::Elapsed(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds events in order to a call whose caller may use the menu; what the last one asked for.
    fn last_actions(events: &[Event]) -> (Stage, Vec<Action>) {
        let mut coupling = Coupling::new();
        coupling.offer_menu();
        let mut actions = Vec::new();
        for event in events {
            actions.clear();
            coupling.handle(*event, &mut actions);
        }
        (coupling.stage(), actions)
    }

    const ALLOWED: Event = Event::Allowed { targets: 1 };
    const RINGS: [Event; 3] = [ALLOWED, Event::MediaOpened, Event::Ringing];

    fn opens(why: Option<Cause>) -> [Action; 2] {
        [Action::OpenMenu(why), Action::Arm(Timer::Duration)]
    }

    #[test]
    fn a_call_that_reaches_nobody_goes_to_the_menu_and_gives_the_callee_up() {
        let busy = Event::TargetFailed(crate::call::failover::Attempted::Status(486));
        for (event, cause) in [(busy, Cause::Busy), (Event::Progress, Cause::NoAnswer)] {
            let mut events = RINGS.to_vec();
            events.push(event);
            if cause == Cause::NoAnswer {
                events.push(Event::Elapsed(Timer::Ring));
            }
            let (stage, actions) = last_actions(&events);
            assert_eq!(stage, Stage::Menu);
            assert!(actions.contains(&Action::DropTarget(cause)), "{actions:?}");
            assert!(actions.ends_with(&opens(Some(cause))), "{actions:?}");
        }
    }

    #[test]
    fn without_any_trunk_the_menu_waits_for_its_ports() {
        let none = Event::Allowed { targets: 0 };
        let (stage, actions) = last_actions(&[none]);
        assert_eq!(stage, Stage::Opening);
        assert!(actions.contains(&Action::OpenMedia));
        let (stage, actions) = last_actions(&[none, Event::MediaOpened]);
        assert_eq!(stage, Stage::Menu);
        assert!(actions.ends_with(&opens(Some(Cause::NoRoute))));
    }

    #[test]
    fn who_asks_for_it_gets_it_and_its_end_is_the_end_of_the_call() {
        let mut events = RINGS.to_vec();
        events.push(Event::MenuAsked);
        let (stage, actions) = last_actions(&events);
        assert_eq!(stage, Stage::Menu);
        assert!(actions.ends_with(&opens(None)));
        for (event, cause, by) in [
            (Event::MenuOver, Cause::MenuFinished, EndedBy::Relay),
            (Event::CallerHungUp, Cause::CallerHangup, EndedBy::Caller),
            (Event::CallerVanished, Cause::CallerHangup, EndedBy::Relay),
            (Event::Stopped(Cause::Draining), Cause::Draining, EndedBy::Relay),
            (Event::MediaFailed, Cause::NoMediaPort, EndedBy::Relay),
            (Event::Elapsed(Timer::Duration), Cause::MaxDuration, EndedBy::Relay),
        ] {
            let mut events = events.clone();
            events.push(event);
            let (stage, actions) = last_actions(&events);
            assert_eq!(stage, Stage::Over, "{event:?}");
            assert!(actions.contains(&Action::EndCaller(cause)));
            assert!(actions.contains(&Action::CloseMedia));
            assert_eq!(actions.last(), Some(&Action::Finish { cause, by }));
        }
        for late in [Event::Ringing, Event::Answered, Event::CalleeHungUp, Event::CallerCancelled] {
            let mut events = events.clone();
            events.push(late);
            assert_eq!(last_actions(&events), (Stage::Menu, Vec::new()));
        }
    }
}
