//! Finds where trunks listen that are configured by name (RFC 3263): NAPTR, SRV, then addresses.
//! Answers are used for as long as the name servers say, and longer where they do not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::now::now;
use crate::call::pick::Weighed;
use crate::domain::network::TrunkPlace;
use crate::sip::locate::{Naptr, is_refusal, srv_name, srv_name_by};
use crate::sip::transport::Transport;

/// The most addresses of one name.
const TARGETS_MAX: usize = 16;
/// The most SRV records of one name that are looked at.
const SERVERS_MAX: usize = 8;
/// An answer is never used for less or more than this, whatever it says.
const TTL_MIN: Duration = Duration::from_secs(5);
const TTL_MAX: Duration = Duration::from_secs(3_600);
/// That a name leads nowhere is believed for no longer, and used where no answer says how long.
const NOTHING_TTL_MAX: Duration = Duration::from_secs(60);
/// How long good addresses are used after the name servers have begun to say that there are none.
const GOOD_FOR: Duration = Duration::from_secs(3_600);
/// How long after a failure the name is looked up again.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// How long one question may take, and all of one name together.
const QUESTION_WITHIN: Duration = Duration::from_secs(2);
const NAME_WITHIN: Duration = Duration::from_secs(6);
/// How many trunks are looked up at one time: slow names do not delay the others.
const LOOKUPS_MAX: usize = 32;

/// Asks name servers.
pub(crate) trait Lookup: Send + Sync {
    /// The records of a name, and until when they may be used. None is no failure.
    fn records(
        &self,
        name: &str,
        kind: Kind,
    ) -> impl Future<Output = Result<(Vec<Found>, Instant), LookupFailed>> + Send;
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    Naptr,
    Srv,
    V4,
    V6,
}

/// One record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    Naptr(Naptr),
    Srv { priority: u16, weight: u16, port: u16, target: String },
    Address(IpAddr),
}

/// The name servers did not answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct LookupFailed;

/// The name servers of this machine.
pub(crate) struct NameServers(TokioResolver);

impl NameServers {
    /// As the system is set up.
    pub(crate) fn of_system() -> Result<Self, NetError> {
        Ok(Self(TokioResolver::builder_tokio()?.build()?))
    }
}

impl Lookup for NameServers {
    async fn records(&self, name: &str, kind: Kind) -> Result<(Vec<Found>, Instant), LookupFailed> {
        let record_type = match kind {
            Kind::Naptr => RecordType::NAPTR,
            Kind::Srv => RecordType::SRV,
            Kind::V4 => RecordType::A,
            Kind::V6 => RecordType::AAAA,
        };
        // A name of a trunk is whole: no search domain is added.
        let name = format!("{}.", name.trim_end_matches('.'));
        match self.0.lookup(name, record_type).await {
            Ok(lookup) => {
                let found = lookup.answers().iter().filter_map(|it| read(&it.data)).collect();
                Ok((found, lookup.valid_until()))
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => {
                // RFC 2308 §5.
                let ttl = nothing.negative_ttl.map(|s| Duration::from_secs(s.into()));
                Ok((Vec::new(), now().monotonic + ttl.unwrap_or(NOTHING_TTL_MAX)))
            }
            Err(_) => Err(LookupFailed),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "another crate's list of all record types")]
fn read(record: &RData) -> Option<Found> {
    match record {
        RData::NAPTR(naptr) => Some(Found::Naptr(Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: naptr.flags.to_vec(),
            service: naptr.services.to_vec(),
            replacement: naptr.replacement.to_ascii(),
        })),
        RData::SRV(srv) => Some(Found::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: srv.target.to_ascii(),
        }),
        RData::A(address) => Some(Found::Address(IpAddr::V4(address.0))),
        RData::AAAA(address) => Some(Found::Address(IpAddr::V6(address.0))),
        _ => None,
    }
}

/// Where a trunk listens, and the name that has led there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Located {
    pub(crate) address: SocketAddr,
    pub(crate) name: Option<Arc<str>>,
}

/// What was answered for one name, by what was asked.
type Records = BTreeMap<(String, Kind), Vec<Found>>;

/// Where a name is served, and until when that holds.
#[derive(Clone, Debug)]
struct Resolved {
    targets: Vec<Weighed<SocketAddr>>,
    until: Instant,
    /// Until when the targets are used although the name servers say that there are none.
    good_until: Instant,
    /// They say that the service is decidedly not there (RFC 2782).
    is_refused: bool,
    /// For the questions that are not answered the next time.
    records: Records,
}

/// The questions about one name.
struct Asking<'l, L> {
    lookup: &'l L,
    /// What was answered the last time.
    old: Records,
    new: Records,
    until: Instant,
    ends_at: Instant,
    /// A question was not answered, and never was before.
    is_blind: bool,
}

impl<'l, L: Lookup> Asking<'l, L> {
    fn new(lookup: &'l L, old: Records) -> Self {
        let at = now().monotonic;
        let (until, ends_at) = (at + TTL_MAX, at + NAME_WITHIN);
        Self { lookup, old, new: Records::new(), until, ends_at, is_blind: false }
    }

    async fn ask(&self, name: &str, kind: Kind) -> Result<(Vec<Found>, Instant), LookupFailed> {
        let rest = self.ends_at.saturating_duration_since(now().monotonic);
        let answer = timeout(rest.min(QUESTION_WITHIN), self.lookup.records(name, kind)).await;
        answer.unwrap_or(Err(LookupFailed))
    }

    /// What counts: the answer, else that of the last time; `Err` without either.
    fn take(
        &mut self,
        name: &str,
        kind: Kind,
        answer: Result<(Vec<Found>, Instant), LookupFailed>,
    ) -> Result<Vec<Found>, LookupFailed> {
        let key = (name.to_owned(), kind);
        let found = match answer {
            Ok((found, until)) => {
                self.until = self.until.min(until);
                found
            }
            Err(LookupFailed) => {
                self.until = self.until.min(now().monotonic + RETRY_AFTER);
                metrics::counter!("maskline_dns_failures_total").increment(1);
                let old = self.old.remove(&key);
                self.is_blind |= old.is_none();
                old.ok_or(LookupFailed)?
            }
        };
        self.new.insert(key, found.clone());
        Ok(found)
    }

    async fn addresses(&mut self, host: &str) -> Vec<IpAddr> {
        let (v4, v6) = tokio::join!(self.ask(host, Kind::V4), self.ask(host, Kind::V6));
        let both = [(Kind::V4, v4), (Kind::V6, v6)];
        let found = both.map(|(kind, it)| self.take(host, kind, it).unwrap_or_default());
        let only = |it| if let Found::Address(ip) = it { Some(ip) } else { None };
        found.into_iter().flatten().filter_map(only).collect()
    }

    async fn servers(&mut self, host: &str, by: Transport) -> Result<Servers, LookupFailed> {
        let naptr = self.ask(host, Kind::Naptr).await;
        // Most names have none, and some name servers do not even say so.
        let found = self.take(host, Kind::Naptr, naptr).unwrap_or_default();
        let only = |it| if let Found::Naptr(naptr) = it { Some(naptr) } else { None };
        let naptr: Vec<Naptr> = found.into_iter().filter_map(only).collect();
        let name = srv_name_by(&naptr, by);
        let name = name.map_or_else(|| srv_name(host, by), str::to_owned);
        let srv = self.ask(&name, Kind::Srv).await;
        let found = self.take(&name, Kind::Srv, srv)?;
        let has_any = found.iter().any(|it| matches!(it, Found::Srv { .. }));
        // Nobody listens at port 0: such a record leads nowhere, and may be all there is.
        let read = |it| match it {
            Found::Srv { priority, weight, port, target } if port != 0 && !is_refusal(&target) => {
                Some(Weighed { item: (target, port), priority, weight })
            }
            Found::Srv { .. } | Found::Naptr(_) | Found::Address(_) => None,
        };
        let mut servers: Vec<Server> = found.into_iter().filter_map(read).collect();
        if servers.is_empty() {
            return Ok(if has_any { Servers::Refused } else { Servers::Unnamed });
        }
        servers.sort_by(|a, b| (a.priority, &a.item).cmp(&(b.priority, &b.item)));
        servers.truncate(SERVERS_MAX);
        Ok(Servers::Named(servers))
    }
}

type Server = Weighed<(String, u16)>;

/// What the SRV records of a name say.
enum Servers {
    /// There are some.
    Named(Vec<Server>),
    /// There are none: the name is a host.
    Unnamed,
    /// The service is decidedly not there.
    Refused,
}

/// Looks a name up; what is not answered is as it was in `old`. `Err` when nothing is known.
async fn resolve(
    lookup: &impl Lookup,
    host: &str,
    port: Option<u16>,
    transport: Transport,
    old: Records,
) -> Result<Resolved, LookupFailed> {
    let mut asking = Asking::new(lookup, old);
    let mut targets = Vec::new();
    // A port says that the name is a host (RFC 3263 §4.2).
    let servers = match port {
        Some(_) => Servers::Unnamed,
        None => asking.servers(host, transport).await?,
    };
    let is_refused = matches!(servers, Servers::Refused);
    match servers {
        Servers::Named(servers) => {
            for Weighed { item: (target, port), priority, weight } in servers {
                for ip in asking.addresses(&target).await {
                    targets.push(Weighed { item: SocketAddr::new(ip, port), priority, weight });
                }
            }
        }
        Servers::Unnamed => {
            let port = port.unwrap_or(transport.default_port());
            for ip in asking.addresses(host).await {
                targets.push(Weighed { item: SocketAddr::new(ip, port), priority: 0, weight: 0 });
            }
        }
        Servers::Refused => {}
    }
    if targets.is_empty() && asking.is_blind {
        return Err(LookupFailed);
    }
    // The order of the answers is chance; ours is not, so that what is known of each stays.
    targets.sort_by_key(|it| (it.priority, it.item));
    let mut seen = BTreeSet::new();
    targets.retain(|it| seen.insert(it.item));
    targets.truncate(TARGETS_MAX);
    let at = now().monotonic;
    let longest = if targets.is_empty() { at + NOTHING_TTL_MAX } else { asking.until };
    let until = asking.until.min(longest).max(at + TTL_MIN);
    let good_until = at + GOOD_FOR;
    Ok(Resolved { targets, until, good_until, is_refused, records: asking.new })
}

type Key = (Box<str>, Option<u16>, Transport);

/// The names of all trunks and where they lead.
pub(crate) struct Names<L> {
    lookup: Option<L>,
    known: Mutex<BTreeMap<Key, Resolved>>,
}

impl<L: Lookup + 'static> Names<L> {
    /// Nothing is known yet. Without a `lookup` no name leads anywhere.
    pub(crate) const fn new(lookup: Option<L>) -> Self {
        Self { lookup, known: Mutex::new(BTreeMap::new()) }
    }

    /// Where each of several trunks listens, in their order.
    pub(crate) async fn find_all(
        self: &Arc<Self>,
        trunks: Vec<(Vec<TrunkPlace>, Transport)>,
    ) -> Vec<Vec<Weighed<Located>>> {
        let mut all = vec![Vec::new(); trunks.len()];
        let mut asking = JoinSet::new();
        for (index, (places, transport)) in trunks.into_iter().enumerate() {
            if asking.len() >= LOOKUPS_MAX {
                note(&mut all, asking.join_next().await);
            }
            let names = Arc::clone(self);
            asking.spawn(async move { (index, names.find(&places, transport).await) });
        }
        while let Some(found) = asking.join_next().await {
            note(&mut all, Some(found));
        }
        all
    }

    /// Where a trunk listens, in the order in which its places are written.
    async fn find(&self, places: &[TrunkPlace], transport: Transport) -> Vec<Weighed<Located>> {
        let mut targets = Vec::new();
        let mut before = 0;
        for place in places {
            let (found, name) = match place {
                TrunkPlace::Address(address) => {
                    (vec![Weighed { item: *address, priority: 0, weight: 0 }], None)
                }
                TrunkPlace::Name { host, port } => {
                    let found = self.find_name(host, *port, transport).await;
                    (found, Some(Arc::<str>::from(place.to_string())))
                }
            };
            // What is written first is asked first, whatever its records say.
            let mut last = before;
            for Weighed { item, priority, weight } in found {
                let priority = priority.saturating_add(before);
                last = last.max(priority);
                let item = Located { address: item, name: name.clone() };
                targets.push(Weighed { item, priority, weight });
            }
            before = last.saturating_add(1);
        }
        targets.truncate(TARGETS_MAX);
        targets
    }

    async fn find_name(
        &self,
        host: &str,
        port: Option<u16>,
        transport: Transport,
    ) -> Vec<Weighed<SocketAddr>> {
        let key = (host.into(), port, transport);
        let old = self.known().get(&key).cloned();
        let at = now().monotonic;
        if let Some(known) = old.as_ref().filter(|known| known.until > at) {
            return known.targets.clone();
        }
        let Some(lookup) = &self.lookup else { return Vec::new() };
        let records = old.as_ref().map(|known| known.records.clone()).unwrap_or_default();
        let new = resolve(lookup, host, port, transport, records).await;
        if new.is_err() {
            tracing::warn!("The name of a trunk was not looked up; the old addresses stay");
        }
        let new = follow(old, new);
        let targets = new.targets.clone();
        self.known().insert(key, new);
        targets
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Key, Resolved>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long everything that is known holds; names that no trunk has any more are forgotten.
    pub(crate) fn next_in(&self, longest: Duration) -> Duration {
        let at = now().monotonic;
        let mut known = self.known();
        known.retain(|_, known| known.until + TTL_MAX > at);
        // Names that are asked for have just been: one whose time is over is nobody's any more.
        let soonest = known.values().map(|known| known.until).filter(|until| *until > at).min();
        let wait = soonest.map_or(longest, |until| until.saturating_duration_since(at));
        wait.clamp(Duration::from_secs(1), longest)
    }
}

/// What counts from now on. Good addresses stay while nobody answers; and for a while when the name
/// is suddenly said to lead nowhere, since a zone is broken more often than a carrier goes away.
fn follow(old: Option<Resolved>, new: Result<Resolved, LookupFailed>) -> Resolved {
    let at = now().monotonic;
    match (old, new) {
        (Some(old), Err(LookupFailed)) => Resolved { until: at + RETRY_AFTER, ..old },
        (None, Err(LookupFailed)) => Resolved {
            targets: Vec::new(),
            until: at + RETRY_AFTER,
            good_until: at,
            is_refused: false,
            records: Records::new(),
        },
        (Some(old), Ok(new))
            if new.targets.is_empty()
                && !new.is_refused
                && !old.targets.is_empty()
                && old.good_until > at =>
        {
            tracing::warn!("The name of a trunk leads nowhere; the old addresses stay for an hour");
            Resolved { until: new.until, ..old }
        }
        (Some(_) | None, Ok(new)) => new,
    }
}

type Joined = Result<(usize, Vec<Weighed<Located>>), JoinError>;

/// A task that panicked has said so already; its trunk leads nowhere until the next time.
fn note(all: &mut [Vec<Weighed<Located>>], found: Option<Joined>) {
    if let Some(Ok((index, found))) = found
        && let Some(place) = all.get_mut(index)
    {
        *place = found;
    }
}

#[cfg(test)]
#[path = "dns_server_tests.rs"]
mod server_tests;
#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
