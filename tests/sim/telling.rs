//! The words in which a story sets up its world.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::actions::Action;
use crate::cast::{RELAY_HOST, Who};
use crate::model::Binding;
use crate::net::{Mishap, Quality};
use crate::people::PhoneHandle;
use crate::world::{Event, World};

impl World {
    /// `x` leads agents of this agent's tenant to the subscriber.
    pub(crate) fn bind(mut self, agent: Who, x: &'static str, subscriber: Who) -> Self {
        self.add_binding(agent, x, subscriber, None);
        self
    }

    /// The same, for a time.
    pub(crate) fn bind_for(
        mut self,
        agent: Who,
        x: &'static str,
        subscriber: Who,
        time: Duration,
    ) -> Self {
        let expires_at = Some(self.now.wall + time);
        self.add_binding(agent, x, subscriber, expires_at);
        self
    }

    pub(crate) fn add_binding(
        &mut self,
        agent: Who,
        x: &'static str,
        subscriber: Who,
        expires_at: Option<SystemTime>,
    ) {
        let binding = Binding { x, tenant: agent.place, subscriber, expires_at, suspended: false };
        self.store.bind(binding);
        if !self.store.has_carriers(subscriber) {
            self.store.set_carriers(subscriber, vec![subscriber]);
        }
        self.commit(|facts| {
            if !facts.agents.contains(&agent) {
                facts.agents.push(agent);
            }
        });
    }

    /// This desk answers for its tenant.
    pub(crate) fn desk(mut self, desk: Who) -> Self {
        self.commit(|facts| facts.desks.push(desk));
        self
    }

    /// The trunks to this subscriber, best first; none at all is possible.
    pub(crate) fn reached_by(mut self, subscriber: Who, carriers: &[Who]) -> Self {
        self.store.set_carriers(subscriber, carriers.to_vec());
        self
    }

    pub(crate) fn store_delay(mut self, delay: Duration) -> Self {
        self.store.delay = (delay, delay);
        self
    }

    pub(crate) fn network(mut self, quality: Quality) -> Self {
        self.net.set_quality(quality);
        self
    }

    /// The next `times` datagrams of this phone that begin so are lost.
    pub(crate) fn lose(mut self, from: Who, begins: &'static str, times: u32) -> Self {
        self.net.plan(Mishap { from: from.ip(), begins, times, held_up: None });
        self
    }

    /// The next `times` datagrams of the relay that begin so are lost.
    pub(crate) fn relay_loses(mut self, begins: &'static str, times: u32) -> Self {
        self.net.plan(Mishap { from: RELAY_HOST, begins, times, held_up: None });
        self
    }

    /// The next datagrams of this phone that begin so come late.
    pub(crate) fn hold_up(mut self, from: Who, begins: &'static str, by: Duration) -> Self {
        self.net.plan(Mishap { from: from.ip(), begins, times: 5, held_up: Some(by) });
        self
    }

    /// The next datagram of the relay that begins so comes late.
    pub(crate) fn relay_holds_up(mut self, begins: &'static str, by: Duration) -> Self {
        self.net.plan(Mishap { from: RELAY_HOST, begins, times: 1, held_up: Some(by) });
        self
    }

    /// This phone knows no codec that the relay knows.
    pub(crate) fn speaks_g729_only(self, who: Who) -> Self {
        let mut people = self.people.borrow_mut();
        people.phones.get_mut(&who).expect("everybody has a phone").use_formats("18");
        drop(people);
        self
    }

    /// This phone offers what is no SDP.
    pub(crate) fn offers_rubbish(self, who: Who) -> Self {
        let mut people = self.people.borrow_mut();
        people.phones.get_mut(&who).expect("everybody has a phone").use_formats("rubbish");
        drop(people);
        self
    }

    /// Something happens at this time of the story.
    pub(crate) fn when(mut self, at: Duration, action: Action) -> Self {
        self.act_at(at, action);
        self
    }

    pub(crate) fn act_at(&mut self, at: Duration, action: Action) {
        let instant = self.start.monotonic + at;
        self.queue_at(instant, Event::Act(action));
    }

    pub(crate) fn phone(&self, who: Who) -> PhoneHandle {
        PhoneHandle { people: Rc::clone(&self.people), witness: Rc::clone(&self.witness), who }
    }
}
