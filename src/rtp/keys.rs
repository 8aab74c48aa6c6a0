//! Hears the keys that one side types: telephone events, RFC 4733, each press once however often it
//! is repeated; and the tones of keys in G.711 where they are asked for.

use std::time::Duration;

use super::dtmf::Detector;
use super::g711::Law;
use super::header::{Header, Malformed};
use super::key::Key;
use super::plane::KeyMode;
use super::time::Moment;

/// What one direction knows of keys.
#[derive(Clone, Debug)]
pub(super) struct Ear {
    mode: KeyMode,
    last: Option<Press>,
    /// The presses of this second: when it began, and how many.
    second: (Moment, u8),
    detector: Option<Box<Detector>>,
}

/// An event that is being told or has been.
#[derive(Clone, Copy)]
struct Press {
    event: u8,
    /// Names it: it stands still while it lasts.
    timestamp: u32,
    duration: u16,
    ended: bool,
    /// There were too many before it.
    is_excess: bool,
}

/// What a telephone event is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Heard {
    /// A key that was pressed just now.
    Key(Key),
    /// More of a press, or no key.
    Nothing,
    /// Of a press that is one too many: nobody types so fast.
    TooMany,
}

impl std::fmt::Debug for Press {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Press(*)")
    }
}

impl Ear {
    pub(super) const fn new(mode: KeyMode) -> Self {
        let second = (Moment::from_micros(0), 0);
        Self { mode, last: None, second, detector: None }
    }

    /// What happens to keys from now on.
    pub(super) fn set_mode(&mut self, mode: KeyMode) {
        self.mode = mode;
        if !mode.inband {
            self.detector = None;
        } else if self.detector.is_none() {
            self.detector = Some(Box::default());
        }
    }

    pub(super) const fn mode(&self) -> KeyMode {
        self.mode
    }

    /// Another stream begins, with timestamps of its own.
    pub(super) const fn forget(&mut self) {
        self.last = None;
    }

    /// A telephone event: the key, when this is the first packet of its press that is heard.
    pub(super) fn hear_event(
        &mut self,
        now: Moment,
        header: &Header,
        payload: &[u8],
    ) -> Result<Heard, Malformed> {
        let Some(&[event, flags, d0, d1]) = payload.first_chunk() else { return Err(Malformed) };
        let duration = u16::from_be_bytes([d0, d1]);
        let (timestamp, ended) = (header.timestamp, flags & END != 0);
        let mut press = Press { event, timestamp, duration, ended, is_excess: false };
        // A side that sends events means those, though its tones may be heard as well.
        if let Some(detector) = &mut self.detector {
            detector.only_mute();
        }
        if let Some(last) = self.last.as_mut().filter(|last| last.has(&press, header.marker)) {
            last.go_on(&press);
            return Ok(if last.is_excess { Heard::TooMany } else { Heard::Nothing });
        }
        press.is_excess = !self.may_press(now);
        self.last = Some(press);
        Ok(match Key::of_event(event) {
            _ if press.is_excess => Heard::TooMany,
            Some(key) => Heard::Key(key),
            None => Heard::Nothing,
        })
    }

    fn may_press(&mut self, now: Moment) -> bool {
        let (since, presses) = &mut self.second;
        if now.since(*since) >= Duration::from_secs(1) {
            (*since, *presses) = (now, 0);
        }
        let may = *presses < PRESSES_MAX;
        *presses += u8::from(may);
        may
    }

    /// Sound in which keys may be heard: the key, when its tone has lasted long enough. Where keys
    /// do not pass, their tones are silenced.
    pub(super) fn hear_sound(&mut self, law: Law, payload: &mut [u8]) -> Option<Key> {
        let detector = self.detector.as_mut()?;
        let was_sounding = detector.is_sounding();
        let mut is_sounding = was_sounding;
        let mut key = None;
        for byte in payload.iter() {
            key = detector.hear(law.decode(*byte)).or(key);
            is_sounding |= detector.is_sounding();
        }
        if is_sounding && !self.mode.pass {
            payload.fill(law.silence());
        }
        key
    }
}

impl Press {
    /// Whether a packet belongs to this press, or to one before it.
    fn has(&self, other: &Self, marker: bool) -> bool {
        let ahead = other.timestamp.wrapping_sub(self.timestamp) as i32;
        if (-OLD_MAX..=0).contains(&ahead) {
            return true;
        }
        // A press longer than a duration can say goes on as another event that begins where the
        // first one ends, RFC 4733 §2.5.1.3. A new press of the same key is marked, or comes after
        // the end of the old one.
        let goes_on = i64::from(ahead) <= i64::from(self.duration) + GAP_MAX;
        ahead > 0 && other.event == self.event && !self.ended && !marker && goes_on
    }

    fn go_on(&mut self, other: &Self) {
        let ahead = other.timestamp.wrapping_sub(self.timestamp) as i32;
        if ahead > 0 {
            *self = Self { is_excess: self.is_excess, ..*other };
        } else if ahead == 0 {
            self.duration = self.duration.max(other.duration);
            self.ended |= other.ended;
        }
    }
}

/// The most presses of a second: twice as fast as any dialler.
const PRESSES_MAX: u8 = 20;
/// The end bit, RFC 4733 §2.3.
const END: u8 = 0x80;
/// Bytes of an event.
pub(super) const EVENT_BYTES: usize = 4;
/// Repeats of an event that is over are not older than this: ten seconds.
const OLD_MAX: i32 = 80_000;
/// Between the last duration that was heard and the true one: 30 ms.
const GAP_MAX: i64 = 240;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::plane::Side;

    struct Told {
        marker: bool,
        timestamp: u32,
        event: u8,
        ended: bool,
        duration: u16,
    }

    fn told(timestamp: u32, event: u8, duration: u16) -> Told {
        Told { marker: false, timestamp, event, ended: false, duration }
    }

    /// The keys that are heard in these packets.
    fn heard(packets: impl IntoIterator<Item = Told>) -> String {
        let mut ear = Ear::new(KeyMode::at_open(Side::A));
        let mut keys = String::new();
        for Told { marker, timestamp, event, ended, duration } in packets {
            let header = Header {
                marker,
                payload_type: 101,
                sequence: 0,
                timestamp,
                ssrc: 1,
                payload_start: 12,
                payload_end: 16,
            };
            let [d0, d1] = duration.to_be_bytes();
            let payload = [event, if ended { 0x8a } else { 0x0a }, d0, d1];
            let heard =
                ear.hear_event(Moment::from_micros(0), &header, &payload).expect("an event");
            if let Heard::Key(key) = heard {
                keys.push(key.sign());
            }
        }
        keys
    }

    /// A press as it is usually told: a marked start, growing durations, the end three times.
    fn press(timestamp: u32, event: u8) -> Vec<Told> {
        let mut packets: Vec<Told> = (1..5).map(|n| told(timestamp, event, n * 160)).collect();
        packets[0].marker = true;
        packets.extend((0..3).map(|_| Told { ended: true, ..told(timestamp, event, 800) }));
        packets
    }

    #[test]
    fn a_press_is_heard_once_and_the_same_key_again_is_heard_again() {
        let all = [press(0, 1), press(2_000, 1), press(4_000, 10)];
        assert_eq!(heard(all.into_iter().flatten()), "11*");
    }

    #[test]
    fn any_packet_of_a_press_is_enough() {
        for kept in 0..7 {
            let all = [press(0, 4), press(2_000, 4)].map(|press| press.into_iter().nth(kept));
            assert_eq!(heard(all.into_iter().flatten()), "44", "packet {kept}");
        }
    }

    #[test]
    fn a_lost_end_does_not_hide_the_next_press() {
        let mut first = press(0, 7);
        first.truncate(3);
        let other_key = [first, press(2_000, 8)];
        assert_eq!(heard(other_key.into_iter().flatten()), "78");
        let mut first = press(0, 7);
        first.truncate(3);
        let same_key = [first, press(2_000, 7)];
        assert_eq!(heard(same_key.into_iter().flatten()), "77");
    }

    #[test]
    fn late_repeats_of_an_older_press_are_no_press() {
        let mut all = press(80_000, 1);
        all.extend(press(82_000, 2));
        all.push(Told { ended: true, ..told(80_000, 1, 800) });
        all.push(Told { ended: true, ..told(82_000, 2, 800) });
        assert_eq!(heard(all), "12");
    }

    #[test]
    fn a_press_longer_than_its_duration_can_say_is_one() {
        let long = (1..=409).map(|n| told(500, 9, n * 160));
        let rest = (1..100).map(|n| told(500 + 0xffff, 9, n * 160));
        assert_eq!(heard(long.chain(rest)), "9");
    }

    #[test]
    fn timestamps_that_wrap_and_that_begin_anew_are_followed() {
        let all = [press(u32::MAX - 100, 1), press(1_900, 2), press(4_000_000_000, 3)];
        assert_eq!(heard(all.into_iter().flatten()), "123");
    }

    #[test]
    fn other_events_are_no_keys_and_short_ones_are_malformed() {
        assert_eq!(heard([told(0, 16, 160), told(2_000, 255, 160)]), "");
        let header = Header::parse(&[0x80, 101, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]).expect("valid");
        let mut ear = Ear::new(KeyMode::at_open(Side::A));
        assert!(ear.hear_event(Moment::from_micros(0), &header, &[1, 0, 0]).is_err());
    }
}
