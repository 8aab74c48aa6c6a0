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
mod tests {
    use super::*;

    /// Name servers made of a list, which count how often they are asked.
    #[derive(Default)]
    struct Zone {
        records: Mutex<Vec<(&'static str, Kind, Found)>>,
        asked: Mutex<Vec<(String, Kind)>>,
        /// What is not answered; an empty name stands for all.
        broken: Mutex<Vec<(&'static str, Kind)>>,
        /// Answered only after this name was asked for.
        slow_until: Option<&'static str>,
        told: tokio::sync::Notify,
        ttl: Duration,
    }

    impl Zone {
        fn breaks(&self, questions: &[(&'static str, Kind)]) {
            questions.clone_into(&mut self.broken.lock().expect("no panic"));
        }

        fn becomes(&self, records: Vec<(&'static str, Kind, Found)>) {
            *self.records.lock().expect("no panic") = records;
        }
    }

    impl Lookup for Arc<Zone> {
        async fn records(
            &self,
            name: &str,
            kind: Kind,
        ) -> Result<(Vec<Found>, Instant), LookupFailed> {
            let is_it = |it: &(&str, Kind)| it.0.is_empty() || *it == (name, kind);
            if self.broken.lock().expect("no panic").iter().any(is_it) {
                return Err(LookupFailed);
            }
            self.asked.lock().expect("no panic").push((name.to_owned(), kind));
            if self.slow_until == Some(name) {
                self.told.notify_waiters();
                self.told.notify_one();
            } else if self.slow_until.is_some() {
                self.told.notified().await;
                self.told.notify_one();
            }
            let fits = |it: &&(&str, Kind, Found)| it.0 == name && it.1 == kind;
            let records = self.records.lock().expect("no panic");
            let found = records.iter().filter(fits).map(|it| it.2.clone()).collect();
            Ok((found, now().monotonic + self.ttl))
        }
    }

    fn address(text: &str) -> Found {
        Found::Address(text.parse().expect("an address"))
    }

    fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Found {
        Found::Srv { priority, weight, port, target: target.to_owned() }
    }

    fn zone() -> Arc<Zone> {
        Arc::new(zone_with(Duration::from_secs(60)))
    }

    /// Every answer is old at once.
    fn hasty_zone() -> Arc<Zone> {
        Arc::new(zone_with(Duration::ZERO))
    }

    fn zone_with(ttl: Duration) -> Zone {
        let naptr = Naptr {
            order: 10,
            preference: 1,
            flags: b"s".to_vec(),
            service: b"SIP+D2U".to_vec(),
            replacement: "_sip._udp.c.example".to_owned(),
        };
        Zone {
            records: Mutex::new(vec![
                ("c.example", Kind::Naptr, Found::Naptr(naptr)),
                ("_sip._udp.c.example", Kind::Srv, srv(20, 0, 5060, "b.c.example")),
                ("_sip._udp.c.example", Kind::Srv, srv(10, 5, 5070, "a.c.example")),
                ("a.c.example", Kind::V4, address("192.0.2.1")),
                ("a.c.example", Kind::V6, address("2001:db8::1")),
                ("b.c.example", Kind::V4, address("192.0.2.2")),
                ("c.example", Kind::V4, address("192.0.2.9")),
            ]),
            ttl,
            ..Zone::default()
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(future)
    }

    fn texts(targets: &[Weighed<Located>]) -> Vec<String> {
        targets.iter().map(|it| format!("{} {}", it.priority, it.item.address)).collect()
    }

    fn name(text: &str) -> TrunkPlace {
        TrunkPlace::parse(text).expect("a name")
    }

    #[test]
    fn a_domain_leads_over_its_services_to_addresses_by_priority() {
        let zone = zone();
        let names = Names::new(Some(Arc::clone(&zone)));
        let found = run(names.find(&[name("c.example")], Transport::Udp));
        let wanted = ["10 192.0.2.1:5070", "10 [2001:db8::1]:5070", "20 192.0.2.2:5060"];
        assert_eq!(texts(&found), wanted);
        let asked = zone.asked.lock().expect("no panic").len();
        run(names.find(&[name("c.example")], Transport::Udp));
        assert_eq!(zone.asked.lock().expect("no panic").len(), asked, "known until the TTL ends");
        assert!(names.next_in(Duration::from_secs(3_600)) <= Duration::from_secs(60));
    }

    #[test]
    fn a_name_that_nobody_asks_for_any_more_hurries_nobody() {
        let names = Names::new(Some(zone()));
        run(names.find(&[name("c.example")], Transport::Udp));
        names.known().values_mut().for_each(|known| known.until = now().monotonic);
        let longest = Duration::from_secs(3_600);
        assert_eq!(names.next_in(longest), longest);
    }

    #[test]
    fn without_services_and_with_a_port_the_name_is_a_host() {
        let zone = zone();
        let names = Names::new(Some(Arc::clone(&zone)));
        let tls = run(names.find(&[name("c.example")], Transport::Tls));
        assert_eq!(texts(&tls), ["0 192.0.2.9:5061"]);
        let port = run(names.find(&[name("c.example:5080")], Transport::Udp));
        assert_eq!(texts(&port), ["0 192.0.2.9:5080"]);
    }

    #[test]
    fn places_are_asked_in_the_order_in_which_they_are_written() {
        let zone = zone();
        let names = Names::new(Some(Arc::clone(&zone)));
        let places = [name("c.example"), name("198.51.100.1:5060")];
        let found = texts(&run(names.find(&places, Transport::Udp)));
        assert_eq!(found.last().map(String::as_str), Some("21 198.51.100.1:5060"));
    }

    #[test]
    fn what_a_name_leads_to_keeps_the_name_as_it_is_written() {
        let zone = zone();
        let names = Names::new(Some(Arc::clone(&zone)));
        let places = ["c.example", "c.example:5080", "198.51.100.1:5060"].map(name);
        let found = run(names.find(&places, Transport::Udp));
        let mut written: Vec<_> = found.iter().map(|it| it.item.name.as_deref()).collect();
        written.dedup();
        assert_eq!(written, [Some("c.example"), Some("c.example:5080"), None]);
    }

    /// As if what is known had grown old.
    fn age(names: &Names<Arc<Zone>>) {
        for known in names.known().values_mut() {
            known.until = now().monotonic;
        }
    }

    #[test]
    fn while_name_servers_are_silent_the_old_addresses_stay() {
        let zone = hasty_zone();
        let names = Names::new(Some(Arc::clone(&zone)));
        let find = |text| texts(&run(names.find(&[name(text)], Transport::Udp)));
        assert_eq!(find("b.c.example:5060"), ["0 192.0.2.2:5060"]);
        zone.breaks(&[("", Kind::V4)]);
        age(&names);
        assert_eq!(find("b.c.example:5060"), ["0 192.0.2.2:5060"]);
        assert!(names.next_in(TTL_MAX) <= RETRY_AFTER);
        assert!(find("other.example").is_empty());
    }

    #[test]
    fn one_question_that_is_not_answered_does_not_fail_the_name() {
        let zone = zone();
        zone.breaks(&[("a.c.example", Kind::V6), ("c.example", Kind::Naptr)]);
        let names = Names::new(Some(Arc::clone(&zone)));
        let find = |text| texts(&run(names.find(&[name(text)], Transport::Udp)));
        assert_eq!(find("c.example"), ["10 192.0.2.1:5070", "20 192.0.2.2:5060"]);
        assert!(names.next_in(TTL_MAX) <= RETRY_AFTER, "it is asked again soon");
        zone.breaks(&[]);
        age(&names);
        let all = ["10 192.0.2.1:5070", "10 [2001:db8::1]:5070", "20 192.0.2.2:5060"];
        assert_eq!(find("c.example"), all);
        // What was answered once counts until it is answered again.
        zone.breaks(&[("a.c.example", Kind::V6), ("_sip._udp.c.example", Kind::Srv)]);
        age(&names);
        assert_eq!(find("c.example"), all);
    }

    #[test]
    fn a_name_that_leads_nowhere_keeps_its_addresses_for_an_hour_and_is_asked_again_soon() {
        let zone = zone();
        let names = Names::new(Some(Arc::clone(&zone)));
        let find = |text| texts(&run(names.find(&[name(text)], Transport::Udp)));
        assert_eq!(find("c.example").len(), 3);
        zone.becomes(Vec::new());
        age(&names);
        assert_eq!(find("c.example").len(), 3);
        assert!(names.next_in(TTL_MAX) <= NOTHING_TTL_MAX);
        for known in names.known().values_mut() {
            known.good_until = now().monotonic;
        }
        age(&names);
        assert!(find("c.example").is_empty());
        assert!(names.next_in(TTL_MAX) <= NOTHING_TTL_MAX);
    }

    #[test]
    fn a_service_that_is_said_not_to_be_there_is_not_reached_by_its_host() {
        let zone = zone();
        let names = Names::new(Some(Arc::clone(&zone)));
        let find = |text| texts(&run(names.find(&[name(text)], Transport::Udp)));
        assert_eq!(find("c.example").len(), 3);
        zone.becomes(vec![
            ("_sip._udp.c.example", Kind::Srv, srv(0, 0, 0, ".")),
            ("c.example", Kind::V4, address("192.0.2.9")),
        ]);
        age(&names);
        assert!(find("c.example").is_empty(), "RFC 2782");
        assert_eq!(find("c.example:5060"), ["0 192.0.2.9:5060"], "with a port it is a host");
    }

    #[test]
    fn a_service_at_port_0_leads_nowhere() {
        let zone = zone();
        let names = Names::new(Some(Arc::clone(&zone)));
        let find = |text| texts(&run(names.find(&[name(text)], Transport::Udp)));
        let nowhere = ("_sip._udp.c.example", Kind::Srv, srv(0, 0, 0, "a.c.example"));
        let host = ("c.example", Kind::V4, address("192.0.2.9"));
        let a = ("a.c.example", Kind::V4, address("192.0.2.1"));
        let b = ("_sip._udp.c.example", Kind::Srv, srv(1, 0, 5060, "a.c.example"));
        zone.becomes(vec![nowhere.clone(), b, a.clone(), host.clone()]);
        assert_eq!(find("c.example"), ["1 192.0.2.1:5060"]);
        zone.becomes(vec![nowhere, a, host]);
        age(&names);
        assert!(find("c.example").is_empty(), "nor to the host, since there is a record");
    }

    #[test]
    fn a_slow_name_does_not_keep_the_others_waiting() {
        let zone = Zone { slow_until: Some("b.c.example"), ..zone_with(TTL_MAX) };
        let names = Arc::new(Names::new(Some(Arc::new(zone))));
        let trunks = ["a.c.example:5060", "b.c.example:5060"];
        let trunks = trunks.map(|it| (vec![name(it)], Transport::Udp));
        let found = run(names.find_all(trunks.to_vec()));
        let found: Vec<_> = found.iter().map(|it| texts(it)).collect();
        let wanted = [vec!["0 192.0.2.1:5060", "0 [2001:db8::1]:5060"], vec!["0 192.0.2.2:5060"]];
        assert_eq!(found, wanted, "the first is answered only after the second was asked for");
    }
}
