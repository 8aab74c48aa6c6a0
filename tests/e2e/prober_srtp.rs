//! M3 and M15 on the running binary, at a leg that is encrypted (SDES over TLS): packets in clear,
//! packets that have come before, and packets by another key, from the right socket and from
//! others. They reach nobody, and the call goes on.

use std::net::{SocketAddr, UdpSocket};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maskline::rtp::plane::{PayloadMap, RemoteMedia, Side};
use maskline::rtp::session::Session;
use maskline::rtp::srtp::{LegKeys, MasterKey};
use maskline::rtp::time::Moment;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use serde_json::json;

use crate::peer::{FRAME, Peer, media_of, packet};
use crate::peers::{INSURER, PATIENCE, STRANGER, until};
use crate::prober::{FORGED, assert_silent, bound, socket};
use crate::service::Service;
use crate::streams::Pbx;

/// Rounds of the attack.
const ROUNDS: u8 = 40;
const OWN_KEY: [u8; 30] = [0x31; 30];
const WRONG_KEY: [u8; 30] = [0x32; 30];
/// What a sealed packet has behind its payload.
const TAG_BYTES: usize = 10;

/// One end of an encrypted stream: what it seals, and what it can open.
struct Ear {
    session: Session,
    relay: SocketAddr,
}

impl Ear {
    fn new(own: &[u8], relays: &[u8], relay: SocketAddr) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(15);
        let mut session = Session::open(Moment::default(), PATIENCE, &mut rng);
        let keys = LegKeys { ours: MasterKey::new(own), theirs: MasterKey::new(relays) };
        let mut payloads = PayloadMap::default();
        payloads.0[0] = Some(8);
        let remote = RemoteMedia {
            rtp: relay,
            rtcp: relay,
            payloads_to: payloads,
            payloads_from: payloads,
            receives: true,
            sends: true,
            learning: false,
        };
        for side in [Side::A, Side::B] {
            session.update(Moment::default(), side, &remote);
        }
        session.bridge(Moment::default(), &mut rng);
        assert!(session.set_keys(Side::A, Some(&keys), &mut rng), "keys");
        Self { session, relay }
    }

    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let sealed = self.session.seal_rtp(Side::A, plain);
        let sealed = sealed.leaving(&[]).expect("it can be sealed").to_vec();
        assert_eq!(sealed.len(), plain.len() + TAG_BYTES);
        sealed
    }

    /// The word of a packet of the relay.
    fn open(&mut self, packet: &[u8]) -> u8 {
        let mut packet = packet.to_vec();
        let now = Moment::default();
        let opened = self.session.receive_rtp(now, Side::A, self.relay, &mut packet);
        let bytes = opened.expect("sealed by the key that the relay has named").bytes;
        packet[bytes][100]
    }
}

/// The agent's phone: SIP over TLS, sound by SRTP.
struct Agent {
    pbx: Pbx,
    answer: String,
    rtp: UdpSocket,
    ear: Ear,
    sequence: u16,
    /// The last packet that it has sent.
    said: Vec<u8>,
}

fn offer(rtp: &UdpSocket) -> String {
    let own = rtp.local_addr().expect("bound");
    let (ip, port) = (own.ip(), own.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/SAVP 8\r\na=rtpmap:8 PCMA/8000\r\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\r\n",
        STANDARD.encode(OWN_KEY)
    )
}

impl Agent {
    /// Calls X, and is answered by this subscriber; the second value is where that one speaks to.
    fn call(service: &Service, x: &str, subscriber: &Peer) -> (Self, SocketAddr) {
        let mut pbx = Pbx::by_tls(INSURER, service.sip_tls, None);
        let rtp = UdpSocket::bind((INSURER, 0)).expect("a free port");
        rtp.set_read_timeout(Some(PATIENCE)).expect("an option");
        pbx.dial(x, &offer(&rtp));
        let to_b = subscriber.answer(service.sip);
        let answer = pbx.is_answered();
        let inline = answer.split("inline:").nth(1).expect("a key of the relay");
        let inline = inline.split(['|', '\r']).next().unwrap_or_default();
        let key = STANDARD.decode(inline).expect("a key");
        let ear = Ear::new(&OWN_KEY, &key, media_of(&answer));
        (Self { pbx, answer, rtp, ear, sequence: 0, said: Vec::new() }, to_b)
    }

    const fn relay(&self) -> SocketAddr {
        self.ear.relay
    }

    fn plain(&self, sequence: u16, word: u8) -> Vec<u8> {
        packet(8, sequence, u32::from(sequence) * FRAME as u32, &[word; FRAME])
    }

    fn say(&mut self, word: u8) {
        self.sequence += 1;
        let plain = self.plain(self.sequence, word);
        self.said = self.ear.seal(&plain);
        self.rtp.send_to(&self.said, self.ear.relay).expect("sent");
    }

    /// The word that comes, if one does.
    fn hears(&mut self) -> Option<u8> {
        let mut buffer = [0; 2_048];
        let count = self.rtp.recv(&mut buffer).ok()?;
        Some(self.ear.open(&buffer[..count]))
    }
}

/// What somebody sends who knows the next number of the stream, and has heard all of it.
fn forgeries(agent: &Agent, thief: &mut Ear) -> [Vec<u8>; 5] {
    let next = agent.plain(agent.sequence + 1, FORGED);
    let by_another_key = thief.seal(&next);
    let mut changed = agent.said.clone();
    changed[100] ^= 1;
    // As long as a sealed one, and a number ahead of the one that was.
    let mut renumbered = agent.said.clone();
    renumbered[3] = renumbered[3].wrapping_add(1);
    [next, by_another_key, agent.said.clone(), changed, renumbered]
}

/// Both say a word, and hear the other one's: the next one that is no sign of life.
fn talk(agent: &mut Agent, subscriber: &mut Peer, to_b: SocketAddr, word: u8) {
    agent.say(word);
    subscriber.say(to_b, word + 64);
    let at_b = std::iter::from_fn(|| subscriber.hears()).find(|heard| *heard != 1);
    let at_a = std::iter::from_fn(|| agent.hears()).find(|heard| *heard != 1);
    assert_eq!((at_a, at_b), (Some(word + 64), Some(word)));
}

#[test]
fn what_the_key_of_an_encrypted_leg_does_not_prove_reaches_nobody() {
    let service = Service::start("prober-srtp");
    let x = bound(&service);
    service.add_pbx(&json!({"name": "tls", "transport": "tls", "srtp": "required"}));
    until("the trunk", || Pbx::by_tls(INSURER, service.sip_tls, None).is_heard().then_some(()));
    let mut subscriber = Peer::new(service.sides.carrier);
    let (mut agent, to_b) = Agent::call(&service, &x, &subscriber);
    let outsiders = [STRANGER, INSURER].map(socket);
    let mut thief = Ear::new(&WRONG_KEY, &WRONG_KEY, agent.relay());

    subscriber.rtp.set_nonblocking(true).expect("an option");
    until("the agent's first sound", || {
        agent.say(1);
        subscriber.hears()
    });
    subscriber.rtp.set_nonblocking(false).expect("an option");
    agent.rtp.set_nonblocking(true).expect("an option");
    until("the subscriber's first sound", || {
        subscriber.say(to_b, 1);
        agent.hears()
    });
    agent.rtp.set_nonblocking(false).expect("an option");

    let mut forged = 0;
    for round in 0..ROUNDS {
        for packet in forgeries(&agent, &mut thief) {
            for socket in outsiders.iter().chain([&agent.rtp]) {
                socket.send_to(&packet, agent.relay()).expect("sent");
                forged += 1;
            }
        }
        talk(&mut agent, &mut subscriber, to_b, 16 + round);
    }
    outsiders.iter().for_each(assert_silent);

    let answer = agent.answer.clone();
    agent.pbx.hang_up(&answer);
    let bye = subscriber.expect("BYE ");
    subscriber.respond(&bye, "200 OK", "", "", service.sip);
    let record = service.records(1)[0].clone();
    assert_eq!(record["cause"], "caller_hangup", "{record}");
    let media = &record["caller_media"];
    let dropped = media["dropped"].as_u64().expect("a count");
    // It was there to be dropped; under load some of it is gone before.
    assert!(dropped >= forged / 4, "{dropped} of {forged}: {record}");
    assert_eq!(media["lost"], 0, "{record}");
}
