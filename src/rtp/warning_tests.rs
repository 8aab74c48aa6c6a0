//! A warning and keys on one stream: neither cuts the other.

use super::play::samples_of;
use super::*;
use crate::rtp::key::Key;
use crate::rtp::sound::{KeyAs, Sound, Sounds, Tone};

const PASS: KeyMode = KeyMode { report: false, pass: true, inband: false };
const KEY: u32 = 9;
const WARNING: u32 = 100;

fn warning() -> Sound {
    Sound::Tone(Tone::Warning)
}

fn key(key_as: KeyAs) -> Sound {
    Sound::Key(Key::of_sign('5').expect("a key"), key_as)
}

/// What A hears of one of these alone, and of both at these times: samples, or bytes of events.
fn heard(sounds: &[(u64, u32, Sound)]) -> (Vec<Vec<u8>>, Vec<News>) {
    let mut story = Story::bridged(3);
    let (mut frames, mut told) = (Vec::new(), Vec::new());
    for (at, play, sound) in sounds {
        let before = story.listen(Side::A, &Sounds::default(), ms(*at));
        story.play(ms(*at), Side::A, *play, *sound);
        frames.extend(before.0);
        told.extend(before.1);
    }
    let rest = story.listen(Side::A, &Sounds::default(), ms(2_000));
    frames.extend(rest.0);
    told.extend(rest.1);
    let headers: Vec<Header> = frames.iter().map(|(_, packet)| header(packet)).collect();
    for pair in headers.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1), "no number is missed");
    }
    (frames.into_iter().map(|(_, packet)| packet[12..].to_vec()).collect(), told)
}

fn ended(play: u32) -> News {
    News::PlayDone { side: Side::A, play, was_sent: true }
}

#[test]
fn a_key_is_pressed_at_once_and_the_warning_goes_on_behind_it_at_the_next_sample() {
    for key_as in [KeyAs::Tones, KeyAs::Event] {
        let (beep, _) = heard(&[(0, WARNING, warning())]);
        let (press, _) = heard(&[(0, KEY, key(key_as))]);
        assert_eq!((beep.len(), press.len()), (10, 8));
        // Four frames of the beep have left when the key is pressed.
        let (both, told) = heard(&[(0, WARNING, warning()), (70, KEY, key(key_as))]);
        let expected = [&beep[..4], &press[..], &beep[4..]].concat();
        assert_eq!(both, expected, "every sample of both, {key_as:?}");
        assert_eq!(told, [ended(KEY), ended(WARNING)]);
    }
}

#[test]
fn a_warning_waits_for_the_key_that_is_being_pressed() {
    for key_as in [KeyAs::Tones, KeyAs::Event] {
        let (beep, _) = heard(&[(0, WARNING, warning())]);
        let (press, _) = heard(&[(0, KEY, key(key_as))]);
        let (both, told) = heard(&[(0, KEY, key(key_as)), (50, WARNING, warning())]);
        assert_eq!(both, [&press[..], &beep[..]].concat(), "{key_as:?}");
        assert_eq!(told, [ended(KEY), ended(WARNING)]);
    }
}

#[test]
fn a_second_key_leaves_what_waits_behind_the_first_where_it_is() {
    let tones = key(KeyAs::Tones);
    let (beep, _) = heard(&[(0, WARNING, warning())]);
    let (both, told) = heard(&[(0, KEY, tones), (50, WARNING, warning()), (90, KEY + 1, tones)]);
    assert_eq!(both[both.len() - 10..], beep[..]);
    assert_eq!(told, [ended(KEY + 1), ended(WARNING)]);
}

#[test]
fn what_is_stopped_or_replaced_takes_the_waiting_warning_with_it() {
    for stops in [true, false] {
        let mut story = Story::bridged(3);
        story.play(ms(0), Side::A, KEY, key(KeyAs::Tones));
        story.play(ms(20), Side::A, WARNING, warning());
        if stops {
            story.session.stop(Side::A);
        } else {
            story.play(ms(40), Side::A, 7, Sound::Tone(Tone::Hold));
            story.session.stop(Side::A);
        }
        let (frames, told) = story.listen(Side::A, &Sounds::default(), ms(2_000));
        assert_eq!((frames.len(), told.len()), (0, 0));
    }
}

/// A packet of a press of `7` by B.
fn event(sequence: u16, timestamp: u32, duration: u16, flags: u8) -> Vec<u8> {
    let mut bytes = packet(101, sequence, timestamp, 9)[..12].to_vec();
    let [high, low] = duration.to_be_bytes();
    bytes.extend([7, flags, high, low]);
    bytes
}

/// B presses a key in its own packets while A is warned: before the beep, in it, and behind it.
#[test]
fn a_key_that_passes_is_whole_beside_a_warning_and_leaves_it_whole() {
    for begins in [0, 60, 160, 260] {
        let mut story = Story::bridged(1);
        story.session.keys(Side::B, PASS);
        let mut sent: Vec<Vec<u8>> = Vec::new();
        sent.extend(story.send(ms(0), Side::B, &packet(8, 1, 0, 9)));
        for step in 1..30_u16 {
            let now = u64::from(step) * 20;
            let frames = story.listen(Side::A, &Sounds::default(), ms(now - 10)).0;
            sent.extend(frames.into_iter().map(|(_, packet)| packet));
            if now == 60 {
                story.play(ms(now), Side::A, WARNING, warning());
            }
            let pressed = (now.saturating_sub(begins) / 20) as u16;
            let came = if now > begins && pressed <= 8 {
                let flags = if pressed > 5 { 0x8a } else { 0x0a };
                event(1 + step, (begins as u32 + 20) * 8, pressed.min(5) * 160, flags)
            } else {
                packet(8, 1 + step, u32::from(step) * 160, 9)
            };
            sent.extend(story.send(ms(now), Side::B, &came));
        }
        let headers: Vec<Header> = sent.iter().map(|packet| header(packet)).collect();
        for pair in headers.windows(2) {
            assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        }
        let events: Vec<&Vec<u8>> =
            sent.iter().filter(|it| header(it).payload_type == 97).collect();
        let durations = [160, 320, 480, 640, 800, 800, 800, 800];
        let told = events.iter().map(|it| u16::from_be_bytes([it[14], it[15]]));
        assert_eq!(told.collect::<Vec<_>>(), durations, "all of it, begun at {begins} ms");
        let times = events.iter().map(|it| header(it).timestamp);
        let first = header(events[0]).timestamp;
        assert!(times.into_iter().all(|time| time == first), "one press, begun at {begins} ms");
        let beep = heard(&[(0, WARNING, warning())]).0;
        let loud: Vec<&[u8]> =
            samples_of(&sent).filter(|it| beep.iter().any(|b| b == it)).collect();
        assert_eq!(loud, beep, "begun at {begins} ms");
        let sound: Vec<u32> =
            headers.iter().filter(|it| it.payload_type == 8).map(|it| it.timestamp).collect();
        let steps = sound.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
        assert!(steps.into_iter().all(|step| (1..=11 * 160).contains(&step)), "time goes on");
    }
}
