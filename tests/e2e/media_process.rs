//! The media plane in a process of its own: a call speaks on while the signalling is killed and
//! started again.

use std::net::SocketAddr;

use rustix::process::Signal;

use crate::peer::Peer;
use crate::peers::{INSURER, until};
use crate::service::{Service, http_get};

const REAL: &str = "+8613800001234";

/// The two peers and where each speaks to.
struct Talk {
    agent: (Peer, SocketAddr),
    subscriber: (Peer, SocketAddr),
}

impl Talk {
    fn begin(service: &Service, x: &str, agent: Peer, subscriber: Peer) -> Self {
        agent.invite(x, service.sip);
        let to_b = subscriber.answer(service.sip);
        let to_a = agent.is_answered(service.sip);
        let mut talk = Self { agent: (agent, to_a), subscriber: (subscriber, to_b) };
        // The answer may be faster than the ports are joined.
        talk.agent.0.rtp.set_nonblocking(true).expect("an option");
        until("the first sound", || {
            let (subscriber, to) = &mut talk.subscriber;
            subscriber.speak(*to);
            talk.agent.0.rtp.recv(&mut [0; 2_048]).ok()
        });
        talk.agent.0.rtp.set_nonblocking(false).expect("an option");
        talk
    }

    fn goes_on(&mut self) {
        let Self { agent: (agent, to_a), subscriber: (subscriber, to_b) } = self;
        for _ in 0..10 {
            let said = agent.speak(*to_a);
            assert_eq!(subscriber.hear(), said);
            let said = subscriber.speak(*to_b);
            // What was said before the ports were joined may still be on its way.
            while agent.hear() != said {}
        }
    }
}

#[test]
fn a_media_plane_that_is_told_to_end_ends_well_and_so_do_its_calls() {
    let mut service = Service::start_apart("media-ends");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let agent = Peer::new(SocketAddr::new(INSURER.parse().expect("an address"), 0));
    let subscriber = Peer::new(service.sides.carrier);
    let mut talk = Talk::begin(&service, &x, agent, subscriber);
    talk.goes_on();
    let mut media = service.media.take().expect("a process");
    media.signal(Signal::TERM);
    let status = media.wait();
    assert!(status.success(), "it ended with {status}:\n{}", media.text());
    talk.agent.0.expect("BYE ");
    talk.subscriber.0.expect("BYE ");
    let record = &service.records(1)[0];
    assert_eq!((&record["cause"], &record["sip_status"]), (&"media_lost".into(), &200.into()));
}

#[test]
fn a_call_speaks_on_while_the_signalling_is_killed_and_started_again() {
    let mut service = Service::start_apart("media-process");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let agent = Peer::new(SocketAddr::new(INSURER.parse().expect("an address"), 0));
    let subscriber = Peer::new(service.sides.carrier);
    let mut talk = Talk::begin(&service, &x, agent, subscriber);
    talk.goes_on();
    service.kill_and_start_again();
    talk.goes_on();
    let found = "maskline_media_sessions_found_total 1";
    until("the session", || {
        http_get(service.admin, "/metrics").filter(|(_, page)| page.contains(found))
    });
    talk.goes_on();

    // A new call gets ports beside it, and ends when there is no media plane any more.
    let agent = Peer::new(SocketAddr::new(INSURER.parse().expect("an address"), 0));
    let mut second = Talk::begin(&service, &x, agent, talk.subscriber.0);
    second.goes_on();
    service.media.take().expect("a process").signal(Signal::KILL);
    second.agent.0.expect("BYE ");
    let record = until("the record", || {
        let records = service.records(1);
        records.into_iter().find(|record| record["cause"] == "media_lost")
    });
    assert_eq!(record["sip_status"], 200, "{record}");
}
