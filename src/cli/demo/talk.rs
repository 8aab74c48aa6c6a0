//! The call of the demo: an agent's phone at the insurer, a subscriber's phone on the public
//! network, a tone in each direction, and what can be said about it afterwards.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::interrupt::Interrupt;
use super::ladder::{Column, Rung};
use super::leak::{Canary, Hit};
use super::provision::AGENT;
use super::stage::Stage;
use crate::phone::log::{Entry, Kind, Way};
use crate::phone::speech::{FRAME, tone_share};
use crate::phone::{CallState, PhoneConfig, Script, Voice};
use crate::relay::now::now;
use crate::relay::ports::Ports;

/// The agent's tone.
pub const AGENT_HZ: u16 = 440;
/// The subscriber's tone.
pub const SUBSCRIBER_HZ: u16 = 880;
/// The least share of the energy that makes a tone "heard".
const HEARD_SHARE_MIN: f64 = 0.9;
const RING_TIME: Duration = Duration::from_millis(400);
/// So long the subscriber listens to who calls before pressing a key.
const LISTEN_TIME: Duration = Duration::from_millis(2_500);
/// The event of the key that accepts.
const ACCEPT: u8 = 1;
const TALK_TIME: Duration = Duration::from_secs(2);
const CALL_TIME_MAX: Duration = Duration::from_secs(30);
/// The bytes of a plain RTP header: the relay adds nothing to it.
const RTP_HEADER_BYTES: usize = 12;
/// Frames at the beginning of a call that may be lost or half silent.
const FRAMES_SKIPPED: usize = 10;
/// The last frames of a call, in which both surely talk.
const FRAMES_HEARD: usize = 80;

/// Both phones with their sockets.
pub struct Cast {
    stage: Stage,
    agent: usize,
    subscriber: usize,
    canary: Canary,
    interrupt: Interrupt,
}

/// Where the phones are.
#[derive(Debug)]
pub struct Places {
    /// The insurer's PBX: SIP.
    pub insurer: Ports,
    /// The carrier: SIP.
    pub carrier: Ports,
    /// The relay's SIP address as the phones reach it.
    pub relay: SocketAddr,
}

/// How many calls the agent may place.
const AGENT_CALLS_MAX: usize = 4;
/// How many calls the subscriber may have; more than a person tries in one sitting.
const SUBSCRIBER_CALLS_MAX: usize = 100;

impl Cast {
    /// Opens the phones. The subscriber's phone and carrier are careless: they write the real
    /// number wherever SIP and SDP have a place for it.
    ///
    /// # Errors
    /// When no ports are free.
    pub fn enter(places: Places, country: &str, national: &str) -> io::Result<Self> {
        let Places { insurer, carrier, relay } = places;
        let media = |sip: &Ports, calls: usize| {
            let ports = u16::try_from(calls.saturating_mul(2)).unwrap_or(u16::MAX);
            Ports::free(sip.first().ip(), ports)
        };
        let mut stage = Stage::new();
        let insurer_media = media(&insurer, AGENT_CALLS_MAX)?;
        let mut agent = PhoneConfig::new(AGENT, insurer.first(), insurer_media.first(), relay);
        agent.calls_max = AGENT_CALLS_MAX;
        agent.answering = Script::new().ring().answer().once_answered();
        let agent = stage.enter(agent, insurer, insurer_media, seed()?);
        let carrier_media = media(&carrier, SUBSCRIBER_CALLS_MAX)?;
        let real = format!("+{country}{national}");
        let mut subscriber = PhoneConfig::new(&real, carrier.first(), carrier_media.first(), relay);
        subscriber.calls_max = SUBSCRIBER_CALLS_MAX;
        subscriber.answering = Script::new()
            .ring()
            .after(RING_TIME)
            .answer()
            .once_answered()
            .after(LISTEN_TIME)
            .press(ACCEPT)
            .speak(Voice::Tone { hz: SUBSCRIBER_HZ });
        subscriber.extra_headers = [
            ("P-Asserted-Identity", format!("<tel:{real}>")),
            ("Remote-Party-ID", format!("<sip:{real}@carrier.example>;party=called")),
            ("Server", format!("phone-of-{national}")),
            ("X-Real-Number", national.to_owned()),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec();
        subscriber.extra_sdp = format!("i={national}\r\na=cname:{national}\r\n").into();
        subscriber.phrase = Some(format!("{national} says").into());
        let subscriber = stage.enter(subscriber, carrier, carrier_media, seed()?);
        let (canary, interrupt) = (Canary::new(country, national), Interrupt::default());
        Ok(Self { stage, agent, subscriber, canary, interrupt })
    }

    /// Calls break off when somebody wants the demo to end.
    pub fn stop_at(&mut self, interrupt: &Interrupt) {
        self.interrupt = interrupt.clone();
    }

    /// The agent dials X, both talk, the agent hangs up. The index of the agent's call.
    ///
    /// # Errors
    /// When the sockets fail, or the call does not end.
    pub fn talk(&mut self, virtual_number: &str) -> io::Result<usize> {
        let script = Script::new()
            .once_answered()
            .speak(Voice::Tone { hz: AGENT_HZ })
            .after(TALK_TIME)
            .hang_up();
        self.dial(self.agent, virtual_number, script)
    }

    /// The subscriber dials X and reaches the desk. The index of the subscriber's call.
    ///
    /// # Errors
    /// When the sockets fail, or the call does not end.
    pub fn call_back(&mut self, virtual_number: &str) -> io::Result<usize> {
        let script = Script::new().once_answered().after(RING_TIME).hang_up();
        self.dial(self.subscriber, virtual_number, script)
    }

    fn dial(&mut self, place: usize, number: &str, script: Script) -> io::Result<usize> {
        let dialled = self.stage.phone_mut(place).dial(now(), number, script);
        let index = dialled.ok_or_else(|| io::Error::other("the phone has no call left"))?;
        let over = |stage: &Stage| {
            let call = stage.phone(place).call(index);
            call.is_some_and(|call| matches!(call.state, CallState::Over(_)))
        };
        let interrupt = self.interrupt.clone();
        let done = |stage: &Stage| over(stage) || interrupt.is_told();
        let is_done = self.stage.run(CALL_TIME_MAX, done)?;
        interrupt.check()?;
        if !is_done {
            return Err(io::Error::other("the call did not end in time"));
        }
        // The last answers are still on their way.
        self.stage.run(Duration::from_millis(300), |_| false)?;
        Ok(index)
    }

    /// Lets the subscriber's phone answer until `done`.
    ///
    /// # Errors
    /// When the sockets fail.
    pub fn serve(&mut self, mut done: impl FnMut() -> bool) -> io::Result<()> {
        while !self.stage.run(Duration::from_secs(3600), |_| done())? {}
        Ok(())
    }

    /// How a call of this side ended, as its phone saw it.
    #[must_use]
    pub fn state(&self, side: Column, index: usize) -> Option<CallState> {
        self.stage.phone(self.place(side)).call(index).map(|call| call.state)
    }

    const fn place(&self, side: Column) -> usize {
        match side {
            Column::Agent => self.agent,
            Column::Subscriber => self.subscriber,
        }
    }

    /// All signalling so far, in order of time.
    #[must_use]
    pub fn rungs(&self) -> Vec<Rung> {
        let sides = [(Column::Agent, self.agent), (Column::Subscriber, self.subscriber)];
        let mut entries: Vec<(Column, &Entry)> = sides
            .iter()
            .flat_map(|(column, place)| {
                let entries = self.stage.phone(*place).log().entries().iter();
                entries.filter(|e| e.kind == Kind::Sip).map(|entry| (*column, entry))
            })
            .collect();
        entries.sort_by_key(|(_, entry)| entry.at.monotonic);
        let begun = entries.first().map(|(_, entry)| entry.at.monotonic);
        let rung = |(column, entry): (Column, &Entry)| Rung {
            at: begun.map_or(Duration::ZERO, |begun| entry.at.monotonic - begun),
            column,
            towards_relay: entry.way == Way::Out,
            text: String::from_utf8_lossy(&entry.bytes).into_owned(),
        };
        entries.into_iter().map(rung).collect()
    }

    /// What share of the sound that each side heard was the other's tone.
    #[must_use]
    pub fn heard(&self) -> Heard {
        let frames = |place: usize| -> Vec<&[u8]> {
            let entries = self.stage.phone(place).log().entries().iter();
            let frames = entries.filter(|e| e.kind == Kind::Rtp && e.way == Way::In);
            frames.filter_map(|entry| entry.bytes.get(RTP_HEADER_BYTES..)).collect()
        };
        // Who was told who calls, or hears it ring, hears the other side only at the end.
        let talk = |frames: &[&[u8]]| -> Vec<u8> {
            let begin = frames.len().saturating_sub(FRAMES_HEARD);
            frames.iter().skip(begin.max(FRAMES_SKIPPED)).copied().flatten().copied().collect()
        };
        let (agent, subscriber) = (frames(self.agent), frames(self.subscriber));
        Heard {
            by_agent: tone_share(&talk(&agent), SUBSCRIBER_HZ),
            by_subscriber: tone_share(&talk(&subscriber), AGENT_HZ),
            told: FRAME * u32::try_from(subscriber.len()).unwrap_or(u32::MAX),
        }
    }

    /// Searches everything that one side received for the real number.
    #[must_use]
    pub fn search(&self, side: Column) -> Search {
        let entries = self.stage.phone(self.place(side)).log().entries().iter();
        let received: Vec<&Entry> = entries.filter(|entry| entry.way == Way::In).collect();
        let hits = received.iter().flat_map(|entry| {
            self.canary.search(&format!("{:?} datagram", entry.kind), &entry.bytes)
        });
        Search {
            hits: hits.collect(),
            datagrams: received.len(),
            bytes: received.iter().map(|entry| entry.bytes.len()).sum(),
            spellings: self.canary.spelling_count(),
        }
    }
}

/// How much of the far tone each side heard.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// The share of the subscriber's tone at the agent's phone.
    pub by_agent: f64,
    /// The share of the agent's tone at the subscriber's phone.
    pub by_subscriber: f64,
    /// How much the subscriber heard in all: who calls, and the talk.
    pub told: Duration,
}

impl Heard {
    /// The subscriber heard more than the talk.
    #[must_use]
    pub fn was_told(&self) -> bool {
        self.told > TALK_TIME + LISTEN_TIME / 2
    }

    /// Both sides heard each other.
    #[must_use]
    pub fn both(&self) -> bool {
        self.by_agent > HEARD_SHARE_MIN && self.by_subscriber > HEARD_SHARE_MIN
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Search {
    /// Each place where the number stood.
    pub hits: Vec<Hit>,
    /// How many datagrams were searched.
    pub datagrams: usize,
    /// How many bytes they had.
    pub bytes: usize,
    /// In how many spellings.
    pub spellings: usize,
}

fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(io::Error::other)?;
    Ok(seed)
}
