//! What subscribers answer to a whisper, by each way of typing, and by silence; and a code that is
//! spoken, typed in the menu, and written nowhere.

use std::f64::consts::TAU;
use std::net::SocketAddr;
use std::thread;

use maskline::rtp::g711::{A_LAW_SILENCE, encode_a_law};
use serde_json::{Value, json};

use crate::leaks;
use crate::peer::{Dialog, FRAME, Listener, Peer};
use crate::peers::{INSURER, free_port, until};
use crate::service::Service;
use crate::words::{Dictionary, write_short_clips};

/// One subscriber behind a carrier of its own.
struct Subscriber {
    x: String,
    real: String,
    phone: Peer,
}

/// How somebody types.
#[derive(Clone, Copy)]
enum Way {
    Events,
    Info,
    Tones,
}

impl Subscriber {
    fn new(service: &Service, nth: u8, dtmf: &str, who: &Value) -> Self {
        let ip = format!("127.0.3.{nth}");
        let at = SocketAddr::new(ip.parse().expect("an address"), free_port(&ip));
        let trunk = json!({
            "name": ip, "role": "carrier", "source_networks": [ip], "targets": [at], "dtmf": dtmf,
        });
        let trunk = service.operate("/v1/trunks", &trunk)["id"].clone();
        let pool = json!({"name": ip, "class": "mobile", "trunks": [trunk]});
        let pool = service.operate("/v1/pools", &pool)["id"].clone();
        let numbers = json!({"pool": pool, "numbers": [format!("1700000010{nth}")]});
        service.operate("/v1/numbers:import", &numbers);
        let real = format!("1380000500{nth}");
        let mut person = who.clone();
        person["real_number"] = json!(format!("+86{real}"));
        let person = service.post("/v1/subscribers", &person)["id"].clone();
        let binding = json!({
            "external_id": ip, "mode": "ax", "pool": pool, "policy": {"ref": "P-1"},
            "subscriber": {"id": person},
        });
        let x = service.post("/v1/bindings", &binding)["virtual_number"].clone();
        Self { x: x.as_str().expect("a number").to_owned(), real, phone: Peer::new(at) }
    }
}

/// A call that is announced.
struct Announced<'a> {
    service: &'a Service,
    words: &'a Dictionary,
    agent: Peer,
    subscriber: Subscriber,
    heard: Listener,
    /// Where the subscriber speaks to.
    to: SocketAddr,
    dialog: Dialog,
}

impl<'a> Announced<'a> {
    fn begin(service: &'a Service, words: &'a Dictionary, subscriber: Subscriber) -> Self {
        let agent = Peer::new(SocketAddr::new(INSURER.parse().expect("an address"), 0));
        agent.invite(&subscriber.x, service.sip);
        let heard = subscriber.phone.listen();
        let invite = subscriber.phone.expect("INVITE ");
        let to = subscriber.phone.answer_with(&invite, "200 OK", "", service.sip);
        let dialog = Dialog::of_callee(&invite);
        Self { service, words, agent, subscriber, heard, to, dialog }
    }

    /// Waits until it has been said that these clips are over, by the last of them.
    fn hears(&self, last: &str) -> Vec<String> {
        until(last, || {
            let said = self.words.understand(&self.heard.sound());
            said.last().is_some_and(|it| it == last).then_some(said)
        })
    }

    fn press(&mut self, way: Way, key: u8) {
        let (phone, relay) = (&mut self.subscriber.phone, self.service.sip);
        match way {
            Way::Events => phone.press(self.to, key),
            Way::Tones => tones(key).iter().for_each(|frame| phone.say_frame(self.to, frame)),
            Way::Info => {
                let kind = "Content-Type: application/dtmf-relay\r\n";
                let body = format!("Signal={key}\r\nDuration=160\r\n");
                phone.request(&mut self.dialog, "INFO", kind, &body, relay);
                phone.expect("SIP/2.0 200 ");
            }
        }
    }

    /// The agent gets this status, and the subscriber is let go; the record.
    fn ends(&self, status: &str) -> Value {
        let refusal = self.agent.expect_among(&["SIP/2.0 2", "SIP/2.0 4", "SIP/2.0 6"]);
        assert_eq!(&refusal[8..11], status, "{refusal}");
        self.agent.acknowledge(&refusal, self.service.sip);
        let bye = self.subscriber.phone.expect("BYE ");
        self.subscriber.phone.respond(&bye, "200 OK", "", "", self.service.sip);
        record(self.service, &self.subscriber.x)
    }
}

/// The newest record of the calls to a number.
fn record(service: &Service, x: &str) -> Value {
    until("the record", || {
        let records = service.get("/v1/calls?limit=200");
        let mut records = records["data"].as_array()?.iter();
        records.find(|record| record["virtual_number"] == x).cloned()
    })
}

/// 120 ms of the two tones of a digit from 1 to 9, and silence around them.
fn tones(digit: u8) -> Vec<[u8; FRAME]> {
    let (row, column) = (usize::from((digit - 1) / 3), usize::from((digit - 1) % 3));
    let (low, high) = ([697.0, 770.0, 852.0][row], [1209.0, 1336.0, 1477.0][column]);
    let sample = |at: usize| {
        let phase = |hz: f64| (at as f64 * hz * TAU / 8_000.0).sin();
        encode_a_law(((phase(low) + phase(high)) * 6_000.0) as i16)
    };
    let silence = [[A_LAW_SILENCE; FRAME]; 4];
    let tone = (0..6).map(|frame| std::array::from_fn(|at| sample(frame * FRAME + at)));
    silence.into_iter().chain(tone).chain(silence).collect()
}

/// Who calls, in this voice, for no stated purpose; `code`: its digits.
fn announcement(voice: &str, code: &[String]) -> Vec<String> {
    let before = ["hello", "insurer", "agent", "digit-4", "digit-8", "digit-2", "digit-1"];
    let keys = ["key-accept", "key-later", "key-no-more", "key-report", "key-wrong-person"];
    let clips = before.into_iter().chain(["purpose-unspecified", "code"]);
    let mut said: Vec<_> = clips.map(|clip| format!("{voice} {clip}")).collect();
    said.extend_from_slice(code);
    said.extend(keys.into_iter().map(|clip| format!("{voice} {clip}")));
    said
}

/// The clips of the digits of the code that is in this announcement.
fn spoken_code(said: &[String]) -> Vec<String> {
    let begin = said.iter().position(|clip| clip.ends_with(" code")).expect("a code") + 1;
    let digits = said[begin..].iter().take_while(|clip| clip.contains(" digit-"));
    digits.cloned().collect()
}

/// It is announced in full, and said no to by this key: what is said then, and the record.
fn says_no(mut call: Announced<'_>, voice: &str, way: Way, key: u8, status: &str) -> Vec<String> {
    let said = call.hears(&format!("{voice} key-wrong-person"));
    assert_eq!(said, announcement(voice, &spoken_code(&said)));
    call.press(way, key);
    let record = call.ends(status);
    let heard = call.words.understand(&call.heard.sound());
    let result = record["whisper"]["result"].as_str().expect("a result");
    [&heard[said.len()..], &[result.to_owned()]].concat()
}

#[test]
fn each_no_is_understood_in_each_way_of_typing_and_so_is_silence() {
    let service = Service::start_speaking("whisper-answers", write_short_clips);
    let words = Dictionary::with(Some(&service.folder.join("prompts")));
    let english = json!({"language": "en"});
    let chinese = json!({"language": "zh-CN"});
    let subscribers = [
        Subscriber::new(&service, 1, "rfc4733", &english),
        Subscriber::new(&service, 2, "info", &chinese),
        Subscriber::new(&service, 3, "inband", &chinese),
        Subscriber::new(&service, 4, "rfc4733", &chinese),
    ];
    let [later, wrong, report, silent] = subscribers;
    let (service, words) = (&service, &words);
    let begin = |subscriber| Announced::begin(service, words, subscriber);
    thread::scope(|scope| {
        let later = scope.spawn(|| says_no(begin(later), "en", Way::Events, 2, "480"));
        let wrong = scope.spawn(|| says_no(begin(wrong), "zh-CN", Way::Info, 8, "603"));
        let report = scope.spawn(|| says_no(begin(report), "zh-CN", Way::Tones, 9, "603"));
        let silent = scope.spawn(|| {
            let call = begin(silent);
            let record = call.ends("480");
            let said = words.understand(&call.heard.sound());
            let once = announcement("zh-CN", &spoken_code(&said));
            let end = ["zh-CN no-choice", "zh-CN goodbye"].map(str::to_owned);
            assert_eq!(said, [&once[..], &once[..], &end].concat());
            assert_eq!(record["cause"], "whisper_timeout", "{record}");
            assert_eq!(record["whisper"]["result"], "timed_out", "{record}");
        });
        assert_eq!(later.join().expect("no panic"), ["en done-later", "en goodbye", "later"]);
        let wrong = wrong.join().expect("no panic");
        assert_eq!(wrong, ["zh-CN done-wrong-person", "zh-CN goodbye", "wrong_person"]);
        let report = report.join().expect("no panic");
        assert_eq!(report, ["zh-CN done-report", "zh-CN goodbye", "reported"]);
        silent.join().expect("no panic");
    });
    let complaints = leaks::sql(service, "select count(*) from complaint");
    assert!(complaints.contains(" 1\n"), "{complaints}");
}

/// The digits of clips.
fn digits(clips: &[String]) -> String {
    clips.iter().filter_map(|clip| clip.rsplit_once("digit-")).map(|(_, digit)| digit).collect()
}

/// Where a code stands by itself, or its digits each by themselves.
fn holds_code(bytes: &[u8], code: &str) -> bool {
    let belongs = |byte: Option<&u8>| byte.is_some_and(|it| it.is_ascii_alphanumeric());
    let is_alone = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        // What follows a point is a part of a second.
        !belongs(before) && before != Some(&b'.') && !belongs(bytes.get(at + code.len()))
    };
    let signs: Vec<String> = code.chars().map(String::from).collect();
    let apart = [" ", ",", ", ", "', '", "\", \""].map(|between| signs.join(between));
    memchr::memmem::find_iter(bytes, code).any(is_alone)
        || apart.iter().any(|form| memchr::memmem::find(bytes, form.as_bytes()).is_some())
}

/// The lines about keys, and of each the digits that stand alone: what was typed would be there.
fn typed(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log).to_lowercase();
    let is_about_keys =
        |line: &&str| ["digit", "key", "dtmf", "signal="].iter().any(|it| line.contains(it));
    let words = text.lines().filter(is_about_keys).flat_map(|line| {
        line.split(|sign: char| !sign.is_ascii_alphanumeric()).filter(|word| word.len() == 1)
    });
    words.filter(|word| word.as_bytes()[0].is_ascii_digit()).collect()
}

/// The subscriber dials its X, reaches a busy desk, and asks the menu by the keys of its phone
/// whether the call with this code was real.
fn asks_by_menu(service: &Service, words: &Dictionary, subscriber: &mut Subscriber, code: &str) {
    let desk = Peer::new(service.sides.insurer);
    let Subscriber { x, real, phone } = subscriber;
    let relay = service.sip;
    phone.invite_as(real, x, "", &phone.sdp(), relay);
    let invite = desk.expect("INVITE ");
    desk.respond(&invite, "486 Busy Here", "", "", relay);
    let heard = phone.listen();
    let (to, _) = phone.is_confirmed(relay);
    let voice = "zh-CN/slow";
    let mut done = 0;
    // Waits until these words are said in a row; others may have been cut short by a key.
    let mut hears = |clips: &[&str]| {
        let clips: Vec<_> = clips.iter().map(|clip| format!("{voice} {clip}")).collect();
        let last = clips.last().expect("a clip").clone();
        let said = until(&last, || {
            let said = words.understand(&heard.sound()).split_off(done);
            said.contains(&last).then_some(said)
        });
        assert!(said.windows(clips.len()).any(|row| row == clips), "{clips:?} in {said:?}");
        done += said.len();
    };
    let star = 10;
    let hash = 11;
    let mut types = |keys: &str, end: Option<u8>| {
        let digits = keys.bytes().map(|digit| digit - b'0').chain(end);
        digits.for_each(|key| phone.press(to, key));
    };
    hears(&["nobody-there", "menu-offer"]);
    types("", Some(star));
    let choices =
        ["menu-callers", "menu-pause", "menu-block", "menu-report", "menu-verify", "menu-end"];
    hears(&choices);
    types("5", None);
    hears(&["enter-code"]);
    let wrong: String =
        code.bytes().map(|digit| char::from(b'0' + (digit - b'0' + 1) % 10)).collect();
    types(&wrong, Some(hash));
    hears(&["was-not-real"]);
    types("5", None);
    hears(&["enter-code"]);
    types(code, Some(hash));
    hears(&["was-real", "insurer", "purpose-unspecified", "day-today"]);
    types("0", None);
    let bye = phone.expect("BYE ");
    phone.respond(&bye, "200 OK", "", "", relay);
}

#[test]
fn a_code_is_spoken_slowly_and_typed_and_written_nowhere() {
    let mut service = Service::start_speaking("code", write_short_clips);
    let mark = service.folder.join("begun");
    std::fs::write(&mark, "").expect("a writable folder");
    let begun = std::fs::metadata(&mark).and_then(|facts| facts.modified()).expect("a time");
    let words = Dictionary::with(Some(&service.folder.join("prompts")));
    let senior = json!({"language": "zh-CN", "age_band": "senior"});
    let subscriber = Subscriber::new(&service, 1, "rfc4733", &senior);
    let mut call = Announced::begin(&service, &words, subscriber);
    let said = call.hears("zh-CN/slow key-wrong-person");
    let code = spoken_code(&said);
    assert_eq!(said, announcement("zh-CN/slow", &code));
    let code = digits(&code);
    assert_eq!(code.len(), 6);
    call.press(Way::Events, 1);
    let (_, mut dialog) = call.agent.is_confirmed(service.sip);
    call.agent.request(&mut dialog, "BYE", "", "", service.sip);
    call.agent.expect("SIP/2.0 200 ");
    let Announced { mut subscriber, heard, .. } = call;
    drop(heard);
    let bye = subscriber.phone.expect("BYE ");
    subscriber.phone.respond(&bye, "200 OK", "", "", service.sip);
    let first = record(&service, &subscriber.x);
    assert_eq!(first["whisper"]["result"], "accepted", "{first}");
    asks_by_menu(&service, &words, &mut subscriber, &code);
    service.records(2);

    let mut surfaces = leaks::surfaces(&service);
    let events = service.get("/v1/events?limit=100").to_string();
    assert!(events.contains("whisper.accepted"), "{events}");
    surfaces.push(("events".to_owned(), events.into_bytes()));
    service.stop();
    surfaces.extend(leaks::files(&service.folder.join("pg"), begun));
    surfaces.push(("the whole log".to_owned(), service.log()));
    for (name, bytes) in &surfaces {
        assert!(!holds_code(bytes, &code), "{name} holds the code");
    }
    assert!(!typed(&service.log()).contains(&code), "the log holds the keys");
    // The search finds what is there.
    for text in [format!("(key {code})"), format!("{:?}", code.chars().collect::<Vec<_>>())] {
        assert!(holds_code(text.as_bytes(), &code), "{text}");
    }
}
