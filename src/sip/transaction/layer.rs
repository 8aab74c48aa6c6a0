//! The table of all transactions of one shard.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::client::Client;
use super::client_invite::ClientInvite;
use super::key::{matched_method_name, write_merge_key, write_server_key};
use super::server::Server;
use super::server_invite::ServerInvite;
use super::slot::{Audience, Cancel, Key, Machine, Role, Slot, SlotId};
use super::table::Table;
use super::{
    ClientFailure, ClientId, Effects, Event, Found, Full, Output, Owner, ServerId, Verdict,
};
use crate::sip::header::HeaderId;
use crate::sip::ids::Branch;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::reason::Reason;
use crate::sip::transport::Hop;
use crate::sip::write::{Request, ack_of, cancel_of, new_buffer};

/// Most transactions of one shard. A full table is answered 503 without a transaction.
pub const TRANSACTIONS_MAX: usize = 1 << 18;
/// Above this only requests inside dialogs and our own are taken, so that calls can still end. The
/// last eighth is for ours: who floods a dialog of its own shall not keep the BYE from others.
pub const ATTEMPT_TRANSACTIONS_MAX: usize = attempts_max(TRANSACTIONS_MAX);
/// Most outputs that may wait. Datagrams above it are lost, as the network may lose them too.
pub const OUTPUTS_MAX: usize = 1 << 16;

/// The transactions of one shard. After every call, drain [`Self::poll_output`], then sleep until
/// [`Self::poll_timeout`].
pub struct Transactions {
    table: Table,
    outputs: VecDeque<Output>,
    lost_transmits: u64,
    /// What the last response challenges.
    challenged: Option<Bytes>,
    /// The key and the hash of the request that was looked up last, and how many were.
    key: Vec<u8>,
    hash: u64,
    turn: u64,
    /// Room for keys of what a request refers to.
    other_key: Vec<u8>,
    buffer: BytesMut,
    transactions_max: usize,
}

impl Default for Transactions {
    fn default() -> Self {
        Self::new()
    }
}

impl Transactions {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::with_max(TRANSACTIONS_MAX)
    }

    /// An empty table with another maximum.
    #[must_use]
    pub fn with_max(transactions_max: usize) -> Self {
        Self {
            table: Table::with_room(transactions_max),
            outputs: VecDeque::new(),
            lost_transmits: 0,
            challenged: None,
            key: Vec::new(),
            hash: 0,
            turn: 0,
            other_key: Vec::new(),
            buffer: new_buffer(),
            transactions_max,
        }
    }

    /// Looks for the transaction of a message: of a request, the one that a repeat of it belongs
    /// to, or the INVITE that an ACK means; of a response, that of our request.
    pub fn find(&mut self, message: &Message) -> Found {
        self.turn += 1;
        let slot = if message.is_request() {
            write_server_key(&mut self.key, message, matched_method_name(message));
            self.hash = self.table.hash(&self.key);
            self.table.find_server(self.hash, &self.key)
        } else {
            let branch = message.top_via().branch.and_then(Branch::parse);
            branch.and_then(|branch| self.table.find_client(branch, message.method()))
        };
        Found { slot, turn: self.turn }
    }

    /// Takes a message that came from `source`, and for which `found` was found just now.
    pub fn receive(
        &mut self,
        now: Instant,
        message: &Message,
        found: Found,
        source: impl Into<Hop>,
    ) -> Event {
        let Found { slot, .. } = if found.turn == self.turn { found } else { self.find(message) };
        match (message.status(), message.method()) {
            (Some(status), _) => self.receive_response(now, message, slot, status),
            (None, Method::Ack) => self.receive_ack(now, slot),
            (
                None,
                Method::Invite
                | Method::Bye
                | Method::Cancel
                | Method::Options
                | Method::Register
                | Method::Prack
                | Method::Update
                | Method::Info
                | Method::Refer
                | Method::Subscribe
                | Method::Notify
                | Method::Publish
                | Method::Message
                | Method::Other,
            ) => self.receive_request(now, message, slot, source.into()),
        }
    }

    /// Answers a request: `bytes` is the encoded response with `status`. A 2xx to an INVITE may be
    /// given again and is then sent again; any other answer after a final one is ignored.
    pub fn respond(&mut self, now: Instant, server: ServerId, status: u16, bytes: Bytes) {
        self.step(now, server.0, |machine| machine.respond(now, status, bytes));
    }

    /// Sends the last answer to a request once more.
    pub fn repeat(&mut self, now: Instant, server: ServerId) {
        self.step(now, server.0, |machine| machine.repeat_request(now));
    }

    /// Sends a request of ours; anything but an ACK, which has no transaction.
    ///
    /// # Errors
    /// [`Full`] when the table is; nothing was sent then.
    pub fn request(
        &mut self,
        now: Instant,
        request: Request,
        to: impl Into<Hop>,
        owner: Owner,
    ) -> Result<ClientId, Full> {
        if self.table.len() >= self.transactions_max {
            return Err(Full);
        }
        let to = to.into();
        self.transmit(to, request.bytes.clone());
        Ok(ClientId(self.insert_client(now, request, to, owner, Audience::User)))
    }

    /// Withdraws an INVITE of ours: its CANCEL goes out as soon as a provisional response has come.
    /// Nothing happens after a final response.
    pub fn cancel(&mut self, now: Instant, client: ClientId) {
        self.cancel_for(now, client, None);
    }

    /// As [`Self::cancel`], and says why.
    pub fn cancel_for(&mut self, now: Instant, client: ClientId, why: Option<Reason>) {
        let Some(slot) = self.table.slot_mut(client.0) else { return };
        if slot.cancel != Cancel::No || slot.machine.unfinished_invite().is_none() {
            return;
        }
        slot.cancel = Cancel::Wanted(why);
        if slot.machine.is_unanswered() {
            // A repeat could ring a phone that nobody calls any more.
            self.step(now, client.0, |machine| {
                machine.cancelled(now);
                Effects::default()
            });
        } else {
            self.send_cancel(now, client.0, why);
        }
    }

    /// The network says that nobody is at `peer`: every request there that has not been
    /// answered at all fails.
    pub fn unreachable(&mut self, now: Instant, peer: impl Into<Hop>) {
        let all = self.table.unanswered_at(peer.into());
        self.fail_unreachable(now, all);
    }

    /// The network says that a request of ours with this branch did not arrive. True when one
    /// there waits for its first answer; then it fails, and so does every INVITE that waits there:
    /// another target may be asked instead. All else goes on: nobody but its peer can be told that
    /// a call is over, and who is away for a moment may hear the next repeat. Anybody can say that
    /// a peer is away, but only who has seen the request knows its branch.
    pub fn undelivered(&mut self, now: Instant, peer: Hop, branch: Branch) -> bool {
        let mut all = self.table.unanswered_at(peer);
        let key = |id: &SlotId| self.table.slot(*id).map(|slot| &slot.key);
        let is_of = |id: &SlotId| matches!(key(id), Some(Key::Client(of, _)) if *of == branch);
        let is_known = all.iter().any(is_of);
        if is_known {
            all.retain(|id| is_of(id) || matches!(key(id), Some(Key::Client(_, Method::Invite))));
            self.fail_unreachable(now, all);
        }
        is_known
    }

    fn fail_unreachable(&mut self, now: Instant, all: Vec<SlotId>) {
        for id in all {
            let step = self.step(now, id, |machine| machine.unreachable(now));
            self.tell_failure(id, step, ClientFailure::Unreachable);
        }
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(id) = self.table.pop_due(now) {
            let step = self.step(now, id, |machine| machine.time_out(now));
            self.tell_failure(id, step, ClientFailure::Timeout);
        }
    }

    /// The request that the response received last has challenged (401 or 407), or has found too
    /// short a session in (422), unless it was cancelled: it may be sent again with what is asked.
    pub fn take_challenged(&mut self) -> Option<Bytes> {
        self.challenged.take()
    }

    /// The header lines with the credentials of an INVITE of ours that was answered with 2xx, for
    /// the ACK to that (RFC 3261 §13.2.2.4).
    #[must_use]
    pub fn credentials(&self, client: ClientId) -> &[u8] {
        self.table.slot(client.0).map_or(b"", |slot| slot.machine.credentials())
    }

    /// Whether the INVITE that a CANCEL means was taken.
    #[must_use]
    pub fn knows_invite_of(&mut self, cancel: &Message) -> bool {
        self.find_invite(cancel).is_some()
    }

    /// Whose request a response is for by its branch, and where that request went.
    #[must_use]
    pub fn asked(&self, found: Found) -> Option<(Owner, Hop)> {
        let slot = self.table.slot(found.slot?)?;
        (slot.key.role() == Role::Client).then_some((slot.owner, slot.peer))
    }

    /// From now on answers to a request go here: its sender is no longer where it was. A response
    /// belongs to its request by the branch (RFC 3261 §17.1.3), on whichever connection it comes.
    pub fn redirect(&mut self, server: ServerId, to: Hop) {
        if let Some(slot) = self.table.slot_mut(server.0) {
            slot.peer = to;
        }
    }

    /// Ties a request of a peer to what the layer above made of it.
    pub fn set_owner(&mut self, server: ServerId, owner: Owner) {
        if let Some(slot) = self.table.slot_mut(server.0) {
            slot.owner = owner;
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`] next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.table.next_deadline()
    }

    /// How many transactions there are, the lingering ones among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nothing is left: no transaction, no timer, no index entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether so much is kept already that what can be answered without a memory should be.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.len() >= self.transactions_max / 2
    }

    /// How many datagrams were not sent since nobody fetched the outputs.
    #[must_use]
    pub fn lost_transmits(&self) -> u64 {
        self.lost_transmits
    }

    fn receive_request(
        &mut self,
        now: Instant,
        message: &Message,
        found: Option<SlotId>,
        source: Hop,
    ) -> Event {
        if let Some(id) = found {
            self.step(now, id, |machine| machine.repeat_request(now));
            return Event::Absorbed;
        }
        let is_attempt = message.to().tag.is_none() && message.method() != Method::Cancel;
        let limit = if is_attempt { attempts_max } else { inside_max };
        let max = limit(self.transactions_max);
        if self.table.len() >= max {
            return Event::Full;
        }
        let key = Key::Server(self.key.as_slice().into());
        let merge = if is_attempt { Some(self.merge_hash(message)) } else { None };
        let merged = merge.is_some_and(|merge| self.table.find_ongoing(merge));
        let reliability = source.transport.reliability();
        let machine = if message.method() == Method::Invite {
            Machine::ServerInvite(ServerInvite::new(reliability))
        } else {
            Machine::Server(Server::new(reliability))
        };
        let peer = message.reply_hop(source);
        let slot = Slot { merge, ..Slot::new(machine, key, self.hash, peer) };
        let server = ServerId(self.table.insert(slot));
        if message.method() == Method::Cancel {
            let invite = self.find_invite(message);
            return Event::Cancel { server, invite };
        }
        if merged { Event::Merged { server } } else { Event::Request { server } }
    }

    fn merge_hash(&mut self, message: &Message) -> u64 {
        write_merge_key(&mut self.other_key, message);
        self.table.hash(&self.other_key)
    }

    /// The INVITE that a CANCEL means.
    fn find_invite(&mut self, cancel: &Message) -> Option<(ServerId, Owner)> {
        write_server_key(&mut self.other_key, cancel, Method::Invite.name().as_bytes());
        let id = self.table.find_server(self.table.hash(&self.other_key), &self.other_key)?;
        Some((ServerId(id), self.table.slot(id)?.owner))
    }

    fn receive_ack(&mut self, now: Instant, invite: Option<SlotId>) -> Event {
        let Some(invite) = invite else { return Event::Ack };
        match self.step(now, invite, |machine| machine.ack(now)) {
            Some(Step { verdict: Verdict::Deliver, .. }) => Event::Ack,
            Some(_) | None => Event::Absorbed,
        }
    }

    fn receive_response(
        &mut self,
        now: Instant,
        message: &Message,
        found: Option<SlotId>,
        status: u16,
    ) -> Event {
        let via = message.top_via();
        // A response to us has our Via alone (RFC 3261 §8.1.3.3).
        if via.more.is_some() || message.headers(HeaderId::Via).nth(1).is_some() {
            return Event::Absorbed;
        }
        let Some(id) = found else { return Event::Stray };
        self.challenged = match status {
            401 | 407 | 422 => self.table.slot_mut(id).and_then(|slot| slot.challenged()),
            _ => None,
        };
        let ack = if status >= 300 { self.make_ack(id, message) } else { None };
        let Some(step) = self.step(now, id, |machine| machine.response(now, status, ack)) else {
            return Event::Absorbed;
        };
        if let Cancel::Wanted(why) = step.cancel
            && status < 200
        {
            self.send_cancel(now, id, why);
        }
        match (step.verdict, step.audience) {
            (Verdict::Deliver, Audience::User) => {
                let (client, owner, to) = (ClientId(id), step.owner, step.peer);
                Event::Response { client, owner, to }
            }
            (Verdict::Deliver, Audience::Nobody) | (Verdict::Absorb | Verdict::Fail, _) => {
                Event::Absorbed
            }
        }
    }

    fn make_ack(&mut self, id: SlotId, response: &Message) -> Option<Bytes> {
        let invite = self.table.slot_mut(id)?.machine.unfinished_invite()?.clone();
        let invite = Message::parse(invite).ok()?;
        Some(ack_of(&mut self.buffer, &invite, response))
    }

    fn send_cancel(&mut self, now: Instant, id: SlotId, why: Option<Reason>) {
        let Some(slot) = self.table.slot_mut(id) else { return };
        let Some(invite) = slot.machine.unfinished_invite().cloned() else { return };
        let Key::Client(branch, _) = slot.key else { return };
        let peer = slot.peer;
        slot.cancel = Cancel::Sent;
        slot.machine.cancelled(now);
        self.table.settle(now, id);
        let Ok(invite) = Message::parse(invite) else { return };
        let bytes = cancel_of(&mut self.buffer, &invite, why);
        self.transmit(peer, bytes.clone());
        // In a full table it goes out once: better than not at all.
        if self.table.len() < self.transactions_max {
            let request = Request { method: Method::Cancel, branch, bytes };
            self.insert_client(now, request, peer, Owner::default(), Audience::Nobody);
        }
    }

    fn insert_client(
        &mut self,
        now: Instant,
        request: Request,
        to: Hop,
        owner: Owner,
        audience: Audience,
    ) -> SlotId {
        let Request { method, branch, bytes } = request;
        let reliability = to.transport.reliability();
        let machine = if method == Method::Invite {
            Machine::ClientInvite(ClientInvite::new(now, bytes, reliability))
        } else {
            Machine::Client(Client::new(now, bytes, reliability))
        };
        let (key, hash) = (Key::Client(branch, method), self.table.client_hash(branch, method));
        let id = self.table.insert(Slot { owner, audience, ..Slot::new(machine, key, hash, to) });
        self.table.settle(now, id);
        id
    }

    /// Runs one machine by one input and sends what it wants sent. `None` when it is gone.
    fn step(
        &mut self,
        now: Instant,
        id: SlotId,
        input: impl FnOnce(&mut Machine) -> Effects,
    ) -> Option<Step> {
        let slot = self.table.slot_mut(id)?;
        let Effects { transmit, verdict } = input(&mut slot.machine);
        let step = Step {
            verdict,
            role: slot.key.role(),
            owner: slot.owner,
            audience: slot.audience,
            cancel: slot.cancel,
            peer: slot.peer,
        };
        self.table.settle(now, id);
        if let Some(bytes) = transmit {
            self.transmit(step.peer, bytes);
        }
        Some(step)
    }

    fn tell_failure(&mut self, id: SlotId, step: Option<Step>, why: ClientFailure) {
        let Some(Step { verdict: Verdict::Fail, role, owner, audience: Audience::User, .. }) = step
        else {
            return;
        };
        self.outputs.push_back(match role {
            Role::Server => Output::AckMissing { server: ServerId(id), owner },
            Role::Client => Output::ClientFailed { client: ClientId(id), owner, why },
        });
    }

    fn transmit(&mut self, to: Hop, bytes: Bytes) {
        if self.outputs.len() < OUTPUTS_MAX {
            self.outputs.push_back(Output::Transmit { to, bytes });
        } else {
            self.lost_transmits += 1;
        }
    }
}

/// What a step did, and of whose transaction: that may be gone by now.
struct Step {
    verdict: Verdict,
    role: Role,
    owner: Owner,
    audience: Audience,
    cancel: Cancel,
    peer: Hop,
}

const fn attempts_max(transactions_max: usize) -> usize {
    transactions_max / 4 * 3
}

const fn inside_max(transactions_max: usize) -> usize {
    transactions_max / 8 * 7
}
