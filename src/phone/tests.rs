//! Two phones on one wire, without a relay between them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::log::Kind;
use super::speech::tone_share;
use super::{CallState, Ending, Phone, PhoneConfig, PhoneInput, PhoneOutput, Script, Step, Voice};
use crate::domain::now::Now;

#[expect(clippy::disallowed_methods, reason = "the one place where a test reads the clock")]
fn epoch() -> Now {
    Now { monotonic: Instant::now(), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1) }
}

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A wire between two phones that loses what the test says.
struct Wire {
    phones: [Phone; 2],
    now: Now,
    /// Datagrams that begin so are lost, so many times.
    loses: Vec<(&'static str, u32)>,
}

impl Wire {
    fn new() -> Self {
        let [a, b] = [address("192.0.2.1:5060"), address("192.0.2.2:5060")];
        let phone = |user, own: SocketAddr, far: SocketAddr| {
            let config = PhoneConfig::new(user, own, SocketAddr::new(own.ip(), 4_000), far);
            Phone::new(config, ChaCha20Rng::seed_from_u64(u64::from(own.port())))
        };
        Self { phones: [phone("ann", a, b), phone("ben", b, a)], now: epoch(), loses: Vec::new() }
    }

    fn dial(&mut self, script: Script) {
        assert_eq!(self.phones[0].dial(self.now, "100", script), Some(0));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.deliver();
            let next = self.phones.iter().filter_map(Phone::poll_timeout).min();
            let Some(next) = next.filter(|next| *next <= end.monotonic) else { break };
            self.now = self.now + next.saturating_duration_since(self.now.monotonic);
            for phone in &mut self.phones {
                phone.handle_input(self.now, PhoneInput::Timeout);
            }
        }
        self.now = end;
    }

    fn deliver(&mut self) {
        let mut wire = VecDeque::new();
        loop {
            for (sender, phone) in self.phones.iter_mut().enumerate() {
                while let Some(PhoneOutput::Transmit { from, to, bytes }) = phone.poll_output() {
                    wire.push_back((1 - sender, from, to, bytes));
                }
            }
            let Some((receiver, from, to, bytes)) = wire.pop_front() else { return };
            let lost = self
                .loses
                .iter_mut()
                .find(|(begins, times)| *times > 0 && bytes.starts_with(begins.as_bytes()));
            if let Some((_, times)) = lost {
                *times -= 1;
                continue;
            }
            self.phones[receiver].handle_input(self.now, PhoneInput::Datagram { from, to, bytes });
        }
    }

    fn states(&self) -> [CallState; 2] {
        [0, 1].map(|of| self.phones[of].call(0).expect("one call each").state)
    }

    fn heard(&self, of: usize, begins: &str) -> usize {
        let entries = self.phones[of].log().received();
        entries.filter(|entry| entry.bytes.starts_with(begins.as_bytes())).count()
    }
}

fn answering() -> Script {
    Script::new().ring().after(secs(1)).answer().once_answered()
}

const OVER: [CallState; 2] = [CallState::Over(Ending::HungUp), CallState::Over(Ending::FarHungUp)];

#[test]
fn they_hear_each_others_tone() {
    let mut wire = Wire::new();
    wire.phones[1].answer_with(answering().speak(Voice::Tone { hz: 700 }));
    let talk = Script::new().once_answered().speak(Voice::Tone { hz: 440 });
    wire.dial(talk.after(secs(3)).hang_up());
    wire.run(secs(60));
    assert_eq!(wire.states(), OVER);
    for (phone, hz) in wire.phones.iter().zip([700, 440]) {
        let audio = phone.log().received().filter(|entry| entry.kind == Kind::Rtp);
        let audio: Vec<u8> = audio.flat_map(|entry| entry.bytes.slice(12..)).collect();
        assert!(audio.len() > 100 * 160 && tone_share(&audio, hz) > 0.95, "{}", audio.len());
    }
    assert_eq!(wire.phones[0].poll_timeout(), None);
    assert_eq!(wire.phones[1].poll_timeout(), None);
}

#[test]
fn a_lost_answer_is_repeated_until_the_ack_and_acked_each_time() {
    let mut wire = Wire::new();
    wire.phones[1].answer_with(answering().after(secs(30)).hang_up());
    wire.loses = vec![("SIP/2.0 200", 2), ("ACK", 2)];
    wire.dial(Script::new());
    wire.run(secs(90));
    assert_eq!(wire.heard(0, "SIP/2.0 200"), 3);
    assert_eq!(wire.heard(1, "ACK"), 1);
    assert_eq!(
        wire.states(),
        [CallState::Over(Ending::FarHungUp), CallState::Over(Ending::HungUp)]
    );
}

#[test]
fn an_answer_that_is_never_confirmed_ends_with_bye() {
    let mut wire = Wire::new();
    wire.phones[1].answer_with(Script::new().answer());
    wire.dial(Script::new().then(Step::LoseAcks { times: 255 }));
    wire.run(secs(90));
    assert_eq!(wire.heard(0, "SIP/2.0 200"), 11, "after 0, 0.5, 1.5, 3.5 s and then every 4 s");
    assert_eq!(wire.states(), [CallState::Over(Ending::FarHungUp), CallState::Over(Ending::NoAck)]);
}

#[test]
fn giving_up_cancels_and_refusing_refuses() {
    let mut wire = Wire::new();
    wire.phones[1].answer_with(Script::new().ring());
    wire.dial(Script::new().after(secs(2)).hang_up());
    wire.run(secs(60));
    assert_eq!(wire.states(), [CallState::Over(Ending::Cancelled); 2]);

    let mut wire = Wire::new();
    wire.phones[1].answer_with(Script::new().reject(486));
    wire.loses = vec![("ACK", 3)];
    wire.dial(Script::new());
    wire.run(secs(60));
    assert_eq!(wire.states(), [CallState::Over(Ending::Refused(486)); 2]);
}

#[test]
fn a_second_answer_of_another_phone_is_confirmed_and_ended() {
    let mut wire = Wire::new();
    let both = Script::new().ring().answer().then(Step::Answer { fork: 1 }).once_answered();
    wire.phones[1].answer_with(both);
    wire.dial(Script::new().after(secs(5)).hang_up());
    wire.run(secs(60));
    assert_eq!((wire.heard(1, "ACK"), wire.heard(1, "BYE")), (2, 2));
    assert_eq!(wire.states(), OVER);
}

#[test]
fn one_that_vanished_says_nothing_more() {
    let mut wire = Wire::new();
    wire.phones[1].answer_with(answering().after(secs(1)).vanish());
    wire.dial(Script::new().after(secs(5)).hang_up());
    wire.run(secs(90));
    let vanished = CallState::Over(Ending::Vanished);
    assert_eq!(wire.states(), [CallState::Over(Ending::HungUp), vanished]);
}

#[test]
fn debug_of_a_phone_shows_nobodys_number() {
    let mut wire = Wire::new();
    let number = "13800001234";
    wire.phones[0].dial(wire.now, number, Script::new()).expect("a first call");
    let output = wire.phones[0].poll_output().expect("an INVITE");
    let PhoneOutput::Transmit { from, to, bytes } = &output;
    let input = PhoneInput::Datagram { from: *from, to: *to, bytes: bytes.clone() };
    assert!(String::from_utf8_lossy(bytes).contains(number));
    let config = PhoneConfig::new(number, *from, *from, *to);
    let record = wire.phones[0].call(0).expect("the call").clone();
    assert_eq!(&*record.number, number);
    let log = wire.phones[0].log();
    let shown = format!("{output:?} {input:?} {config:?} {record:?} {log:?}");
    assert!(!shown.contains(number) && !shown.contains("49, 51, 56"), "{shown}");
}
