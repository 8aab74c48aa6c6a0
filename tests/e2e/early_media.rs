//! What a carrier sends before the answer goes nowhere: its sound, and what its 183 says.

use std::net::SocketAddr;
use std::time::Duration;

use crate::crowd::metric;
use crate::peer::Peer;
use crate::peers::{INSURER, PATIENCE, until};
use crate::service::Service;

const REAL: &str = "+8613800001234";
/// The word of the sound that the carrier sends before the answer.
const MARKER: u8 = 0xa7;

#[test]
fn sound_and_words_of_a_183_do_not_reach_the_agent() {
    let service = Service::start("early-media");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let mut agent = Peer::new(SocketAddr::new(INSURER.parse().expect("an address"), 0));
    let mut subscriber = Peer::new(service.sides.carrier);
    agent.invite(&x, service.sip);
    let invite = subscriber.expect("INVITE ");
    let words = format!(
        "Alert-Info: <http://{REAL}.example/ring>\r\nP-Early-Media: sendrecv\r\n\
         P-Asserted-Identity: <tel:{REAL}>\r\nServer: {REAL}\r\n"
    );
    let to_b = subscriber.answer_with(&invite, "183 Session Progress", &words, service.sip);
    for _ in 0..100 {
        subscriber.say(to_b, MARKER);
    }
    // What waits unread when the answer comes would be as good as sent behind it.
    let name = "maskline_rtp_packets_total{dir=\"in\"}";
    until("the relay to have taken it", || (metric(&service, name) >= 100.0).then_some(()));
    let progress = agent.expect("SIP/2.0 18");
    assert!(!progress.contains("13800001234") && !progress.contains("P-Early-Media"), "{progress}");
    subscriber.answer_with(&invite, "200 OK", &words, service.sip);
    let to_a = agent.is_answered(service.sip);
    // The first thing that the agent hears of the carrier is what it says when it has answered.
    let mut heard = Vec::new();
    agent.set_patience(Some(Duration::from_millis(5)));
    while heard.last() != Some(&0x11) {
        subscriber.say(to_b, 0x11);
        agent.say(to_a, 0x22);
        heard.extend(agent.hears());
    }
    assert!(!heard.contains(&MARKER), "{} packets before the answer", heard.len());
    // From now on the same sound would be heard.
    subscriber.say(to_b, MARKER);
    agent.set_patience(Some(PATIENCE));
    while agent.hears().expect("sound") != MARKER {}
}
