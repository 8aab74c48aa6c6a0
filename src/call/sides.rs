//! The two sides of an answered call by what they have in common: a dialog, an address, media.

use super::branch::Branch;
use super::call::Call;
use super::contacts::{Contacts, flow_of};
use super::core::CallCore;
use super::coupling::Stage;
use super::io::{Output, Peer, PeerRole};
use super::negotiation::Media;
use super::place::{Part, Place};
use super::talk::Talk;
use super::wires::Wires;
use crate::domain::now::Now;
use crate::domain::trunk_media::TrunkMedia;
use crate::rtp::plane::{Command, Side};
use crate::sip::dialog::Dialog;
use crate::sip::message::Message;
use crate::sip::transport::{Hop, Transport};

/// The side that a part of a call is on.
pub(super) const fn side_of(part: Part) -> Side {
    match part {
        Part::Caller => Side::A,
        Part::Callee(_) => Side::B,
    }
}

/// Whether a call may go on by this transport: the keys of its media are for nobody else to read.
fn is_as_private(before: &Peer, after: Transport) -> bool {
    before.transport != Transport::Tls || after == Transport::Tls
}

impl CallCore {
    /// Whether a message comes from where a part of a call is. An agent whose connection was lost
    /// goes on with its call by another one, as soon as it has registered there.
    pub(super) fn comes_from(&self, now: Now, place: Place, peer: &Peer) -> Option<bool> {
        let call = self.calls.get(place.serial)?;
        let is_back = match (place.part, call.leg_a.peer().role) {
            (Part::Caller, PeerRole::Agent { agent, .. }) => {
                let contacts = &self.registrar.contacts;
                is_as_private(call.leg_a.peer(), peer.transport)
                    && contacts.is_registered(now.monotonic, agent, flow_of(peer))
            }
            (Part::Caller | Part::Callee(_), _) => false,
        };
        Some(is_back || call.is_from(place.part, peer))
    }

    /// Goes on speaking to a part of a call where its request has come from.
    pub(super) fn follow(&mut self, place: Place, peer: &Peer, request: &Message) {
        if let (Part::Caller, Some(call)) = (place.part, self.calls.get_mut(place.serial))
            && call.leg_a.follow(peer, request)
        {
            call.answer_where_it_is(&mut self.wires);
        }
    }
}

impl Call {
    /// Before something is said to the caller: a phone whose connection was lost may have another
    /// one now.
    pub(super) fn follow_agent(&mut self, wires: &mut Wires, now: Now, contacts: &Contacts) {
        let peer = self.leg_a.peer();
        let PeerRole::Agent { agent, .. } = peer.role else { return };
        let flow = contacts.successor(now.monotonic, agent, flow_of(peer));
        if let Some(flow) = flow.filter(|flow| is_as_private(peer, flow.0)) {
            self.leg_a.move_to(flow);
            self.answer_where_it_is(wires);
        }
    }

    /// A phone that was lost while it rang hears by its new connection that it was answered.
    fn answer_where_it_is(&self, wires: &mut Wires) {
        if let Some((server, to)) = self.leg_a.answering() {
            wires.transactions.redirect(server, to);
        }
    }

    /// Whether a message comes from where this part is. A trunk is known by its host, and the port
    /// may change: some PBXs send from another one. Behind the address of a softphone there are
    /// others, so that only its own connection is its.
    pub(super) fn is_from(&self, part: Part, peer: &Peer) -> bool {
        match part {
            Part::Caller => {
                let known = self.leg_a.peer();
                match known.role {
                    PeerRole::Agent { .. } | PeerRole::Softphone => flow_of(known) == flow_of(peer),
                    PeerRole::Insurer { .. } | PeerRole::Carrier => {
                        known.trunk == peer.trunk && known.address.ip() == peer.address.ip()
                    }
                }
            }
            Part::Callee(position) => {
                let branch = self.branches.get(usize::from(position));
                branch.is_some_and(|branch| branch.is_from(peer))
            }
        }
    }

    /// The side that an answered part is, if it is the one that talks. A callee may say something
    /// while it is told who calls, and a caller in the menu.
    pub(super) fn talking_side(&mut self, part: Part, request: &Message) -> Option<Side> {
        let talks = match self.stage() {
            Stage::Bridged => true,
            Stage::Announcing => side_of(part) == Side::B,
            Stage::Menu => side_of(part) == Side::A,
            Stage::Routing
            | Stage::Refusing(_)
            | Stage::Opening
            | Stage::Calling { .. }
            | Stage::Over => false,
        };
        if !talks || part != self.part_of(side_of(part)) {
            return None;
        }
        let (dialog, _) = self.line(side_of(part))?;
        dialog.matches_request(request).then_some(side_of(part))
    }

    /// How the media of the trunk of a side behaves.
    pub(super) fn trunk_media(&self, wires: &Wires, side: Side) -> TrunkMedia {
        let trunk = match side {
            Side::A => Some(self.leg_a.peer().trunk),
            Side::B => self.branches.last().map(|branch| branch.target().trunk),
        };
        trunk.map(|trunk| wires.accounts.media(trunk)).unwrap_or_default()
    }

    /// The part that talks on this side.
    pub(super) fn part_of(&self, side: Side) -> Part {
        match side {
            Side::A => Part::Caller,
            Side::B => self.branches.last().map_or(Part::Callee(0), Branch::part),
        }
    }

    /// What a transaction of this side remembers.
    pub(super) fn place_of(&self, side: Side) -> Place {
        Place { serial: self.serial, part: self.part_of(side) }
    }

    /// The dialog that talks on this side, and where our requests go.
    pub(super) fn line(&mut self, side: Side) -> Option<(&mut Dialog, Hop)> {
        match side {
            Side::A => self.leg_a.line(),
            Side::B => self.branches.last_mut()?.line(),
        }
    }

    /// The peer has confirmed the first INVITE, or we have.
    pub(super) fn is_confirmed(&self, side: Side) -> bool {
        match side {
            Side::A => self.leg_a.is_confirmed(),
            Side::B => true,
        }
    }

    /// The living dialog that a request of a peer is in.
    pub(super) fn dialog_of(&mut self, part: Part, request: &Message) -> Option<&mut Dialog> {
        match part {
            Part::Caller if self.leg_a.is_over() => None,
            Part::Caller => Some(self.leg_a.dialog_mut()).filter(|it| it.matches_request(request)),
            Part::Callee(_) => self.branch_mut(part)?.dialog_of(request),
        }
    }

    /// The dialog that a response to a later request of ours is in, whatever became of it.
    pub(super) fn answered_line(
        &mut self,
        part: Part,
        response: &Message,
    ) -> Option<(&mut Dialog, Hop)> {
        match part {
            Part::Caller => self.leg_a.answered_line(response),
            Part::Callee(_) => self.branch_mut(part)?.answered_line(response),
        }
    }

    /// Changes the session, and tells the media plane what has changed of it.
    pub(super) fn change_media<T>(
        &mut self,
        wires: &mut Wires,
        change: impl FnOnce(&mut Talk) -> T,
    ) -> Option<T> {
        let (session, stage) = (self.session(), self.stage());
        let talk = self.talk.as_mut()?;
        let (before, events_before) = (media_of_both(talk), events_of_both(talk));
        let outcome = change(talk);
        let is_early = stage == Stage::Announcing;
        for (side, before) in [Side::A, Side::B].into_iter().zip(before) {
            if is_early && side == Side::A {
                continue;
            }
            let media = talk.media(side).filter(|_| talk.media(side) != before);
            if let Some((remote, keys)) = media {
                let update = Command::Update { session, side, remote, keys };
                wires.outputs.push_back(Output::Media(update));
            }
        }
        let has_other_events = events_of_both(talk) != events_before;
        if has_other_events && stage == Stage::Bridged {
            self.order_keys(wires);
        }
        self.tell_of_hold(wires);
        Some(outcome)
    }
}

fn events_of_both(talk: &Talk) -> [bool; 2] {
    [Side::A, Side::B].map(|side| talk.has_events(side))
}

fn media_of_both(talk: &Talk) -> [Option<Media>; 2] {
    [Side::A, Side::B].map(|side| talk.media(side))
}
