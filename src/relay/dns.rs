//! Finds where trunks listen that are configured by name (RFC 3263): NAPTR, SRV, then addresses.
//! Answers are used for as long as the name servers say, and longer only while they are silent.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{RData, RecordType};
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
/// How long after a failure the name is looked up again.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// How long one name may take, all its records together.
const NAME_WITHIN: Duration = Duration::from_secs(4);

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
            Err(error) if error.is_no_records_found() => {
                Ok((Vec::new(), now().monotonic + TTL_MAX))
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

/// Where a name is served, and until when that holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Resolved {
    pub(crate) targets: Vec<Weighed<SocketAddr>>,
    pub(crate) until: Instant,
}

/// Looks a name up. `Err` when a name server did not answer.
async fn resolve(
    lookup: &impl Lookup,
    host: &str,
    port: Option<u16>,
    transport: Transport,
) -> Result<Resolved, LookupFailed> {
    let mut until = now().monotonic + TTL_MAX;
    let mut targets = Vec::new();
    // A port says that the name is a host (RFC 3263 §4.2).
    let servers = match port {
        Some(_) => Vec::new(),
        None => servers(lookup, host, transport, &mut until).await?,
    };
    if servers.is_empty() {
        let port = port.unwrap_or(transport.default_port());
        for ip in addresses(lookup, host, &mut until).await? {
            targets.push(Weighed { item: SocketAddr::new(ip, port), priority: 0, weight: 0 });
        }
    }
    for Weighed { item: (target, port), priority, weight } in servers {
        for ip in addresses(lookup, &target, &mut until).await? {
            targets.push(Weighed { item: SocketAddr::new(ip, port), priority, weight });
        }
    }
    // The order of the answers is chance; ours is not, so that what is known of each stays.
    targets.sort_by_key(|it| (it.priority, it.item));
    targets.dedup_by_key(|it| it.item);
    targets.truncate(TARGETS_MAX);
    Ok(Resolved { targets, until: until.max(now().monotonic + TTL_MIN) })
}

type Server = Weighed<(String, u16)>;

async fn servers(
    lookup: &impl Lookup,
    host: &str,
    transport: Transport,
    until: &mut Instant,
) -> Result<Vec<Server>, LookupFailed> {
    let (found, valid) = lookup.records(host, Kind::Naptr).await?;
    *until = valid.min(*until);
    let only = |it| if let Found::Naptr(naptr) = it { Some(naptr) } else { None };
    let naptr: Vec<Naptr> = found.into_iter().filter_map(only).collect();
    let name = srv_name_by(&naptr, transport);
    let name = name.map_or_else(|| srv_name(host, transport), str::to_owned);
    let (found, valid) = lookup.records(&name, Kind::Srv).await?;
    *until = valid.min(*until);
    let read = |it| match it {
        Found::Srv { priority, weight, port, target } if !is_refusal(&target) => {
            Some(Weighed { item: (target, port), priority, weight })
        }
        Found::Srv { .. } | Found::Naptr(_) | Found::Address(_) => None,
    };
    let mut servers: Vec<Server> = found.into_iter().filter_map(read).collect();
    servers.sort_by(|a, b| (a.priority, &a.item).cmp(&(b.priority, &b.item)));
    servers.truncate(SERVERS_MAX);
    Ok(servers)
}

async fn addresses(
    lookup: &impl Lookup,
    host: &str,
    until: &mut Instant,
) -> Result<Vec<IpAddr>, LookupFailed> {
    let mut addresses = Vec::new();
    for kind in [Kind::V4, Kind::V6] {
        let (found, valid) = lookup.records(host, kind).await?;
        *until = valid.min(*until);
        let only = |it| if let Found::Address(ip) = it { Some(ip) } else { None };
        addresses.extend(found.into_iter().filter_map(only));
    }
    Ok(addresses)
}

/// The names of all trunks and where they lead.
pub(crate) struct Names<L> {
    lookup: Option<L>,
    known: BTreeMap<(Box<str>, Option<u16>, Transport), Resolved>,
}

impl<L: Lookup> Names<L> {
    /// Nothing is known yet. Without a `lookup` no name leads anywhere.
    pub(crate) const fn new(lookup: Option<L>) -> Self {
        Self { lookup, known: BTreeMap::new() }
    }

    /// Where a trunk listens, in the order in which its places are written.
    pub(crate) async fn find(
        &mut self,
        places: &[TrunkPlace],
        transport: Transport,
    ) -> Vec<Weighed<Located>> {
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
        &mut self,
        host: &str,
        port: Option<u16>,
        transport: Transport,
    ) -> Vec<Weighed<SocketAddr>> {
        let key = (host.into(), port, transport);
        let at = now().monotonic;
        if let Some(known) = self.known.get(&key).filter(|known| known.until > at) {
            return known.targets.clone();
        }
        let Some(lookup) = &self.lookup else { return Vec::new() };
        let asked = timeout(NAME_WITHIN, resolve(lookup, host, port, transport)).await;
        match asked.unwrap_or(Err(LookupFailed)) {
            Ok(resolved) => {
                let targets = resolved.targets.clone();
                self.known.insert(key, resolved);
                targets
            }
            Err(LookupFailed) => {
                metrics::counter!("maskline_dns_failures_total").increment(1);
                tracing::warn!("The name of a trunk was not looked up; the old addresses stay");
                let until = now().monotonic + RETRY_AFTER;
                let known = self.known.entry(key);
                let known = known.or_insert(Resolved { targets: Vec::new(), until });
                known.until = until;
                known.targets.clone()
            }
        }
    }

    /// How long everything that is known holds; names that no trunk has any more are forgotten.
    pub(crate) fn next_in(&mut self, longest: Duration) -> Duration {
        let at = now().monotonic;
        self.known.retain(|_, known| known.until + TTL_MAX > at);
        let soonest = self.known.values().map(|known| known.until).min();
        let wait = soonest.map_or(longest, |until| until.saturating_duration_since(at));
        wait.clamp(Duration::from_secs(1), longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Name servers made of a list, which count how often they are asked.
    #[derive(Default)]
    struct Zone {
        records: Vec<(&'static str, Kind, Found)>,
        asked: Mutex<Vec<(String, Kind)>>,
        is_away: std::sync::atomic::AtomicBool,
        ttl: Duration,
    }

    impl Lookup for &Zone {
        async fn records(
            &self,
            name: &str,
            kind: Kind,
        ) -> Result<(Vec<Found>, Instant), LookupFailed> {
            if self.is_away.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(LookupFailed);
            }
            self.asked.lock().expect("no panic").push((name.to_owned(), kind));
            let fits = |it: &&(&str, Kind, Found)| it.0 == name && it.1 == kind;
            let found = self.records.iter().filter(fits).map(|it| it.2.clone()).collect();
            Ok((found, now().monotonic + self.ttl))
        }
    }

    fn address(text: &str) -> Found {
        Found::Address(text.parse().expect("an address"))
    }

    fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Found {
        Found::Srv { priority, weight, port, target: target.to_owned() }
    }

    fn zone() -> Zone {
        let naptr = Naptr {
            order: 10,
            preference: 1,
            flags: b"s".to_vec(),
            service: b"SIP+D2U".to_vec(),
            replacement: "_sip._udp.c.example".to_owned(),
        };
        Zone {
            records: vec![
                ("c.example", Kind::Naptr, Found::Naptr(naptr)),
                ("_sip._udp.c.example", Kind::Srv, srv(20, 0, 5060, "b.c.example")),
                ("_sip._udp.c.example", Kind::Srv, srv(10, 5, 5070, "a.c.example")),
                ("a.c.example", Kind::V4, address("192.0.2.1")),
                ("a.c.example", Kind::V6, address("2001:db8::1")),
                ("b.c.example", Kind::V4, address("192.0.2.2")),
                ("c.example", Kind::V4, address("192.0.2.9")),
            ],
            ttl: Duration::from_secs(60),
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
        let mut names = Names::new(Some(&zone));
        let found = run(names.find(&[name("c.example")], Transport::Udp));
        let wanted = ["10 192.0.2.1:5070", "10 [2001:db8::1]:5070", "20 192.0.2.2:5060"];
        assert_eq!(texts(&found), wanted);
        let asked = zone.asked.lock().expect("no panic").len();
        run(names.find(&[name("c.example")], Transport::Udp));
        assert_eq!(zone.asked.lock().expect("no panic").len(), asked, "known until the TTL ends");
        assert!(names.next_in(Duration::from_secs(3_600)) <= Duration::from_secs(60));
    }

    #[test]
    fn without_services_and_with_a_port_the_name_is_a_host() {
        let zone = zone();
        let mut names = Names::new(Some(&zone));
        let tls = run(names.find(&[name("c.example")], Transport::Tls));
        assert_eq!(texts(&tls), ["0 192.0.2.9:5061"]);
        let port = run(names.find(&[name("c.example:5080")], Transport::Udp));
        assert_eq!(texts(&port), ["0 192.0.2.9:5080"]);
    }

    #[test]
    fn places_are_asked_in_the_order_in_which_they_are_written() {
        let zone = zone();
        let mut names = Names::new(Some(&zone));
        let places = [name("c.example"), name("198.51.100.1:5060")];
        let found = texts(&run(names.find(&places, Transport::Udp)));
        assert_eq!(found.last().map(String::as_str), Some("21 198.51.100.1:5060"));
    }

    #[test]
    fn what_a_name_leads_to_keeps_the_name_as_it_is_written() {
        let zone = zone();
        let mut names = Names::new(Some(&zone));
        let places = ["c.example", "c.example:5080", "198.51.100.1:5060"].map(name);
        let found = run(names.find(&places, Transport::Udp));
        let mut written: Vec<_> = found.iter().map(|it| it.item.name.as_deref()).collect();
        written.dedup();
        assert_eq!(written, [Some("c.example"), Some("c.example:5080"), None]);
    }

    #[test]
    fn while_name_servers_are_silent_the_old_addresses_stay() {
        let zone = Zone { ttl: Duration::ZERO, ..zone() };
        let mut names = Names::new(Some(&zone));
        let place = [name("b.c.example:5060")];
        assert_eq!(texts(&run(names.find(&place, Transport::Udp))), ["0 192.0.2.2:5060"]);
        zone.is_away.store(true, std::sync::atomic::Ordering::SeqCst);
        for known in names.known.values_mut() {
            known.until = now().monotonic;
        }
        assert_eq!(texts(&run(names.find(&place, Transport::Udp))), ["0 192.0.2.2:5060"]);
        assert!(names.next_in(TTL_MAX) <= RETRY_AFTER);
        assert!(run(names.find(&[name("other.example")], Transport::Udp)).is_empty());
    }
}
