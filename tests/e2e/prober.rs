//! M2 and M3 on the running binary: strangers who speak first, who guess and who copy, at calls
//! that were set up by SIP, and after a side has moved. They win nothing and cost nothing.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use serde_json::json;

use crate::peer::{Dialog, FRAME, Peer, media_of, packet, sdp};
use crate::peers::{INSURER, STRANGER, free_port, until};
use crate::service::Service;

const REAL: &str = "+8613800001234";
/// A PBX behind a NAT.
const NAT: &str = "127.0.3.9";
/// What strangers say; no peer ever says it.
pub(crate) const FORGED: u8 = 0xf0;
/// Rounds of an attack, and packets of a stranger in each.
const ROUNDS: usize = 20;
const FLOOD: u16 = 9;

pub(crate) fn socket(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).expect("a free port");
    socket.set_nonblocking(true).expect("an option");
    socket
}

fn at(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), 0)
}

/// Nothing has come here.
pub(crate) fn assert_silent(socket: &UdpSocket) {
    let outcome = socket.recv(&mut [0; 2_048]);
    let kind = outcome.as_ref().err().map(std::io::Error::kind);
    assert_eq!(kind, Some(ErrorKind::WouldBlock), "{outcome:?}");
}

/// A call, and those who want to be in it.
struct Scene {
    agent: Peer,
    subscriber: Peer,
    /// Where each speaks to.
    to_a: SocketAddr,
    to_b: SocketAddr,
    dialog: Dialog,
    /// Somebody else, and neighbours of both sides.
    outsiders: [UdpSocket; 3],
    /// Packets that were forged.
    forged: usize,
}

impl Scene {
    /// The agent calls X and is answered, with strangers speaking from before the answer on. While
    /// a side is still looked for, its neighbours behind the same NAT are not told from it.
    fn begin(service: &Service, x: &str, agent: Peer, offer: &str, is_found: bool) -> Self {
        let subscriber = Peer::new(service.sides.carrier);
        let hosts = [at(STRANGER), agent.ear(), subscriber.ear()].map(|it| it.ip().to_string());
        let outsiders = hosts.each_ref().map(|ip| socket(ip));
        agent.invite_as("4821", x, "", offer, service.sip);
        let invite = subscriber.expect("INVITE ");
        let to_b = media_of(&invite);
        let race = |to: SocketAddr, racers: &[&UdpSocket]| {
            for number in 0..10 {
                let packet = packet(8, number, u32::from(number) * 160, &[FORGED; FRAME]);
                for racer in racers {
                    racer.send_to(&packet, to).expect("sent");
                }
            }
        };
        let [stranger, neighbour, other] = &outsiders;
        let all = [stranger, other, neighbour];
        race(to_b, &all);
        subscriber.answer_with(&invite, "200 OK", "", service.sip);
        let (to_a, dialog) = agent.is_confirmed(service.sip);
        race(to_a, if is_found { &all } else { &all[..2] });
        race(to_b, &all);
        Self { agent, subscriber, to_a, to_b, dialog, outsiders, forged: 0 }
    }

    /// The answer may be faster than the ports are joined: until then nothing can be demanded.
    fn is_joined(&mut self) {
        let join = |speaker: &mut Peer, to, listener: &Peer| {
            listener.rtp.set_nonblocking(true).expect("an option");
            until("the first sound", || {
                speaker.say(to, 1);
                listener.hears()
            });
            listener.rtp.set_nonblocking(false).expect("an option");
        };
        join(&mut self.agent, self.to_a, &self.subscriber);
        join(&mut self.subscriber, self.to_b, &self.agent);
    }

    /// Both sides talk while everybody else sends what looks like theirs; each hears the other,
    /// every word, and nothing else.
    fn talks_through_an_attack(&mut self) {
        for round in 0..ROUNDS {
            self.attack();
            let Self { agent, subscriber, to_a, to_b, .. } = self;
            // Never what is forged.
            let word = 16 + (round % 64) as u8;
            agent.say(*to_a, word);
            subscriber.say(*to_b, word + 64);
            for (side, expected) in [(&*subscriber, word), (&*agent, word + 64)] {
                let heard = std::iter::from_fn(|| side.hears()).find(|heard| *heard != 1);
                assert_eq!(heard, Some(expected));
            }
        }
        self.outsiders.iter().for_each(assert_silent);
    }

    /// A stream of its own; the very next packet of the true stream, from elsewhere and from
    /// another port of the same host.
    fn attack(&mut self) {
        let sides = [(&self.agent, self.to_a), (&self.subscriber, self.to_b)];
        for (side, to) in sides {
            let next = side.next_packet(FORGED);
            for outsider in &self.outsiders {
                outsider.send_to(&next, to).expect("sent");
            }
            for number in 0..FLOOD {
                let mut foreign = packet(8, number, u32::from(number) * 160, &[FORGED; FRAME]);
                foreign[8] ^= 0x55;
                self.outsiders[0].send_to(&foreign, to).expect("sent");
            }
            self.forged += self.outsiders.len() + usize::from(FLOOD);
        }
    }

    /// The agent's sound comes from another port from now on, as its re-INVITE says; its old one
    /// is nobody's.
    fn moves(&mut self, service: &Service) {
        let old = self.agent.move_ear();
        let kind = "Content-Type: application/sdp\r\n";
        let offer = self.agent.sdp().replace("o=- 1 1 ", "o=- 1 2 ");
        self.agent.request(&mut self.dialog, "INVITE", kind, &offer, service.sip);
        let answer = self.agent.expect("SIP/2.0 200 ");
        assert_eq!(media_of(&answer), self.to_a);
        self.agent.acknowledge(&answer, service.sip);
        old.set_nonblocking(true).expect("an option");
        while old.recv(&mut [0; 2_048]).is_ok() {}
        self.is_joined();
        // What was on its way when it moved.
        while old.recv(&mut [0; 2_048]).is_ok() {}
        self.outsiders[1] = old;
    }

    /// Somebody else knows the dialog, and says that the agent has moved to it.
    fn is_not_moved_by_a_stranger(&mut self, service: &Service) {
        let thief = Peer::new(at(STRANGER));
        let kind = "Content-Type: application/sdp\r\n";
        let offer = sdp(self.outsiders[0].local_addr().expect("bound"));
        let offer = offer.replace("o=- 1 1 ", "o=- 1 3 ");
        let mut dialog = self.dialog.clone();
        thief.request(&mut dialog, "INVITE", kind, &offer, service.sip);
    }

    /// Is attacked as it is, after a side has moved, and after a stranger has said that it has.
    fn is_attacked_and_moves(&mut self, service: &Service) {
        self.is_joined();
        self.talks_through_an_attack();
        self.moves(service);
        self.talks_through_an_attack();
        self.is_not_moved_by_a_stranger(service);
        self.talks_through_an_attack();
    }

    /// Hangs up; the record of the call. What was forged was dropped, and nothing else was lost.
    fn ends(mut self, service: &Service) {
        self.agent.request(&mut self.dialog, "BYE", "", "", service.sip);
        self.agent.expect("SIP/2.0 200 ");
        let bye = self.subscriber.expect("BYE ");
        self.subscriber.respond(&bye, "200 OK", "", "", service.sip);
        let record = service.records(1)[0].clone();
        assert_eq!(record["cause"], "caller_hangup", "{record}");
        for side in ["caller_media", "callee_media"] {
            let dropped = record[side]["dropped"].as_u64().expect("a count");
            // It was there to be dropped; under load some of it is gone before.
            assert!(dropped >= self.forged as u64 / 4, "{dropped} of {}: {record}", self.forged);
            assert_eq!(record[side]["lost"], 0, "{record}");
        }
    }
}

pub(crate) fn bound(service: &Service) -> String {
    let binding = service.bind("E-1", REAL);
    binding["virtual_number"].as_str().expect("a number").to_owned()
}

#[test]
fn strangers_at_a_strict_call_win_nothing_before_and_after_a_side_has_moved() {
    let service = Service::start("prober");
    let x = bound(&service);
    let agent = Peer::new(at(INSURER));
    let offer = agent.sdp();
    let mut scene = Scene::begin(&service, &x, agent, &offer, true);
    scene.is_attacked_and_moves(&service);
    scene.ends(&service);
}

#[test]
fn a_pbx_behind_a_nat_is_found_once_and_again_only_when_it_says_that_it_has_moved() {
    let service = Service::start("prober-nat");
    let x = bound(&service);
    let target = SocketAddr::new(at(NAT).ip(), free_port(NAT));
    service.add_pbx(&json!({
        "name": "behind a NAT", "source_networks": [NAT], "targets": [target],
        "media_learning": true,
    }));
    let agent = Peer::new(at(NAT));
    // A port at which nothing is, so that it has to be found.
    let announced = socket(NAT);
    let offer = sdp(announced.local_addr().expect("bound"));
    let mut scene = Scene::begin(&service, &x, agent, &offer, false);
    scene.is_attacked_and_moves(&service);
    assert_silent(&announced);
    scene.ends(&service);
}
