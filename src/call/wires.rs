//! What all calls of a core share: transactions, timers, tags, chance, and the way out.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand_chacha::ChaCha20Rng;

use super::challenge::Accounts;
use super::config::CallConfig;
use super::counters::Counters;
use super::io::{NO_TRUNK, Output, Peer, PeerRole};
use super::names::Names;
use super::place::{Place, Places};
use super::pleas::Pleas;
use super::timers::Timers;
use super::unwanted::Denied;
use crate::domain::cause::Cause;
use crate::domain::id::TrunkId;
use crate::domain::trunk_media::SrtpMode;
use crate::domain::whisper::Unwanted;
use crate::sdp::{MediaNetworks, Srtp};
use crate::sip::dialog::Dialog;
use crate::sip::ids::{Branch, Shard, Tag};
use crate::sip::method::Method;
use crate::sip::overload::Control;
use crate::sip::transaction::{ClientId, Transactions};
use crate::sip::transport::{Hop, Transport};
use crate::sip::write::{self, Source};

/// Everything a leg needs to speak and to be found.
pub(super) struct Wires {
    pub(super) config: CallConfig,
    pub(super) counters: Counters,
    pub(super) transactions: Transactions,
    pub(super) timers: Timers,
    pub(super) places: Places,
    pub(super) outputs: VecDeque<Output>,
    /// How trunks want to be spoken to.
    pub(super) accounts: Accounts,
    /// The buffer all messages are written in.
    pub(super) out: BytesMut,
    /// What peers know us by.
    pub(super) names: Names,
    /// Seconds, as in Retry-After.
    pub(super) retry_after: Box<str>,
    /// Seconds, as in Session-Expires.
    pub(super) session_expires: Box<str>,
    pub(super) shard: Shard,
    /// Callers that are being told why they are refused.
    pub(super) refusals: usize,
    /// What callees have said they do not want, until the end of this input.
    pub(super) unwanted: Vec<Unwanted>,
    /// What of that no route may say yet.
    pub(super) denied: Denied,
    /// What next hops ask of us.
    pub(super) pleas: Pleas,
    /// What we ask of those who send to us, as of now.
    pub(super) control: Control,
    pub(super) rng: ChaCha20Rng,
}

impl Wires {
    pub(super) fn new(config: CallConfig, rng: ChaCha20Rng) -> Self {
        Self {
            counters: Counters::default(),
            transactions: Transactions::new(),
            timers: Timers::default(),
            places: Places::default(),
            outputs: VecDeque::new(),
            accounts: Accounts::default(),
            out: write::new_buffer(),
            names: Names::new(&config),
            retry_after: config.retry_after.as_secs().to_string().into(),
            session_expires: config.session_expires_s.to_string().into(),
            shard: Shard::new(u16::from(config.shard)).expect("a u8 is below the maximum"),
            refusals: 0,
            unwanted: Vec::new(),
            denied: Denied::default(),
            pleas: Pleas::default(),
            control: Control::default(),
            rng,
            config,
        }
    }

    /// A tag for this place; messages that carry it will find it.
    pub(super) fn new_tag(&mut self, place: Place) -> Tag {
        let tag = self.loose_tag();
        self.places.insert(tag, place);
        tag
    }

    /// A tag for an answer that opens no dialog.
    pub(super) fn loose_tag(&mut self) -> Tag {
        Tag::new(self.shard, &mut self.rng)
    }

    pub(super) fn new_branch(&mut self) -> Branch {
        Branch::new(self.shard, &mut self.rng)
    }

    pub(super) fn random_u64(&mut self) -> u64 {
        rand_core::Rng::next_u64(&mut self.rng)
    }

    pub(super) fn random_u128(&mut self) -> u128 {
        u128::from(self.random_u64()) << 64 | u128::from(self.random_u64())
    }

    /// Our media address as a leg is told it whose peer is here: one of the same family, where we
    /// have one.
    pub(super) fn media_for(&self, local: SocketAddr, peer: IpAddr) -> SocketAddr {
        let fits =
            |other: &IpAddr| local.is_ipv4() != peer.is_ipv4() && other.is_ipv4() == peer.is_ipv4();
        let other = self.config.media_other.filter(fits);
        other.map_or(local, |other| SocketAddr::new(other, local.port()))
    }

    /// Which encryption the media of a leg may have: none where others can read its keys. Nothing
    /// is known of a trunk that a route has named before the book does.
    pub(super) fn srtp(&self, transport: Transport, trunk: TrunkId) -> Option<Srtp> {
        if transport != Transport::Tls {
            return Some(Srtp::Off);
        }
        Some(match self.accounts.terms(trunk)?.media.srtp {
            SrtpMode::Off => Srtp::Off,
            SrtpMode::Optional => Srtp::Optional,
            SrtpMode::Required => Srtp::Required,
        })
    }

    /// Where the media of a trunk may be.
    pub(super) fn media_networks(&self, trunk: TrunkId) -> MediaNetworks {
        let networks = self.accounts.terms(trunk).map(|terms| &terms.media.networks);
        let networks = networks.iter().flat_map(|networks| networks.iter());
        MediaNetworks::new(networks.map(|network| (network.address(), network.prefix())))
    }

    /// Which encryption the leg of who calls may have. A softphone that speaks TLS has the choice.
    pub(super) fn srtp_of(&self, peer: &Peer) -> Srtp {
        match peer.role {
            PeerRole::Agent { .. } | PeerRole::Softphone if peer.transport == Transport::Tls => {
                Srtp::Optional
            }
            PeerRole::Agent { .. } | PeerRole::Softphone => Srtp::Off,
            PeerRole::Insurer { .. } | PeerRole::Carrier => {
                self.srtp(peer.transport, peer.trunk).unwrap_or_default()
            }
        }
    }

    /// Where a request came from, for its answer: a trunk may know what we ask of it.
    pub(super) fn source(&self, from: Hop) -> Source {
        let control = (TrunkId::from_u128(from.owner) != NO_TRUNK).then_some(self.control);
        Source { address: from.address, control }
    }

    /// Sends bytes that no transaction guards: an ACK, a stateless answer.
    pub(super) fn transmit(&mut self, to: Hop, bytes: Bytes) {
        self.outputs.push_back(Output::Transmit { to, bytes });
    }

    /// Ends a dialog. `None` when there is no room for one more transaction: the peer then finds
    /// out by itself.
    pub(super) fn bye(
        &mut self,
        now: std::time::Instant,
        dialog: &mut Dialog,
        to: Hop,
        cause: Cause,
        place: Place,
    ) -> Option<ClientId> {
        let branch = self.new_branch();
        let request = dialog
            .request(&mut self.out, Method::Bye, self.names.via_of(to), branch)
            .header(super::egress::REASON, super::egress::end_reason(cause))
            .finish();
        self.transactions.request(now, request, to, place.to_owner()).ok()
    }

    /// The ACK to a 2xx, with the credentials of its INVITE (RFC 3261 §13.2.2.4).
    pub(super) fn ack(&mut self, dialog: &Dialog, to: Hop, invite: Option<ClientId>) -> Bytes {
        let branch = self.new_branch();
        let credentials = invite.map_or(&b""[..], |invite| self.transactions.credentials(invite));
        let ack = dialog.ack(&mut self.out, self.names.via_of(to), branch);
        ack.lines(credentials).finish().bytes
    }
}

/// How long nobody waits any more: 64*T1.
pub(super) const GIVE_UP: Duration = crate::sip::timers::GIVE_UP;
