//! Keys on their way from one side to the other: each side hears of them as its trunk says.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::call::Call;
use super::coupling::Stage;
use super::io::Output;
use super::timers::Timer;
use super::wires::Wires;
use crate::domain::now::Now;
use crate::domain::trunk_media::KeyWay;
use crate::rtp::key::Key;
use crate::rtp::plane::{Command, KeyMode, Side};
use crate::rtp::sound::{KeyAs, Sound};
use crate::sip::key_press::{DTMF_RELAY, KeyPress};
use crate::sip::method::Method;

/// The number of the first key that is pressed for a side, and of every 256th after it: it differs
/// from that of every speech.
const TYPING: u32 = 103;
/// A key takes 160 ms, after a beep perhaps. The rest is for threads that are late.
const KEY_TIME_MAX: Duration = Duration::from_millis(1_000);
/// Keys that wait until those before them are heard: five seconds.
const KEYS_WAITING_MAX: usize = 32;

/// Keys of the other side that a side has still to hear.
#[derive(Debug, Default)]
pub(super) struct Typing {
    /// The first of them is being pressed.
    waiting: VecDeque<(Key, KeyAs)>,
    /// How many were, so that the late end of one is not taken for that of the next.
    pressed: u8,
    /// Nobody will tell of the end of that one any more.
    until: Option<Instant>,
}

impl Typing {
    fn play(&self) -> u32 {
        TYPING + u32::from(self.pressed)
    }

    /// None of them is heard.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
        self.until = None;
    }
}

impl Call {
    /// A key that the media plane has heard of a side.
    pub(super) fn hears_key(&mut self, wires: &mut Wires, now: Now, side: Side, sign: char) {
        if !self.takes_key(wires, now, side, sign)
            && self.key_mode(side).report
            && let Ok(key) = KeyPress::of_sign(sign)
        {
            self.tell_key(wires, now, side, key);
        }
    }

    /// Whether the other side gets what this one types.
    fn may_type(&self, side: Side) -> bool {
        self.is_typed_to || self.insurer_side() == Some(side)
    }

    /// Sends a key of a side on to the other one.
    pub(super) fn tell_key(&mut self, wires: &mut Wires, now: Now, side: Side, key: KeyPress) {
        if self.stage() != Stage::Bridged || !self.may_type(side) {
            return;
        }
        let to = side.other();
        match self.way_to(to) {
            KeyWay::Info => self.send_key(wires, now, to, key),
            KeyWay::Events => self.press(wires, now.monotonic, to, key, KeyAs::Event),
            KeyWay::Inband => self.press(wires, now.monotonic, to, key, KeyAs::Tones),
        }
    }

    /// How a side hears of keys.
    fn way_to(&self, side: Side) -> KeyWay {
        let Some(talk) = &self.talk else { return KeyWay::Info };
        match talk.trunks[side.index()].keys {
            KeyWay::Events if !talk.has_events(side) => KeyWay::Inband,
            way @ (KeyWay::Events | KeyWay::Info | KeyWay::Inband) => way,
        }
    }

    fn send_key(&mut self, wires: &mut Wires, now: Now, to: Side, key: KeyPress) {
        let place = self.place_of(to);
        let branch = wires.new_branch();
        let Some((dialog, hop)) = self.line(to) else { return };
        let request = dialog
            .request(&mut wires.out, Method::Info, wires.names.via_of(hop), branch)
            .body(DTMF_RELAY, key.write().as_bytes());
        // Without room for one more transaction the key is lost, as a packet may be.
        let _ = wires.transactions.request(now.monotonic, request, hop, place.to_owner());
    }

    /// Presses a key for a side, after those that it has still to hear. Who is on hold hears none.
    fn press(&mut self, wires: &mut Wires, at: Instant, to: Side, key: KeyPress, key_as: KeyAs) {
        let Some(talk) = &mut self.talk else { return };
        let (Some(key), false) = (Key::of_sign(key.sign()), talk.hears_hold[to.index()]) else {
            return;
        };
        let typing = &mut talk.typed[to.index()];
        if typing.waiting.len() >= KEYS_WAITING_MAX {
            wires.counters.keys_dropped += 1;
            return;
        }
        typing.waiting.push_back((key, key_as));
        if typing.waiting.len() == 1 {
            self.press_next(wires, at, to);
        }
    }

    fn press_next(&mut self, wires: &mut Wires, at: Instant, side: Side) {
        let session = self.session();
        let Some(talk) = &mut self.talk else { return };
        let typing = &mut talk.typed[side.index()];
        typing.until = None;
        if let Some((key, key_as)) = typing.waiting.front() {
            typing.pressed = typing.pressed.wrapping_add(1);
            typing.until = Some(at + KEY_TIME_MAX);
            let (play, sound) = (typing.play(), Sound::Key(*key, *key_as));
            let press = Command::Play { session, side, play, sound, until_key: false };
            wires.outputs.push_back(Output::Media(press));
        }
        self.arm_typing(wires, at);
    }

    fn arm_typing(&self, wires: &mut Wires, at: Instant) {
        let typed = self.talk.iter().flat_map(|talk| &talk.typed);
        match typed.filter_map(|typing| typing.until).min() {
            Some(until) => wires.timers.arm(at, self.serial, Timer::Speech, until),
            None => wires.timers.disarm(self.serial, Timer::Speech),
        }
    }

    /// Something was played to this side and is over: if that was a key, the next one is pressed.
    pub(super) fn goes_on_typing(&mut self, wires: &mut Wires, at: Instant, side: Side, play: u32) {
        let Some(talk) = &mut self.talk else { return };
        let typing = &mut talk.typed[side.index()];
        if typing.until.is_some() && play == typing.play() {
            typing.waiting.pop_front();
            self.press_next(wires, at, side);
        }
    }

    /// Nobody has told that a key was pressed. Those behind it do not wait for ever.
    pub(super) fn types_on_unheard(&mut self, wires: &mut Wires, at: Instant) {
        for side in [Side::A, Side::B] {
            let Some(talk) = &mut self.talk else { return };
            let typing = &mut talk.typed[side.index()];
            if typing.until.is_some_and(|until| until <= at) {
                typing.waiting.pop_front();
                self.press_next(wires, at, side);
            }
        }
        self.arm_typing(wires, at);
    }

    /// What happens to the keys of a side from the bridge on, in whatever way its phone sends
    /// them. Those that the other side hears of in another way are told to us.
    pub(super) fn key_mode(&self, side: Side) -> KeyMode {
        let may_type = self.may_type(side);
        let is_told = match self.way_to(side.other()) {
            KeyWay::Info => true,
            // Tones pass as they are to who has agreed on events, unless its trunk says that this
            // side means them.
            KeyWay::Events => self.trunk_sends_tones(side),
            KeyWay::Inband => !self.sends_tones(side),
        };
        let report = may_type && is_told;
        let pass = may_type && !report;
        KeyMode { report, pass, inband: !pass && self.sends_tones(side) }
    }

    /// Whether keys of a side have to be looked for in its sound.
    pub(super) fn sends_tones(&self, side: Side) -> bool {
        let has_none = self.talk.as_ref().is_some_and(|talk| !talk.has_events(side));
        has_none || self.trunk_sends_tones(side)
    }

    fn trunk_sends_tones(&self, side: Side) -> bool {
        let talk = self.talk.as_ref();
        talk.is_some_and(|talk| talk.trunks[side.index()].keys == KeyWay::Inband)
    }

    /// Tells the media plane so of both sides.
    pub(super) fn order_keys(&self, wires: &mut Wires) {
        let session = self.session();
        for side in [Side::A, Side::B] {
            let mode = self.key_mode(side);
            wires.outputs.push_back(Output::Media(Command::Keys { session, side, mode }));
        }
    }
}
