//! The order of questions about a name, and what counts of the answers, with made-up answers.

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
    async fn records(&self, name: &str, kind: Kind) -> Result<(Vec<Found>, Instant), LookupFailed> {
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
