//! Tells the callee who calls before it is connected, and carries out what comes of that. To the
//! caller it rings all the while.

use std::time::{Duration, Instant};

use super::call::Call;
use super::coupling::{Event, Stage};
use super::io::Output;
use super::menu::Heard as Told;
use super::speech::{self, Facts};
use super::taping::Recording;
use super::timers::Timer;
use super::whisper::{Act, Heard, Patience, Reply, Speech, Whisper};
use super::wires::Wires;
use crate::domain::cdr::EndedBy;
use crate::domain::menu::CallCode;
use crate::domain::now::Now;
use crate::domain::purpose::Purpose;
use crate::domain::route::{Callee, Route};
use crate::domain::whisper::{WhisperMode, WhisperResult};
use crate::rtp::plane::{Command, KeyMode, Side};
use crate::rtp::sound::{Sound, Tone};

/// What the callee of this call is to be told.
#[derive(Debug)]
pub(super) struct Announcement {
    mode: WhisperMode,
    facts: Facts,
    /// It is told of with the rest.
    recording: Option<Box<Recording>>,
    /// From the callee's answer on.
    whisper: Option<Whisper>,
    /// How long the end of what is being said is waited for.
    says_for: Duration,
}

impl Announcement {
    /// What an allowed call has to be announced with; `None` where it is bridged at once. Only a
    /// subscriber is told: a desk knows its own number.
    pub(super) fn of(wires: &mut Wires, route: &mut Route, purpose: Purpose) -> Option<Box<Self>> {
        let mode = match route.callee {
            Callee::Subscriber(_) => wires.config.whisper.policy.mode(purpose)?,
            Callee::Desk(_) => return None,
        };
        let recording = Recording::of(wires, route, purpose);
        let facts = Facts {
            tenant: route.tenant,
            hearer: route.hearer,
            agent_number: route.agent_number.clone(),
            purpose,
            recorded: recording.is_some(),
            code: wires
                .config
                .whisper
                .speaks_code
                .then(|| CallCode::from_random(wires.random_u64())),
        };
        let says_for = Duration::ZERO;
        Some(Box::new(Self { mode, facts, recording, whisper: None, says_for }))
    }

    /// The call ends: what has come of it, if it was begun.
    fn end(&mut self, by: EndedBy) -> Option<WhisperResult> {
        let whisper = self.whisper.as_mut()?;
        let heard = match by {
            EndedBy::Callee => Heard::HungUp,
            EndedBy::Caller | EndedBy::Relay => Heard::GivenUp,
        };
        // What is being said ends with the ports.
        whisper.handle(heard, &mut Vec::new());
        whisper.result()
    }
}

impl Call {
    /// The callee has answered with media that can be relayed.
    pub(super) fn on_answer(&mut self, now: Now) -> Event {
        if let Some(record) = &mut self.record {
            record.callee_answered(now);
        }
        let is_told = self.set_up.as_ref().is_some_and(|set_up| set_up.announcement.is_some());
        if is_told { Event::AnsweredToHear } else { Event::Answered }
    }

    /// The callee hears who calls. Nobody else will be called any more.
    pub(super) fn announce(&mut self, wires: &mut Wires, at: Instant) {
        let session = self.session();
        let inband = self.sends_tones(Side::B);
        let Some(set_up) = &mut self.set_up else { return };
        set_up.callee = None;
        set_up.targets = Vec::new();
        let agreed = set_up.sessions[Side::B.index()].take();
        let Some(announcement) = &mut set_up.announcement else { return };
        let (whisper, acts) = Whisper::begin(announcement.mode, wires.config.whisper.on_silence);
        announcement.whisper = Some(whisper);
        self.recording = announcement.recording.take();
        // Who cannot send keys as events may still send their tones.
        let mode = KeyMode { report: true, pass: false, inband };
        let keys = Command::Keys { session, side: Side::B, mode };
        wires.outputs.push_back(Output::Media(keys));
        self.start_clocks(wires, at, [None, agreed]);
        for act in acts {
            self.act(wires, at, act);
        }
    }

    /// Something was played to its end, or nobody was there to hear all of it.
    pub(super) fn on_play_done(
        &mut self,
        wires: &mut Wires,
        now: Now,
        side: Side,
        play: u32,
        was_sent: bool,
    ) {
        let is_menu = self.stage() == Stage::Menu;
        match side {
            _ if self.stage() == Stage::Bridged => {
                self.goes_on_holding(wires, side, play);
                self.goes_on_typing(wires, now.monotonic, side, play);
            }
            Side::A if is_menu => {
                let heard = if was_sent { Told::Said(play) } else { Told::Unheard(play) };
                self.menu_hears(wires, now, heard);
            }
            Side::A => self.refusal_is_told(wires, now),
            Side::B if self.stage() == Stage::Announcing => {
                let heard = if was_sent { Heard::Said(play) } else { Heard::Unheard(play) };
                self.hears(wires, now, heard);
            }
            Side::B => {}
        }
    }

    /// A key of this side, in whatever way it came. True when it was taken.
    pub(super) fn takes_key(
        &mut self,
        wires: &mut Wires,
        now: Now,
        side: Side,
        sign: char,
    ) -> bool {
        if side == Side::A {
            return self.menu_takes_key(wires, now, sign);
        }
        if self.stage() != Stage::Announcing {
            return false;
        }
        if let Some(reply) = Reply::of_key(sign) {
            self.hears(wires, now, Heard::Key(reply));
        }
        true
    }

    /// The callee has hung up: true when it was not connected yet, and all is done about it.
    pub(super) fn leaves_announcement(&mut self, wires: &mut Wires, now: Now) -> bool {
        let is_announcing = self.stage() == Stage::Announcing;
        if is_announcing {
            self.hears(wires, now, Heard::HungUp);
        }
        is_announcing
    }

    /// So long before its end both are warned, where the call may last much longer than that.
    pub(super) fn warned_before(&self) -> Duration {
        if self.duration_max > 2 * WARNED_BEFORE { WARNED_BEFORE } else { Duration::ZERO }
    }

    /// The longest duration is nearly over: both hear a beep. False when it is over.
    pub(super) fn warns(&mut self, wires: &mut Wires, now: Now) -> bool {
        let talked = self.record.as_ref().and_then(|record| record.talked_for(now));
        let left = talked.map(|talked| self.duration_max.saturating_sub(talked));
        let Some(left) = left.filter(|left| !left.is_zero()) else { return false };
        let (session, sound) = (self.session(), Sound::Tone(Tone::Warning));
        for side in [Side::A, Side::B] {
            let play = WARNING;
            let beep = Command::Play { session, side, play, sound, until_key: false };
            wires.outputs.push_back(Output::Media(beep));
        }
        let at = now.monotonic;
        wires.timers.arm(at, self.serial, Timer::Duration, at + left);
        true
    }

    /// A time of speech or silence is over.
    pub(super) fn on_speech_timer(&mut self, wires: &mut Wires, now: Now) {
        if self.stage() == Stage::Announcing {
            self.hears(wires, now, Heard::Elapsed);
        } else if self.stage() == Stage::Menu {
            self.menu_hears(wires, now, Told::Elapsed);
        } else if self.stage() == Stage::Bridged {
            self.types_on_unheard(wires, now.monotonic);
        } else {
            self.refusal_is_told(wires, now);
        }
    }

    fn hears(&mut self, wires: &mut Wires, now: Now, heard: Heard) {
        let set_up = self.set_up.as_mut();
        let announcement = set_up.and_then(|set_up| set_up.announcement.as_mut());
        let whisper = announcement.and_then(|announcement| announcement.whisper.as_mut());
        let Some(whisper) = whisper else { return };
        let mut acts = Vec::with_capacity(ACTS_USUAL);
        let before = whisper.result();
        whisper.handle(heard, &mut acts);
        let decided = whisper.result().filter(|_| before.is_none());
        if whisper.was_heard()
            && let Some(record) = &mut self.record
        {
            record.heard(now);
        }
        if let Some(what) = decided.and_then(WhisperResult::dislike) {
            self.dislikes(wires, now, what);
        }
        for act in acts {
            match act {
                Act::Close(result) => self.close_announcement(wires, now, result),
                Act::Say(_) | Act::Hush | Act::Wait(_) => self.act(wires, now.monotonic, act),
            }
        }
    }

    fn act(&mut self, wires: &mut Wires, at: Instant, act: Act) {
        let session = self.session();
        match act {
            Act::Say(speech) => self.say_to_callee(wires, speech),
            Act::Hush => {
                let stop = Command::Stop { session, side: Side::B };
                wires.outputs.push_back(Output::Media(stop));
            }
            Act::Wait(patience) => {
                let wait = match patience {
                    Patience::Saying => self.says_to_callee_for(),
                    Patience::Key => wires.config.whisper.timeout,
                };
                wires.timers.arm(at, self.serial, Timer::Speech, at + wait);
            }
            // Whoever begins does not end it.
            Act::Close(_) => {}
        }
    }

    fn says_to_callee_for(&self) -> Duration {
        let set_up = self.set_up.as_ref();
        let announcement = set_up.and_then(|set_up| set_up.announcement.as_ref());
        announcement.map_or(Duration::ZERO, |announcement| announcement.says_for)
    }

    fn say_to_callee(&mut self, wires: &mut Wires, speech: Speech) {
        let session = self.session();
        let set_up = self.set_up.as_mut();
        let Some(announcement) = set_up.and_then(|set_up| set_up.announcement.as_mut()) else {
            return;
        };
        let text = match speech {
            Speech::WhoCalls(_) => {
                let (facts, mode) = (&announcement.facts, announcement.mode);
                if let Some(record) = &mut self.record {
                    let text = speech::who_calls(wires, facts, mode, "");
                    record.told(&text, &wires.config.clip_hashes, facts.code);
                }
                let code = facts.code.as_ref().map_or("", CallCode::as_str);
                speech::who_calls(wires, facts, mode, code)
            }
            Speech::Farewell(result) => speech::farewell(&announcement.facts, result),
        };
        announcement.says_for = speech::waited_for(wires, &text);
        wires.outputs.push_back(Output::Media(Command::Play {
            session,
            side: Side::B,
            play: speech.play(),
            sound: Sound::Prompt(text),
            until_key: false,
        }));
    }

    fn close_announcement(&mut self, wires: &mut Wires, now: Now, result: WhisperResult) {
        let event = match result.cause() {
            Some(cause) => Event::Declined(cause),
            None if result.admits() => {
                self.connect(wires, result);
                Event::Admitted
            }
            None => Event::CalleeHungUp,
        };
        self.happen(wires, now, event);
    }

    /// Nothing is said any more, and what the subscriber types is nobody's business.
    fn connect(&mut self, wires: &mut Wires, result: WhisperResult) {
        let session = self.session();
        wires.timers.disarm(self.serial, Timer::Speech);
        if let Some(record) = &mut self.record {
            record.whispered(result);
        }
        if let Some(talk) = &mut self.talk {
            // What has changed on one side meanwhile, the other one is told when it is there.
            talk.unsettled = Some((Side::B, 0));
            talk.is_apart = false;
            for side in [Side::B, Side::A] {
                let Some((remote, keys)) = talk.media(side) else { continue };
                let update = Command::Update { session, side, remote, keys };
                wires.outputs.push_back(Output::Media(update));
            }
        }
    }

    /// The call ends while the callee is being told, or after that: what came of it is written
    /// down, once.
    pub(super) fn note_whisper(&mut self, by: EndedBy) {
        let set_up = self.set_up.as_mut();
        let announcement = set_up.and_then(|set_up| set_up.announcement.as_mut());
        let result = announcement.and_then(|announcement| announcement.end(by));
        if let (Some(record), Some(result)) = (&mut self.record, result) {
            record.whispered(result);
        }
    }
}

const ACTS_USUAL: usize = 2;
const WARNED_BEFORE: Duration = Duration::from_secs(30);
/// The number of the beep: it differs from that of every speech.
const WARNING: u32 = 100;
