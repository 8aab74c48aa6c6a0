//! What operators, tenants and bad luck do to a world.

use std::time::Duration;

use maskline::call::io::{Control, Input};
use maskline::domain::cause::Cause;
use maskline::domain::id::BindingId;
use maskline::domain::purpose::Purpose;
use maskline::rtp::plane::Report;

use crate::cast::{Place, Who};
use crate::chance::Chance;
use crate::model::Facts;
use crate::witness::EndedBinding;
use crate::world::{Context, Event, World};

/// Between a commit in the store and the order to the brain, at most.
const ORDER_DELAY_MAX: Duration = Duration::from_millis(5);

/// Something that an operator, a tenant or bad luck does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    Bind {
        agent: Who,
        x: &'static str,
        subscriber: Who,
    },
    Unbind {
        x: &'static str,
        drops_calls: bool,
    },
    Suspend {
        x: &'static str,
        drops_calls: bool,
    },
    Resume {
        x: &'static str,
    },
    SuspendTenant(Place),
    /// From here on this agent may call for one purpose alone.
    Allow {
        agent: Who,
        only: Purpose,
    },
    /// Ends the latest live call that this person dialled.
    TerminateCallOf(Who),
    Drain,
    TerminateAll,
    StoreFails(bool),
    RecorderStalls(bool),
    PortsFail(bool),
    /// The process of the media plane ends, and another one takes its place.
    MediaPlaneEnds,
    PullCable(Who),
    /// The host of this phone answers with ICMP "port unreachable".
    Unplug(Who),
    /// The wall clock is set forward; the monotonic clock is not.
    SetWallForward(Duration),
    /// The same, back.
    SetWallBack(Duration),
}

impl Action {
    /// What makes it good again, where only that lets the story end.
    pub(crate) fn relief(self) -> Option<Self> {
        let reliefs = [
            (Self::StoreFails(true), Self::StoreFails(false)),
            (Self::RecorderStalls(true), Self::RecorderStalls(false)),
            (Self::PortsFail(true), Self::PortsFail(false)),
        ];
        reliefs.into_iter().find(|(trouble, _)| *trouble == self).map(|(_, relief)| relief)
    }
}

impl World {
    pub(crate) fn act(&mut self, action: Action) {
        match action {
            Action::Bind { agent, x, subscriber } => {
                if self.store.facts().bindings.iter().all(|binding| binding.x != x) {
                    self.add_binding(agent, x, subscriber, None);
                    self.store.invalidate();
                }
            }
            Action::Unbind { x, drops_calls } => {
                self.end_binding(x, Cause::BindingExpired, drops_calls, |facts| {
                    facts.bindings.retain(|binding| binding.x != x);
                    facts.cooling.insert(x);
                });
            }
            Action::Suspend { x, drops_calls } => {
                self.end_binding(x, Cause::BindingSuspended, drops_calls, |facts| {
                    for binding in facts.bindings.iter_mut().filter(|binding| binding.x == x) {
                        binding.suspended = true;
                    }
                });
            }
            Action::Resume { x } => self.resume(x),
            Action::SuspendTenant(tenant) => {
                self.commit(|facts| _ = facts.suspended_tenants.insert(tenant));
                self.store.invalidate();
            }
            Action::Allow { agent, only } => {
                self.commit(|facts| _ = facts.allowed.insert(agent.agent(), only));
                self.store.invalidate();
            }
            Action::TerminateCallOf(who) => {
                let call = self.witness.borrow().live_call_of(who);
                if let Some(call) = call {
                    self.order(Control::Terminate { call });
                }
            }
            Action::Drain => self.order(Control::Drain),
            Action::TerminateAll => self.order(Control::TerminateAll),
            Action::StoreFails(fails) => self.store.failing = fails,
            Action::RecorderStalls(stalls) => self.recorder.stalled = stalls,
            Action::PortsFail(fails) => self.media.fails = fails,
            Action::MediaPlaneEnds => {
                for session in self.media.end_all(self.now.monotonic) {
                    self.queue_in(Duration::ZERO, Event::Report(Report::Lost { session }));
                }
            }
            Action::PullCable(who) => {
                self.net.darken(who.ip());
                self.people.borrow_mut().cut_off.insert(who);
            }
            Action::Unplug(who) => {
                self.unplugged.push(who);
                self.act(Action::PullCable(who));
            }
            Action::SetWallForward(by) => self.wall_ahead += by,
            Action::SetWallBack(by) => self.wall_behind += by,
        }
    }

    pub(crate) fn order(&mut self, control: Control) {
        self.feed(Input::Control(control), &Context::default());
    }

    fn resume(&mut self, x: &'static str) {
        self.commit(|facts| {
            for binding in facts.bindings.iter_mut().filter(|binding| binding.x == x) {
                binding.suspended = false;
            }
        });
        self.store.invalidate();
        if let Some(binding) = self.store.find_binding_id(x) {
            self.witness.borrow_mut().ended_bindings.remove(&binding);
        }
    }

    fn end_binding(
        &mut self,
        x: &'static str,
        cause: Cause,
        drops_calls: bool,
        change: impl FnOnce(&mut Facts),
    ) {
        let live = self.store.facts().bindings.iter().any(|binding| binding.x == x);
        let Some(binding) = self.store.find_binding_id(x).filter(|_| live) else { return };
        self.commit(change);
        let wait = self.order_rng.between(Duration::ZERO, ORDER_DELAY_MAX);
        self.queue_in(wait, Event::Order { binding, cause, drops_calls });
    }

    /// The cache forgets, the brain is told, and only then is the change acknowledged.
    pub(crate) fn give_order(&mut self, binding: BindingId, cause: Cause, drop_calls: bool) {
        self.trace.note(self.elapsed(), "order", &[]);
        self.store.invalidate();
        let ended = EndedBinding { acknowledged: self.now.monotonic, drops_calls: drop_calls };
        self.witness.borrow_mut().ended_bindings.insert(binding, ended);
        let ordered_at = self.now.monotonic;
        self.order(Control::BindingEnded { binding, cause, drop_calls, ordered_at });
    }
}
