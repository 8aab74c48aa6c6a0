//! A call with SRTP on both legs, between two baresips over TLS: each hears the tone of the other,
//! and the keys are nowhere but on their own leg.

use std::collections::BTreeSet;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::certificates;
use crate::leaks;
use crate::peers::{CARRIER, Process, Softphone, free_port, until};
use crate::service::Service;
use crate::softphone::{login, order, register};
use crate::sound;
use crate::tls_carrier::bind_by_tls;

const REAL: &str = "+8613800001234";
const AGENT_HZ: u32 = 440;
const SUBSCRIBER_HZ: u32 = 880;

/// A phone at a carrier over TLS that insists on SRTP and answers every call.
fn subscriber(service: &Service, port: u16) -> Softphone {
    let folder = service.folder.join("subscriber");
    fs::create_dir_all(&folder).expect("a writable folder");
    let file = |name: &str| fs::read(certificates::folder().join(name)).expect("of the tests");
    let both = [file("carrier.pem"), file("carrier.key")].concat();
    fs::write(folder.join("both.pem"), both).expect("a writable folder");
    let config = format!(
        "sip_listen {CARRIER}:{port}\nmodule srtp.so\nsip_certificate {}/both.pem\n",
        folder.display()
    );
    let account = format!(
        "<sip:{REAL}@{CARRIER}:{};transport=tls>;regint=0;answermode=auto;audio_codecs=PCMA;\
         mediaenc=srtp-mand\n",
        port + 1
    );
    Softphone::launch(folder, SUBSCRIBER_HZ, &config, &account, &[])
}

/// The keys that a phone has sent or received, as they stand in SDP.
fn keys(phone: &Process) -> BTreeSet<String> {
    let text = phone.text();
    let keys = text.split("inline:").skip(1).map(|rest| {
        let is_base64 = |sign: char| sign.is_ascii_alphanumeric() || "+/=".contains(sign);
        rest.split(|sign| !is_base64(sign)).next().unwrap_or_default().to_owned()
    });
    keys.collect()
}

/// Each form in which a key could be written.
fn forms(key: &str) -> Vec<Vec<u8>> {
    let bytes = STANDARD.decode(key).expect("a key");
    let hex = |upper: bool| {
        let digits = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
        bytes.iter().map(digits).collect::<String>().into_bytes()
    };
    let list = format!("{bytes:?}");
    // Without the salt, too, and without what pads.
    let start = key.get(..20).expect("a key").as_bytes().to_vec();
    vec![bytes[..16].to_vec(), hex(false)[..32].to_vec(), hex(true)[..32].to_vec(), start, {
        let numbers: Vec<&str> = list.trim_matches(['[', ']']).split(", ").take(8).collect();
        numbers.join(", ").into_bytes()
    }]
}

fn holds(surface: &[u8], form: &[u8]) -> bool {
    memchr::memmem::find(surface, form).is_some()
}

#[test]
fn each_side_hears_the_other_by_srtp_and_no_key_is_anywhere_but_on_its_leg() {
    let more = "softphones = \"tls\"\nsoftphone_digest = \"md5\"\n";
    let service = Service::start_apart_with("encrypted", more);
    let port = free_port(CARRIER);
    let target = format!("{CARRIER}:{}", port + 1).parse().expect("an address");
    let terms = json!({"tls_name": "carrier.test", "srtp": "required"});
    bind_by_tls(&service, target, &terms);
    let (_, user, password) = login(&service);
    let subscriber = subscriber(&service, port);
    let srtp = ";mediaenc=srtp-mand";
    let (mut agent, control) = register(&service, &user, &password, AGENT_HZ, srtp);
    let x = service.get("/v1/bindings")["data"][0]["virtual_number"].clone();
    let x = x.as_str().expect("a number").to_owned();
    order(control, "dial", &format!("sip:{x}@{};transport=tls", service.sip_tls));
    agent.process.await_words("Call established");
    for (phone, hz) in [(&agent, SUBSCRIBER_HZ), (&subscriber, AGENT_HZ)] {
        until("the tone of the other side", || {
            let heard = phone.heard_so_far()?;
            (sound::best_share(&heard, hz) > 0.9).then_some(())
        });
    }
    order(control, "hangup", "");
    let record = service.records(1)[0].clone();
    assert_eq!((&record["cause"], &record["sip_status"]), (&json!("caller_hangup"), &json!(200)));

    // Both phones insist on it: without keys there would have been no call.
    let (at_agent, at_subscriber) = (keys(&agent.process), keys(&subscriber.process));
    for (keys, text) in
        [(&at_agent, agent.process.text()), (&at_subscriber, subscriber.process.text())]
    {
        assert!(keys.len() >= 2, "{text}");
        assert!(text.contains("RTP/SAVP"), "{text}");
    }
    assert!(at_agent.is_disjoint(&at_subscriber), "a key is on both legs");
    let mut surfaces = leaks::surfaces(&service);
    let media = service.media.as_ref().expect("a process of its own");
    surfaces.push(("media log".to_owned(), media.text().into_bytes()));
    for (name, bytes) in &surfaces {
        assert!(!holds(bytes, b"inline:"), "{name} holds SDP with keys");
        for key in at_agent.union(&at_subscriber) {
            let found = forms(key).iter().position(|form| holds(bytes, form));
            assert_eq!(found, None, "{name} holds a key, in the form of this position");
        }
    }
    // The search finds what is there.
    let seen = agent.process.text().into_bytes();
    assert!(at_agent.iter().all(|key| forms(key).iter().any(|form| holds(&seen, form))));
}
