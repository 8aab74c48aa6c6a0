//! Thousands of INVITEs with one broken field each, told to the brain: it lives on, answers what
//! can be answered, and keeps nothing of them.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::act::header;
use crate::brain::{Brain, X, carrier, pbx};
use crate::protos::{Case, Setting, cases, valid};

const SETTING: Setting<'_> = Setting { local: "192.0.2.10:5060", agent: "8001", virtual_number: X };
/// An attempt that nothing else has answered by then was answered 100.
const TRYING: Duration = Duration::from_millis(250);

fn probe(number: usize) -> String {
    format!(
        "OPTIONS sip:203.0.113.5 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKprobe{number}\
         \r\nMax-Forwards: 70\r\nFrom: <sip:p@192.0.2.10>;tag=p\r\nTo: <sip:203.0.113.5>\r\n\
         Call-ID: probe-{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// What the callee's carrier says when it is called.
fn busy(invite: &str) -> String {
    let [via, from, to, call_id, cseq] =
        ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| header(invite, name));
    format!(
        "SIP/2.0 486 Busy Here\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to};tag=busy\r\n\
         Call-ID: {call_id}\r\nCSeq: {cseq}\r\nContent-Length: 0\r\n\r\n"
    )
}

#[test]
fn there_are_as_many_cases_as_protos_had() {
    let names = |name: fn(Case) -> String| cases(&SETTING).map(name).collect::<BTreeSet<_>>();
    let fields = names(|case| case.field.to_owned());
    let anomalies = names(|case| case.anomaly);
    assert!(fields.len() >= 60, "{} fields", fields.len());
    assert!(anomalies.len() >= 75, "{} anomalies", anomalies.len());
    assert!(cases(&SETTING).count() >= 4_500);
}

#[test]
fn the_message_without_an_anomaly_places_a_call() {
    let mut brain = Brain::new(1);
    brain.receive(pbx(), valid(&SETTING, 0).into());
    assert!(brain.last_sent(carrier(), "INVITE ").is_some());
    assert_eq!(brain.core.counters().attempts, 1);
}

#[test]
fn no_broken_field_stops_the_brain_or_leaves_anything_behind() {
    let mut brain = Brain::new(0x0c07);
    let (mut unanswered, mut called) = (vec![], 0);
    for case in cases(&SETTING) {
        brain.receive(pbx(), case.bytes.clone().into());
        if let Some(busy) = brain.last_sent(carrier(), "INVITE ").map(busy) {
            called += 1;
            brain.receive(carrier(), busy.into());
        }
        brain.advance(TRYING);
        let branch = format!(";branch=z9hG4bKcase{};", case.number);
        if case.must_be_answered() && !brain.has_answered(pbx(), &branch) {
            unanswered.push(case.name());
        }
        brain.receive(pbx(), probe(case.number).into());
        let answer = brain.last_sent(pbx(), "SIP/2.0 200 OK\r\n").unwrap_or_default();
        assert!(answer.contains(&format!("probe-{}", case.number)), "{}", case.name());
        brain.forget();
    }
    assert!(unanswered.is_empty(), "{} are dropped:\n{}", unanswered.len(), unanswered.join("\n"));
    brain.check_nothing_is_left();
    let counters = brain.core.counters();
    eprintln!("{} cases, {called} calls: {counters:?}", cases(&SETTING).count());
    assert!(called > 1_000 && counters.malformed_answered > 1_000, "{counters:?}");
}
