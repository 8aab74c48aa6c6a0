//! Keys on their way from one side to the other: each side hears of them as its trunk says.

use super::call::Call;
use super::coupling::Stage;
use super::io::Output;
use super::wires::Wires;
use crate::domain::now::Now;
use crate::domain::trunk_media::KeyWay;
use crate::rtp::key::Key;
use crate::rtp::plane::{Command, KeyMode, Side};
use crate::rtp::sound::{KeyAs, Sound};
use crate::sip::key_press::{DTMF_RELAY, KeyPress};
use crate::sip::method::Method;

/// The number of a key that is pressed for a side: it differs from that of every speech.
const TYPING: u32 = 103;
/// Keys that wait until those before them are heard: five seconds.
const KEYS_WAITING_MAX: usize = 32;

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
            KeyWay::Events => self.press(wires, to, key, KeyAs::Event),
            KeyWay::Inband => self.press(wires, to, key, KeyAs::Tones),
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
    fn press(&mut self, wires: &mut Wires, to: Side, key: KeyPress, key_as: KeyAs) {
        let Some(talk) = &mut self.talk else { return };
        let (Some(key), false) = (Key::of_sign(key.sign()), talk.hears_hold[to.index()]) else {
            return;
        };
        let waiting = &mut talk.typed[to.index()];
        if waiting.len() >= KEYS_WAITING_MAX {
            wires.counters.keys_dropped += 1;
            return;
        }
        waiting.push_back((key, key_as));
        if waiting.len() == 1 {
            self.press_next(wires, to);
        }
    }

    fn press_next(&self, wires: &mut Wires, side: Side) {
        let next = self.talk.as_ref().and_then(|talk| talk.typed[side.index()].front());
        if let Some((key, key_as)) = next {
            let (session, play, sound) = (self.session(), TYPING, Sound::Key(*key, *key_as));
            let press = Command::Play { session, side, play, sound, until_key: false };
            wires.outputs.push_back(Output::Media(press));
        }
    }

    /// Something was played to this side and is over: the next key is pressed, or the one that had
    /// to make room for it.
    pub(super) fn goes_on_typing(&mut self, wires: &mut Wires, side: Side, play: u32) {
        let Some(talk) = &mut self.talk else { return };
        if play == TYPING {
            talk.typed[side.index()].pop_front();
        }
        self.press_next(wires, side);
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
