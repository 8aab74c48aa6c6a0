//! A subscriber with a real phone hears who calls, and answers with a key: what it hears, what the
//! agent hears, and what is remembered.

use std::net::SocketAddr;

use serde_json::json;

use crate::peers::{Softphone, until};
use crate::service::Service;
use crate::softphone::{free_tcp_address, order};
use crate::sound;

const REAL: &str = "+8613800001234";
const AGENT_HZ: u32 = 440;
const SUBSCRIBER_HZ: u32 = 880;
const CALL_SECONDS: u32 = 60;
/// Half seconds of speech that a subscriber has to hear before it presses a key.
const SPOKEN_MIN: usize = 4;
/// Speech of our prompts: louder than 30 dB below the loudest sine, and softer than 10.
const SPEECH: std::ops::Range<f64> = 730.0..7_300.0;

struct Phones {
    service: Service,
    subscriber: Softphone,
    keys: SocketAddr,
    to: String,
}

impl Phones {
    fn new(name: &str) -> Self {
        let service = Service::start_whispering(name);
        let binding = service.bind("E-1", REAL);
        let x = binding["virtual_number"].as_str().expect("a number");
        let to = format!("sip:{x}@{}", service.sip);
        let (keys, at) = (free_tcp_address(), service.sides.carrier);
        let more = format!("sip_listen {at}\nmodule_app ctrl_tcp.so\nctrl_tcp_listen {keys}\n");
        let account = format!("<sip:{REAL}@{at}>;regint=0;answermode=auto;audio_codecs=PCMA\n");
        let folder = service.folder.join("subscriber");
        let subscriber = Softphone::launch(folder, SUBSCRIBER_HZ, &more, &account, &[]);
        Self { service, subscriber, keys, to }
    }

    fn agent_calls(&self) -> Softphone {
        let at = (self.service.sides.insurer.ip(), self.service.sides.insurer.port());
        let to = Some((self.to.as_str(), CALL_SECONDS));
        Softphone::start_for(&self.service.folder, "4821", at, AGENT_HZ, to)
    }

    /// Waits until the subscriber has been spoken to for some time, and nobody else was heard.
    fn is_spoken_to(&self) {
        let heard = until("speech", || {
            let heard = self.subscriber.heard_so_far()?;
            let halves = heard.chunks_exact(4_000);
            (halves.filter(|half| SPEECH.contains(&level(half))).count() >= SPOKEN_MIN)
                .then_some(heard)
        });
        let agent = sound::best_share_of(&heard, AGENT_HZ, 2);
        assert!(agent < 0.2, "it hears {agent:.2} of the agent before it has said yes");
        let loudest = heard.iter().map(|sample| sample.unsigned_abs()).max();
        assert!(loudest.is_some_and(|loudest| loudest < 28_000), "{loudest:?}");
    }

    fn press(&self, key: &str) {
        order(self.keys, "sndcode", key);
    }
}

/// The root of the mean square.
fn level(samples: &[i16]) -> f64 {
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (energy / samples.len() as f64).sqrt()
}

#[test]
fn a_subscriber_hears_who_calls_and_is_joined_by_a_1() {
    let phones = Phones::new("whisper-yes");
    let mut agent = phones.agent_calls();
    phones.is_spoken_to();
    assert!(!agent.process.text().contains("Call established"), "to the agent it rings");
    phones.press("1");
    agent.process.await_words("Call established");
    for (phone, hz) in [(&agent, SUBSCRIBER_HZ), (&phones.subscriber, AGENT_HZ)] {
        until("the tone of the other side", || {
            let heard = phone.heard_so_far()?;
            (sound::best_share(&heard, hz) > 0.9).then_some(())
        });
    }
    agent.process.signal(rustix::process::Signal::TERM);
    agent.process.wait();
    let record = &phones.service.records(1)[0];
    assert_eq!(record["cause"], "caller_hangup", "{record}");
    assert_eq!(record["whisper"]["result"], "accepted", "{record}");
}

#[test]
fn a_3_ends_the_call_and_the_next_one_of_its_kind_rings_nobody() {
    let phones = Phones::new("whisper-no");
    let mut agent = phones.agent_calls();
    phones.is_spoken_to();
    phones.press("3");
    agent.process.await_words("603");
    drop(agent);
    let record = &phones.service.records(1)[0];
    assert_eq!(record["cause"], "whisper_refused", "{record}");
    assert_eq!(record["whisper"]["result"], "refused", "{record}");

    let calls = |text: &str| text.matches("INVITE sip:").count();
    let before = calls(&phones.subscriber.process.text());
    let mut agent = phones.agent_calls();
    agent.process.await_words("403");
    let record = &phones.service.records(2)[0];
    assert_eq!(record["cause"], "do_not_call", "{record}");
    assert_eq!(record["reasons"], json!(["do_not_call"]));
    assert_eq!(calls(&phones.subscriber.process.text()), before, "nobody was called");
    assert!(before > 0, "the search finds what is there");
}
