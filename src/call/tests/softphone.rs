//! Softphones of agents: registered by their logins, and heard from nowhere else.

#[cfg(test)]
use super::harness::*;
use crate::call::door::REALM;
use crate::call::io::{Input, LoginAnswer, Peer, PeerRole, SecurityEvent};
use crate::domain::id::{AgentId, TrunkId};
use crate::domain::route::RouteQuery;
use crate::sip::digest::{self, Account, Challenge, Secret};
use crate::sip::transport::Transport;

pub(super) const USER: &str = "a0123";
const PASSWORD: &str = "made by us";
pub(super) const AGENT: AgentId = AgentId::from_u128(0xa9);
/// A login that the same agent was given later.
pub(super) const RENEWED: &str = "a0124";
/// Somebody else's login.
pub(super) const VICTIM: &str = "a0999";
pub(super) const VICTIMS_AGENT: AgentId = AgentId::from_u128(0xb0);
/// Others of the same office.
pub(super) const COLLEAGUES: [&str; 3] = ["a0201", "a0202", "a0203"];

pub(super) fn softphone(port: u16) -> Peer {
    Peer {
        address: format!("192.0.2.99:{port}").parse().expect("an address"),
        transport: Transport::Tls,
        trunk: TrunkId::from_u128(0),
        role: PeerRole::Softphone,
    }
}

/// A phone that registers and calls.
pub(super) struct Phone {
    pub(super) peer: Peer,
    pub(super) user: &'static str,
    pub(super) challenge: Option<Challenge>,
    pub(super) count: u32,
    pub(super) cseq: u32,
    pub(super) password: &'static str,
    /// Empty for one of its port.
    pub(super) call_id: &'static str,
}

impl Phone {
    pub(super) fn at(port: u16) -> Self {
        let peer = softphone(port);
        Self {
            peer,
            user: USER,
            challenge: None,
            count: 0,
            cseq: 0,
            password: PASSWORD,
            call_id: "",
        }
    }

    pub(super) fn credentials(&mut self, method: &str, uri: &str) -> String {
        let Some(challenge) = &self.challenge else { return String::new() };
        self.count += 1;
        let account = Account { user: self.user.into(), password: self.password.into() };
        let (method, uri) = (method.as_bytes(), uri.as_bytes());
        let value = digest::answer(&account, challenge, method, uri, self.count, 1);
        format!("Authorization: {}\r\n", String::from_utf8(value).expect("ASCII"))
    }

    pub(super) fn register(&mut self, h: &mut Harness, contact: &str) -> String {
        let request = self.registration(contact);
        self.say(h, &request)
    }

    /// Asks to be registered, whether or not there is an answer.
    pub(super) fn tries(&mut self, h: &mut Harness) -> Vec<String> {
        let request = self.registration(CONTACT);
        h.from(self.peer, request);
        self.answer_lookup(h);
        h.take(self.peer)
    }

    fn registration(&mut self, contact: &str) -> String {
        self.cseq += 1;
        let credentials = self.credentials("REGISTER", "sip:203.0.113.5");
        let (cseq, host, port) = (self.cseq, self.peer.address, self.peer.address.port());
        let (user, call_id) = (self.user, self.call_id);
        let call_id = if call_id.is_empty() { format!("reg-{port}") } else { call_id.into() };
        format!(
            "REGISTER sip:203.0.113.5 SIP/2.0\r\n\
             Via: SIP/2.0/TLS {host};branch=z9hG4bKr{port}x{cseq}\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@203.0.113.5>;tag=p\r\nTo: <sip:{user}@203.0.113.5>\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n{contact}{credentials}\
             Content-Length: 0\r\n\r\n"
        )
    }

    /// The caller of a new attempt to X, with what proves who it is.
    pub(super) fn caller(&mut self, call_id: &str) -> Caller {
        self.cseq += 1;
        let extra = self.credentials("INVITE", &format!("sip:{X}@203.0.113.5"));
        Caller { extra, cseq: self.cseq, ..Caller::at(self.peer, USER, call_id) }
    }

    pub(super) fn invite(&mut self, h: &mut Harness, call_id: &str) -> Vec<String> {
        let caller = self.caller(call_id);
        let branch = format!("i{call_id}{}", self.cseq);
        let text = caller.with("INVITE", &branch, caller.cseq, &caller.extra, &caller.body);
        h.from(self.peer, text);
        self.answer_lookup(h);
        h.take(self.peer)
    }

    fn say(&mut self, h: &mut Harness, request: &str) -> String {
        h.from(self.peer, request);
        self.answer_lookup(h);
        let answer = h.take_one(self.peer);
        let challenges = headers(&answer, "WWW-Authenticate");
        let of_sha = challenges.iter().find(|it| it.contains("algorithm=SHA-256"));
        if let Some(value) = of_sha {
            self.challenge = Some(Challenge::parse(value.as_bytes()).expect("our own"));
            self.count = 0;
        }
        answer
    }

    pub(super) fn answer_lookup(&self, h: &mut Harness) {
        for (request, user) in std::mem::take(&mut h.logins) {
            let found = |agent, password: &str| {
                let secret = Secret::of(user.as_bytes(), REALM.as_bytes(), password.as_bytes());
                LoginAnswer::Found { tenant: TENANT, agent, secret }
            };
            let answer = match &*user {
                USER | RENEWED => found(AGENT, PASSWORD),
                VICTIM => found(VICTIMS_AGENT, "another one"),
                other => match COLLEAGUES.iter().position(|it| *it == other) {
                    Some(at) => found(AgentId::from_u128(0xc0 + at as u128), PASSWORD),
                    None => LoginAnswer::Unknown,
                },
            };
            h.input(Input::Login { request, answer });
        }
    }
}

pub(super) const CONTACT: &str = "Contact: <sip:a0123@10.0.0.7:5061;transport=tls>;expires=120\r\n";

pub(super) fn registered(h: &mut Harness) -> Phone {
    let mut phone = Phone::at(40_000);
    assert_eq!(start(&phone.register(h, CONTACT)), "401 REGISTER");
    assert!(h.proved.is_empty(), "it has shown nothing yet");
    let answer = phone.register(h, CONTACT);
    assert_eq!(start(&answer), "200 REGISTER");
    assert_eq!(h.proved, [phone.peer.hop()]);
    assert_eq!(header(&answer, "Contact"), "<sip:a0123@10.0.0.7:5061;transport=tls>;expires=120");
    phone
}

#[test]
fn a_registered_softphone_calls_as_its_agent() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    assert!(phone.invite(&mut h, "c1").is_empty(), "not asked again: the nonce is counted on");
    let (_, query) = h.asked.last().expect("a route is asked for");
    let RouteQuery::FromInsurer { tenant, dialled, caller, .. } = query else {
        panic!("{query:?}")
    };
    assert_eq!((*tenant, dialled.as_str(), &**caller), (TENANT, X, &*format!("@{AGENT}")));
    let invite = h.take_one(carrier());
    assert_eq!(start(&invite), "INVITE");
    assert!(!invite.contains(USER) && !invite.contains("192.0.2.99"));
    h.from(carrier(), reply(&invite, "200 OK", "bob", &sdp("198.51.100.77", 6_000)));
    assert_eq!(h.lines(phone.peer), ["200 INVITE"]);
}

#[test]
fn a_softphone_calls_from_nowhere_but_where_it_has_registered_and_no_longer_than_it_has() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    let mut elsewhere = Phone::at(40_001);
    assert_eq!(start(&elsewhere.register(&mut h, "")), "401 REGISTER");
    let refused = elsewhere.invite(&mut h, "c1");
    assert_eq!(refused.iter().map(|it| start(it)).collect::<Vec<_>>(), ["403 INVITE"]);
    h.advance(std::time::Duration::from_secs(121));
    let late = phone.invite(&mut h, "c2");
    assert_eq!(late.iter().map(|it| start(it)).collect::<Vec<_>>(), ["403 INVITE"]);
    assert!(h.asked.is_empty() && h.take(carrier()).is_empty());
    assert_eq!(start(&phone.register(&mut h, CONTACT)), "200 REGISTER");
    assert!(phone.invite(&mut h, "c3").is_empty());
}

#[test]
fn a_softphone_that_unregisters_calls_no_more() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    let ended = phone.register(&mut h, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(start(&ended), "200 REGISTER");
    assert!(headers(&ended, "Contact").is_empty());
    let refused = phone.invite(&mut h, "c1");
    assert_eq!(refused.iter().map(|it| start(it)).collect::<Vec<_>>(), ["403 INVITE"]);
}

/// S21: what cracks passwords gets five tries, and then nothing to try on.
#[test]
fn guessing_is_written_down_and_then_met_with_silence() {
    let mut h = Harness::new();
    let mut phone = Phone { password: "guessed", ..Phone::at(40_000) };
    assert_eq!(start(&phone.register(&mut h, CONTACT)), "401 REGISTER");
    for _ in 0..5 {
        assert!(h.proved.is_empty());
        assert_eq!(start(&phone.register(&mut h, CONTACT)), "401 REGISTER");
    }
    let source = phone.peer.address.ip();
    assert_eq!(h.security[..5], [SecurityEvent::LoginFailed { source }; 5]);
    assert_eq!(h.security[5..], [SecurityEvent::Silenced { source }]);
    for at in 0..20 {
        let caller = Caller::at(phone.peer, USER, &format!("c{at}"));
        for method in ["REGISTER", "INVITE", "OPTIONS", "FROBNICATE"] {
            h.from(phone.peer, caller.with(method, &format!("{method}{at}"), 1, "", ""));
        }
        h.from(phone.peer, "INVITE nonsense SIP/2.0\r\n\r\n");
    }
    assert!(h.take(phone.peer).is_empty() && h.logins.is_empty());
    assert_eq!(h.security.len(), 6, "silence needs no more lines");
    h.advance(std::time::Duration::from_secs(301));
    assert_eq!(start(&phone.register(&mut h, CONTACT)), "401 REGISTER");
}

#[test]
fn a_call_of_a_softphone_goes_on_when_its_address_is_silenced() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    let answers = phone.invite(&mut h, "c1");
    assert!(answers.is_empty());
    let invite = h.take_one(carrier());
    h.from(carrier(), reply(&invite, "200 OK", "bob", &sdp("198.51.100.77", 6_000)));
    let answered = h.take_one(phone.peer);
    let mut caller = Caller { cseq: phone.cseq, ..Caller::at(phone.peer, USER, "c1") };
    caller.learn(&answered);
    h.from(phone.peer, caller.ack());
    phone.register(&mut h, "Contact: *\r\nExpires: 0\r\n");
    ask_in_vain(&mut h, phone.peer, 10);
    h.from(phone.peer, Caller::at(phone.peer, USER, "o").with("OPTIONS", "o", 1, "", ""));
    assert!(h.take(phone.peer).is_empty(), "silence");
    h.from(phone.peer, caller.bye());
    assert_eq!(h.lines(phone.peer), ["200 BYE"]);
}

/// Whoever can say which names exist needs only the passwords.
#[test]
fn nobody_is_looked_up_before_an_answer_to_a_question_of_ours_has_come() {
    let mut h = Harness::with(|config| {
        config.softphone_digest = digest::Algorithm::Sha256..=digest::Algorithm::Sha512T256;
    });
    let mut phone = Phone::at(40_000);
    assert_eq!(start(&phone.register(&mut h, CONTACT)), "401 REGISTER");
    let right = phone.credentials("REGISTER", "sip:203.0.113.5");
    let nonce = right.split("nonce=\"").nth(1).expect("a nonce").split('"').next().unwrap();
    let weak = right.replace("algorithm=SHA-256", "algorithm=MD5");
    let garbage = right.replace(nonce, &"0".repeat(nonce.len()));
    for user in [USER, "nobody"] {
        for (at, credentials) in [&weak, &garbage, "Authorization: Digest x\r\n"].iter().enumerate()
        {
            let extra = credentials.replace(USER, user);
            for method in ["REGISTER", "INVITE"] {
                let caller = Caller::at(phone.peer, USER, &format!("{user}{at}{method}"));
                let branch = format!("{user}{at}{method}");
                h.from(phone.peer, caller.with(method, &branch, 1, &extra, ""));
                assert_eq!(h.lines(phone.peer), [format!("401 {method}")]);
                assert!(h.logins.is_empty() && h.security.is_empty());
            }
        }
    }
    assert_eq!(h.core.occupancy().transactions, 0, "nothing is kept of who is asked");
    h.advance(std::time::Duration::from_secs(301));
    let answer = phone.register(&mut h, CONTACT);
    assert!(headers(&answer, "WWW-Authenticate").concat().contains("stale=true"));
    assert_eq!(start(&phone.register(&mut h, CONTACT)), "200 REGISTER");
}

#[test]
fn a_source_has_few_lookups_under_way_and_taking_requests_back_makes_no_room() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    let mut refused = 0;
    for at in 0..100 {
        phone.cseq += 1;
        let extra = phone.credentials("INVITE", &format!("sip:{X}@203.0.113.5"));
        let caller = Caller::at(phone.peer, USER, &format!("c{at}"));
        let name = format!("c{at}");
        h.from(phone.peer, caller.with("INVITE", &name, phone.cseq, &extra, &caller.body));
        h.from(phone.peer, caller.with("CANCEL", &name, phone.cseq, "", ""));
        refused += h.lines(phone.peer).iter().filter(|line| *line == "503 INVITE").count();
    }
    assert_eq!((h.logins.len(), refused), (64, 36));
    phone.answer_lookup(&mut h);
    assert_eq!(start(&phone.register(&mut h, CONTACT)), "200 REGISTER");
}

#[test]
fn a_softphones_calls_count_when_it_is_known_whose_it_is() {
    let mut h = Harness::with(|config| config.softphone_cps_max = Some(1));
    let mut phone = registered(&mut h);
    for at in 0..20 {
        h.from(softphone(40_001), Caller::at(softphone(40_001), USER, &format!("u{at}")).invite());
    }
    h.take(softphone(40_001));
    assert!(phone.invite(&mut h, "c1").is_empty());
    let refused = phone.invite(&mut h, "c2");
    assert_eq!(refused.iter().map(|it| start(it)).collect::<Vec<_>>(), ["503 INVITE"]);
    assert_eq!(h.core.counters().refused_source, 1);
}

/// What phones ask for by themselves, again and again.
pub(super) fn ask_in_vain(h: &mut Harness, peer: Peer, times: u32) -> Vec<String> {
    for at in 0..times {
        let method = ["SUBSCRIBE", "OPTIONS", "PUBLISH"][at as usize % 3];
        let asking = Caller::at(peer, USER, &format!("v{at}"));
        h.from(peer, asking.with(method, &format!("v{at}"), 1, "", ""));
    }
    h.lines(peer)
}

#[test]
fn a_registered_phone_that_asks_for_what_is_not_served_silences_nobody() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    let answers = ask_in_vain(&mut h, phone.peer, 60);
    assert_eq!(answers.len(), 60);
    assert!(answers.iter().all(|answer| answer.starts_with("405 ")));
    h.from(phone.peer, "OPTIONS nonsense SIP/2.0\r\n\r\n");
    assert!(h.security.is_empty());
    assert_eq!(start(&phone.register(&mut h, CONTACT)), "200 REGISTER");
    assert_eq!(start(&Phone::at(40_001).register(&mut h, CONTACT)), "401 REGISTER");
}

#[test]
fn a_registered_phone_is_heard_while_its_office_is_silenced() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    ask_in_vain(&mut h, softphone(40_001), 10);
    assert_eq!(h.security.len(), 1);
    assert!(ask_in_vain(&mut h, softphone(40_002), 3).is_empty(), "silence");
    assert_eq!(start(&phone.register(&mut h, CONTACT)), "200 REGISTER");
    assert!(phone.invite(&mut h, "c1").is_empty());
    assert_eq!(h.lines(carrier()), ["INVITE"]);
    // The place of a connection that is closed may be taken by anybody.
    h.input(Input::Unreachable { peer: phone.peer.hop() });
    assert!(ask_in_vain(&mut h, phone.peer, 3).is_empty());
}

#[test]
fn nobody_registers_for_another_one_and_nothing_else_is_served() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    phone.cseq += 1;
    let credentials = phone.credentials("REGISTER", "sip:203.0.113.5");
    let cseq = phone.cseq;
    let other = format!(
        "REGISTER sip:203.0.113.5 SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.99;branch=z9hG4bKo\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{USER}@h>;tag=p\r\nTo: <sip:other@h>\r\nCall-ID: o\r\n\
         CSeq: {cseq} REGISTER\r\n{CONTACT}{credentials}Content-Length: 0\r\n\r\n"
    );
    assert_eq!(start(&phone.say(&mut h, &other)), "403 REGISTER");
    for method in ["OPTIONS", "MESSAGE", "SUBSCRIBE", "REFER"] {
        let caller = Caller::at(phone.peer, USER, method);
        h.from(phone.peer, caller.with(method, method, 1, "", ""));
        assert_eq!(h.lines(phone.peer), [format!("405 {method}")]);
    }
    // On a trunk, REGISTER is nothing that we do.
    h.from(pbx(), Caller::agent().with("REGISTER", "r", 1, "", ""));
    assert_eq!(h.lines(pbx()), ["405 REGISTER"]);
}

/// RFC 3261 §10.3.
#[test]
fn a_query_lists_all_places_of_the_agent_and_a_star_clears_them_all() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    h.advance(std::time::Duration::from_secs(20));
    let mut other = Phone::at(40_001);
    other.register(&mut h, "");
    let both = other.register(&mut h, "Contact: <sip:b@10.0.0.8>\r\nExpires: 60\r\n");
    let listed =
        ["<sip:a0123@10.0.0.7:5061;transport=tls>;expires=100", "<sip:b@10.0.0.8>;expires=60"];
    assert_eq!(headers(&both, "Contact"), listed);
    assert_eq!(headers(&phone.register(&mut h, ""), "Contact"), listed, "a query");
    for broken in [
        "Contact: *\r\n",
        "Contact: *\r\nExpires: 1\r\n",
        "Contact: *, <sip:b@10.0.0.8>\r\nExpires: 0\r\n",
        "Contact: <sip:b@10.0.0.8\r\n",
    ] {
        assert_eq!(start(&other.register(&mut h, broken)), "400 REGISTER", "{broken}");
    }
    let cleared = other.register(&mut h, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(start(&cleared), "200 REGISTER");
    assert!(headers(&cleared, "Contact").is_empty());
    assert_eq!(
        phone.invite(&mut h, "c1").iter().map(|it| start(it)).next(),
        Some("403 INVITE".into())
    );
}

#[test]
fn the_number_of_a_request_counts_within_its_call_id_alone() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    phone.cseq = 10;
    assert_eq!(start(&phone.register(&mut h, CONTACT)), "200 REGISTER");
    phone.cseq = 6;
    let late = phone.register(&mut h, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(start(&late), "500 REGISTER", "an old one that comes late");
    assert!(phone.invite(&mut h, "c1").is_empty(), "it has changed nothing");
    // A phone that has been started anew by the same connection counts from the beginning.
    phone.cseq = 0;
    phone.call_id = "reg-anew";
    assert_eq!(start(&phone.register(&mut h, CONTACT)), "200 REGISTER");
}

#[test]
fn a_registration_that_demands_what_we_cannot_do_is_told_so() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    let answer = phone.register(&mut h, "Require: gruu, path\r\n");
    assert_eq!(start(&answer), "420 REGISTER");
    assert_eq!(header(&answer, "Unsupported"), "gruu, path");
}

#[test]
fn an_agent_has_a_bounded_list_of_places() {
    let mut h = Harness::new();
    let mut first = registered(&mut h);
    for port in 40_001..40_006 {
        let mut phone = Phone::at(port);
        phone.register(&mut h, "");
        h.advance(ms(10));
        assert_eq!(start(&phone.register(&mut h, CONTACT)), "200 REGISTER");
    }
    let refused = first.invite(&mut h, "c1");
    assert_eq!(refused.iter().map(|it| start(it)).collect::<Vec<_>>(), ["403 INVITE"]);
}

#[test]
fn a_cancel_while_the_login_is_looked_up_ends_the_attempt() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    let caller = phone.caller("c1");
    h.from(phone.peer, caller.invite());
    h.from(phone.peer, caller.cancel());
    assert_eq!(h.lines(phone.peer), ["487 INVITE", "200 CANCEL"]);
    phone.answer_lookup(&mut h);
    assert!(h.asked.is_empty());
}
