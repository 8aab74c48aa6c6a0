//! Our reader of messages beside that of rsipstack: every disagreement has one of the reasons.

#[path = "../sip/mutate.rs"]
mod mutate;
#[expect(dead_code, reason = "its names are for other tests")]
#[path = "../protos/mod.rs"]
mod protos;
mod reasons;
#[path = "../fuzz/seeds.rs"]
mod seeds;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use maskline::sip::header::HeaderId;
use maskline::sip::message::Message;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use rsipstack::sip::{HasHeaders, Header, SipMessage, parser};

use protos::Setting;

const SEED: u64 = 714;
const MUTATIONS_USUAL: u64 = 50_000;
/// So many unexplained disagreements are shown.
const SHOWN_MAX: usize = 10;

/// So much of each.
const SHOWN_BYTES_MAX: usize = 2_000;

/// What a reader has understood of a message, as text that can be compared.
#[derive(Debug, Eq, PartialEq)]
struct View {
    /// The method, or the status.
    kind: String,
    call_id: String,
    cseq: String,
    from: String,
    to: String,
    via: String,
    body: Vec<u8>,
}

impl View {
    /// The names of the parts that differ.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let parts = [
            ("kind", self.kind == other.kind),
            ("call-id", self.call_id == other.call_id),
            ("cseq", self.cseq == other.cseq),
            ("from", self.from == other.from),
            ("to", self.to == other.to),
            ("via", self.via == other.via),
            ("body", self.body == other.body),
        ];
        parts.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}

/// White space is one space: folds are joined differently.
fn plain(text: &[u8]) -> String {
    String::from_utf8_lossy(text).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn our_view(message: &Message) -> View {
    let first = |id| message.header(id).map(plain).unwrap_or_default();
    let status = message.status().map(|status| status.to_string());
    View {
        kind: status.unwrap_or_else(|| plain(message.method_name())),
        call_id: first(HeaderId::CallId),
        cseq: first(HeaderId::CSeq),
        from: first(HeaderId::From),
        to: first(HeaderId::To),
        via: first(HeaderId::Via),
        body: message.body().to_vec(),
    }
}

fn their_view(message: &SipMessage) -> View {
    let (kind, headers, body) = match message {
        SipMessage::Request(it) => (it.method.to_string(), it.headers(), &it.body),
        SipMessage::Response(it) => (it.status_code.code().to_string(), it.headers(), &it.body),
    };
    let mut view = View {
        kind,
        call_id: String::new(),
        cseq: String::new(),
        from: String::new(),
        to: String::new(),
        via: String::new(),
        body: body.clone(),
    };
    for header in headers.iter() {
        let (place, value) = match header {
            Header::CallId(it) => (&mut view.call_id, it.value()),
            Header::CSeq(it) => (&mut view.cseq, it.value()),
            Header::From(it) => (&mut view.from, it.value()),
            Header::To(it) => (&mut view.to, it.value()),
            Header::Via(it) => (&mut view.via, it.value()),
            _ => continue,
        };
        if place.is_empty() {
            *place = plain(value.as_bytes());
        }
    }
    view
}

/// How often each reason was needed, and what has none.
#[derive(Default)]
struct Tally {
    agreed: u64,
    reasons: BTreeMap<String, u64>,
    unexplained: Vec<String>,
}

impl Tally {
    fn compare(&mut self, bytes: &[u8]) {
        let ours = Message::parse(Bytes::copy_from_slice(bytes));
        let theirs = catch_unwind(AssertUnwindSafe(|| parser::parse_message(bytes)));
        let reason = match (&ours, &theirs) {
            (_, Err(_)) => Some("it panics".to_owned()),
            (Err(_), Ok(Err(_))) => None,
            (Err(malformed), Ok(Ok(_))) => Some(reasons::refused(malformed.fault()).to_owned()),
            (Ok(message), Ok(Err(error))) => Some(reasons::accepted(message, bytes).map_or_else(
                || self.note(bytes, &format!("we read it, they say {error}")),
                str::to_owned,
            )),
            (Ok(message), Ok(Ok(other))) => {
                let (ours, theirs) = (our_view(message), their_view(other));
                match ours.differences(&theirs).as_slice() {
                    [] => None,
                    parts => Some(reasons::differs(message, bytes, parts).map_or_else(
                        || self.note(bytes, &format!("{parts:?} differ")),
                        str::to_owned,
                    )),
                }
            }
        };
        match reason {
            Some(reason) => *self.reasons.entry(reason).or_default() += 1,
            None => self.agreed += 1,
        }
    }

    fn note(&mut self, bytes: &[u8], what: &str) -> String {
        if self.unexplained.len() < SHOWN_MAX {
            let start = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes).escape_ascii();
            self.unexplained.push(format!("{what}\n    of {start}"));
        }
        "UNEXPLAINED".to_owned()
    }
}

#[test]
fn every_disagreement_with_another_reader_has_a_reason() {
    let tried = std::env::var("MASKLINE_DIFFERENCES").ok().and_then(|text| text.parse().ok());
    let setting =
        Setting { local: "192.0.2.10:5060", agent: "8001", virtual_number: "95012345678" };
    let mut seeds: Vec<Bytes> = seeds::of("message").into_iter().map(Bytes::from).collect();
    seeds.extend((0..20).map(|number| Bytes::from(protos::valid(&setting, number))));
    let mut tally = Tally::default();
    std::panic::set_hook(Box::new(|_| {}));
    for seed in &seeds {
        tally.compare(seed);
    }
    for case in protos::cases(&setting) {
        tally.compare(&case.bytes);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    for _ in 0..tried.unwrap_or(MUTATIONS_USUAL) {
        tally.compare(&mutate::mutated(&seeds, &mut rng));
    }
    let _ = std::panic::take_hook();
    println!("{:>8} agreed", tally.agreed);
    for (reason, count) in &tally.reasons {
        println!("{count:>8} {reason}");
    }
    assert!(tally.unexplained.is_empty(), "no reason for\n{}", tally.unexplained.join("\n"));
}
