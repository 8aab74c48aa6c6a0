//! Who must prove who it is before it may call: trunks with a login, and softphones. Wrong answers
//! are written down for whoever watches the door.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::core::CallCore;
use super::io::{Output, Peer, PeerRole, SecurityEvent};
use super::receive::Heard;
use super::trunks::Login;
use crate::domain::id::AgentId;
use crate::domain::now::Now;
use crate::sip::digest::{self, Algorithm, Credentials, Guard, Judgement};
use crate::sip::header::HeaderId;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::transaction::ServerId;
use crate::sip::uri::Uri;

/// The realm of our own challenges. It names no product.
pub const REALM: &str = "sip";

/// Wrong answers of one source within [`FAILURES_TIME`] that are written down.
const FAILURES_MAX: u32 = 10;
const FAILURES_TIME: Duration = Duration::from_secs(60);
/// Sources whose failures are counted at one time.
const SOURCES_MAX: usize = 4_096;
/// The longest user name that is looked up.
const USER_BYTES_MAX: usize = 64;
/// Credentials of one request that are looked at.
const CREDENTIALS_MAX: usize = 4;

/// Judges credentials. Nothing of it exists before somebody must show some.
#[derive(Debug, Default)]
pub(super) struct Door {
    guard: Option<Box<Guard>>,
    failures: BTreeMap<IpAddr, Failures>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    until: Instant,
}

/// What a request shows of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shown {
    /// The right secret.
    Right,
    /// Nothing of use to us, or an answer to an old nonce: it is asked (again).
    Nothing {
        /// The secret was right.
        is_stale: bool,
    },
    /// A wrong secret, or another's name.
    Wrong,
}

/// What credentials come to before anybody is asked whose they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Claim {
    /// Somebody's, and an answer to a question of ours.
    Named,
    /// Nothing of use, or an answer to another question.
    Nothing {
        /// Ask again: it answers what nobody asks any more.
        is_stale: bool,
    },
    /// Nobody's, or for another request.
    Wrong,
}

/// In whose name a wrong answer was given.
#[derive(Clone, Copy)]
pub(super) struct Whose<'a> {
    /// The user name that it came with.
    pub(super) user: &'a str,
    /// The agent whose login that is.
    pub(super) agent: Option<AgentId>,
}

impl Door {
    fn guard(&mut self, mut chance: impl FnMut() -> u64) -> &mut Guard {
        self.guard.get_or_insert_with(|| {
            let mut key = [0; 32];
            for part in key.chunks_exact_mut(8) {
                part.copy_from_slice(&chance().to_be_bytes());
            }
            Box::new(Guard::new(key))
        })
    }

    /// Looks at the credentials of a request that should be of this login.
    fn look(
        &mut self,
        now: Now,
        peer: &Peer,
        message: &Message,
        login: &Login,
        chance: impl FnMut() -> u64,
    ) -> Shown {
        let Some(credentials) = credentials_of(message) else {
            return Shown::Nothing { is_stale: false };
        };
        if credentials.user != login.user.as_bytes() {
            return Shown::Wrong;
        }
        if credentials.algorithm < login.least {
            return Shown::Nothing { is_stale: false };
        }
        if !is_same_target(credentials.uri(), message.request_uri_text()) {
            return Shown::Wrong;
        }
        let (from, method) = (source_of(peer), message.method_name());
        let guard = self.guard(chance);
        match guard.judge(now.unix_ms(), &from, &login.secret, method, &credentials) {
            Judgement::Passed => Shown::Right,
            Judgement::Stale => Shown::Nothing { is_stale: true },
            Judgement::Failed => Shown::Wrong,
        }
    }

    /// What can be told of the credentials of a softphone without knowing whose they are.
    fn claim(&self, now: Now, peer: &Peer, message: &Message, least: Algorithm) -> Claim {
        let Some(credentials) = credentials_of(message).filter(|it| it.algorithm >= least) else {
            return Claim::Nothing { is_stale: false };
        };
        let from = source_of(peer);
        let is_fresh = |guard: &Guard| guard.is_fresh(now.unix_ms(), &from, &credentials);
        if !self.guard.as_deref().is_some_and(is_fresh) {
            return Claim::Nothing { is_stale: true };
        }
        let is_name = credentials.user.len() <= USER_BYTES_MAX
            && std::str::from_utf8(credentials.user).is_ok();
        let is_meant = is_same_target(credentials.uri(), message.request_uri_text());
        if is_name && is_meant { Claim::Named } else { Claim::Wrong }
    }

    /// The challenges for a peer, strongest first.
    fn challenges(
        &mut self,
        now: Now,
        peer: &Peer,
        offered: &RangeInclusive<Algorithm>,
        is_stale: bool,
        mut chance: impl FnMut() -> u64,
    ) -> Vec<String> {
        let from = source_of(peer);
        let salt = chance();
        let nonce = self.guard(chance).nonce(now.unix_ms(), &from, salt);
        let strong = Algorithm::ALL.into_iter().rev().filter(|it| offered.contains(it));
        strong.map(|algorithm| digest::challenge(REALM, &nonce, algorithm, is_stale)).collect()
    }

    /// Counts a wrong answer; true when it should be written down.
    fn fail(&mut self, now: Instant, source: IpAddr) -> bool {
        if self.failures.len() >= SOURCES_MAX {
            self.failures.retain(|_, failures| failures.until > now);
        }
        if self.failures.len() >= SOURCES_MAX && !self.failures.contains_key(&source) {
            return false;
        }
        let fresh = Failures { count: 0, until: now + FAILURES_TIME };
        let failures = self.failures.entry(source).or_insert(fresh);
        if failures.until <= now {
            *failures = Failures { count: 0, until: now + FAILURES_TIME };
        }
        failures.count = failures.count.saturating_add(1);
        failures.count <= FAILURES_MAX
    }
}

/// What a nonce is tied to.
fn source_of(peer: &Peer) -> [u8; 16] {
    match peer.address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The URI that was hashed is that of the request: the same text, or the same user and host.
fn is_same_target(hashed: &[u8], asked: &[u8]) -> bool {
    if hashed == asked {
        return true;
    }
    let (Ok(hashed), Ok(asked)) = (Uri::parse(hashed), Uri::parse(asked)) else { return false };
    hashed.user == asked.user && hashed.host.eq_ignore_ascii_case(asked.host)
}

/// The user name of the first credentials for us.
pub(super) fn user_of(message: &Message) -> Option<&[u8]> {
    Some(credentials_of(message)?.user)
}

fn credentials_of(message: &Message) -> Option<Credentials<'_>> {
    let values = message.headers(HeaderId::Authorization).take(CREDENTIALS_MAX);
    let ours = |it: &Credentials<'_>| it.realm == REALM.as_bytes();
    values.filter_map(|value| Credentials::parse(value).ok()).find(ours)
}

impl CallCore {
    /// Whether the peer of a request outside of any dialog is who it says, as far as that can be
    /// told without asking anybody. If not, the request has been answered and nothing is kept.
    pub(super) fn is_proved(&mut self, now: Now, peer: &Peer, heard: &Heard<'_>) -> bool {
        match (peer.role, heard.message.method()) {
            (_, Method::Ack) => true,
            (_, Method::Cancel) => self.cancels_something(peer, heard),
            (PeerRole::Softphone, Method::Invite | Method::Register) => {
                self.names_somebody(now, peer, heard)
            }
            (_, Method::Invite) => self.is_proved_trunk(now, peer, heard),
            (_, _) => self.is_remembered(peer, heard),
        }
    }

    /// Whether a request outside of any dialog that is no INVITE gets a transaction. One of a trunk
    /// that would have to prove itself does not, nor any that comes while the table fills: half of
    /// it is for calls, however many OPTIONS come.
    fn is_remembered(&mut self, peer: &Peer, heard: &Heard<'_>) -> bool {
        let is_loose =
            self.wires.accounts.login(peer.trunk).is_some() || self.wires.transactions.is_crowded();
        if !is_loose || heard.found.is_repeat() {
            return true;
        }
        self.answer_unproved(peer, heard.message);
        false
    }

    /// Whether a CANCEL means a request that was taken. If not, it has been answered.
    fn cancels_something(&mut self, peer: &Peer, heard: &Heard<'_>) -> bool {
        let Heard { message, found, .. } = *heard;
        let is_known = found.is_repeat() || self.wires.transactions.knows_invite_of(message);
        if !is_known {
            self.wires.counters.unknown_dialogs += 1;
            self.answer_stateless(peer, message, 481);
        }
        is_known
    }

    fn is_proved_trunk(&mut self, now: Now, peer: &Peer, heard: &Heard<'_>) -> bool {
        let Heard { message, found, .. } = *heard;
        let Some(login) = self.wires.accounts.login(peer.trunk).cloned() else { return true };
        // The count of its nonce was used when it came first.
        if found.is_repeat() {
            return true;
        }
        let is_stale = match self.look(now, peer, message, &login) {
            Shown::Right => return true,
            Shown::Nothing { is_stale } => is_stale,
            Shown::Wrong => {
                self.note_failure(now, peer, None);
                false
            }
        };
        let challenges =
            self.challenges(now, peer, &(login.least..=Algorithm::Sha512T256), is_stale);
        self.challenge_stateless(peer, message, &challenges);
        false
    }

    /// Whether a softphone answers a question of ours in somebody's name. Whatever does not is
    /// asked, whoever it is: the store is not.
    fn names_somebody(&mut self, now: Now, peer: &Peer, heard: &Heard<'_>) -> bool {
        let Heard { message, found, .. } = *heard;
        let offered = self.wires.config.softphone_digest.clone();
        let is_stale = match self.door.claim(now, peer, message, *offered.start()) {
            Claim::Named => return !self.is_silent_to_user(now, peer, message),
            _ if found.is_repeat() => return true,
            Claim::Nothing { is_stale } => is_stale,
            Claim::Wrong => {
                self.note_failure(now, peer, None);
                false
            }
        };
        let challenges = self.challenges(now, peer, &offered, is_stale);
        self.challenge_stateless(peer, message, &challenges);
        false
    }

    fn challenges(
        &mut self,
        now: Now,
        peer: &Peer,
        offered: &RangeInclusive<Algorithm>,
        is_stale: bool,
    ) -> Vec<String> {
        let rng = &mut self.wires.rng;
        self.door.challenges(now, peer, offered, is_stale, || rand_core::Rng::next_u64(rng))
    }

    /// Looks at the credentials of a request.
    pub(super) fn look(
        &mut self,
        now: Now,
        peer: &Peer,
        message: &Message,
        login: &Login,
    ) -> Shown {
        let rng = &mut self.wires.rng;
        self.door.look(now, peer, message, login, || rand_core::Rng::next_u64(rng))
    }

    /// A wrong answer; in whose name, as far as that can be told.
    pub(super) fn note_failure(&mut self, now: Now, peer: &Peer, whose: Option<Whose<'_>>) {
        self.wires.counters.logins_failed += 1;
        let source = peer.address.ip();
        if self.door.fail(now.monotonic, source) {
            let event = SecurityEvent::LoginFailed { source };
            self.wires.outputs.push_back(Output::Security(event));
        }
        self.note_guess(now, peer, whose);
    }

    /// Asks who it is.
    pub(super) fn challenge(
        &mut self,
        now: Now,
        peer: &Peer,
        server: ServerId,
        message: &Message,
        offered: &RangeInclusive<Algorithm>,
        is_stale: bool,
    ) {
        let challenges = self.challenges(now, peer, offered, is_stale);
        let answer = self.write_challenge(peer, message, &challenges);
        self.wires.transactions.respond(now.monotonic, server, 401, answer);
    }
}
