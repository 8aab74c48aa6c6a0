//! Keys typed by one side: who hears of them, and what reaches the other side.

use super::*;
use crate::rtp::key::Key;
use crate::rtp::sound::{Sound, Tone};

const REPORT: KeyMode = KeyMode { report: true, pass: false, inband: false };
const PASS: KeyMode = KeyMode { report: false, pass: true, inband: false };

/// A telephone event of B as it stands in its third packet, with something hidden behind it.
fn event(key: u8, sequence: u16, timestamp: u32) -> Vec<u8> {
    let mut bytes = packet(101, sequence, timestamp, 1)[..12].to_vec();
    bytes.extend([key, 0x0a, 1, 0xe0]);
    bytes.extend(b"13800001234");
    bytes
}

impl Story {
    fn told(&mut self) -> Vec<News> {
        std::iter::from_fn(|| self.session.poll_news()).collect()
    }
}

fn key(side: Side, sign: char) -> News {
    News::Key { side, key: Key::of_sign(sign).expect("a key") }
}

#[test]
fn keys_of_the_callee_do_not_reach_the_caller_and_nobody_is_told() {
    let mut story = Story::bridged(1);
    assert_eq!(story.send(ms(0), Side::B, &event(5, 1, 0)), Err(Dropped::Key));
    assert_eq!(story.told(), []);
    assert_eq!(story.session.counts()[1].dropped, 0, "no fault of the peer");
}

#[test]
fn a_key_is_told_once_a_press_when_asked_for_even_before_the_bridge() {
    let mut story = Story::open(1);
    story.session.update(ms(0), Side::B, &remote(Side::B));
    story.session.keys(Side::B, REPORT);
    for (sequence, timestamp) in [(1, 0), (2, 0), (3, 0), (4, 3_200), (5, 3_200)] {
        let _ = story.send(ms(0), Side::B, &event(11, sequence, timestamp));
    }
    assert_eq!(story.told(), [key(Side::B, '#'), key(Side::B, '#')]);
}

#[test]
fn a_key_that_passes_takes_nothing_with_it() {
    let mut story = Story::bridged(1);
    story.session.keys(Side::B, PASS);
    let out = story.send(ms(0), Side::B, &event(3, 1, 0)).expect("relayed");
    assert_eq!(header(&out).payload_type, 97);
    assert_eq!(out[12..], [3, 0x0a, 1, 0xe0]);
    let mut short = event(3, 2, 0);
    short.truncate(14);
    assert_eq!(story.send(ms(0), Side::B, &short), Err(Dropped::Malformed));
}

#[test]
fn any_key_ends_what_waits_for_one_though_nobody_asked_which() {
    let mut story = Story::bridged(1);
    let wanted = Play { play: 4, sound: Sound::Tone(Tone::Ring), until_key: true };
    story.session.play(ms(0), Side::B, wanted, &mut story.rng);
    let _ = story.send(ms(20), Side::A, &packet(97, 1, 1, 1));
    assert_eq!(story.told(), [], "a key of the other side does not");
    let _ = story.send(ms(20), Side::B, &event(1, 1, 0));
    assert_eq!(story.told(), [News::PlayDone { side: Side::B, play: 4, was_sent: false }]);
    let wanted = Play { until_key: false, ..wanted };
    story.session.play(ms(40), Side::B, wanted, &mut story.rng);
    let _ = story.send(ms(40), Side::B, &event(1, 9, 3_200));
    assert_eq!(story.told(), [], "and not what does not wait");
}

/// A phone that sends events at the rate of packets, each a press of its own.
#[test]
fn nobody_types_more_than_twenty_keys_in_a_second() {
    for mode in [REPORT, PASS] {
        let mut story = Story::bridged(1);
        story.session.keys(Side::B, KeyMode { report: true, ..mode });
        let (mut told, mut passed) = (0, 0);
        for at in 0..2_000_u32 {
            let press = event((at % 16) as u8, at as u16, at * 800);
            let sent = story.send(ms(u64::from(at)), Side::B, &press);
            passed += u32::from(sent.is_ok());
            told += story.told().len();
            // What is left out of a press is not let through by its repeats.
            let again = event((at % 16) as u8, at as u16, at * 800);
            let _ = story.send(ms(u64::from(at)), Side::B, &again);
        }
        assert_eq!((told, passed), (40, if mode.pass { 40 } else { 0 }));
        assert!(story.session.counts()[1].dropped >= 1_960, "they are counted");
        let late = story.send(ms(9_000), Side::B, &event(1, 2_000, 2_000 * 800));
        assert_eq!((late.is_ok(), story.told().len()), (mode.pass, 1));
    }
}

/// A frame of the tones of `5`.
fn tones(frame: usize) -> Vec<u8> {
    let sample = |at: usize| {
        let turn = (frame * 160 + at) as f64 / 8_000.0 * std::f64::consts::TAU;
        5_000.0 * ((770.0 * turn).sin() + (1_336.0 * turn).sin())
    };
    (0..160).map(|at| crate::rtp::g711::encode_a_law(sample(at) as i16)).collect()
}

#[test]
fn a_key_heard_in_the_sound_is_told_and_its_tones_do_not_pass() {
    let mut story = Story::bridged(1);
    let mut listen = |mode| {
        story.session.keys(Side::B, mode);
        let passed = (0..10).map(|frame| {
            let mut bytes = packet(8, frame, u32::from(frame) * 160, 1)[..12].to_vec();
            bytes.extend(tones(usize::from(frame)));
            let out = story.send(ms(u64::from(frame) * 20), Side::B, &bytes).expect("relayed");
            out[12..] != [0xd5; 160]
        });
        (passed.collect::<Vec<_>>(), story.told())
    };
    assert_eq!(listen(REPORT), (vec![true; 10], vec![]), "they are not looked for");
    let (passed, told) = listen(KeyMode { inband: true, ..REPORT });
    assert_eq!(told, [key(Side::B, '5')]);
    assert_eq!(passed, [false; 10]);
    let (passed, told) = listen(KeyMode { inband: true, ..PASS });
    assert_eq!((passed, told), (vec![true; 10], vec![]));
}

proptest! {
    #[test]
    fn what_is_left_out_leaves_no_hole_and_what_is_lost_is_still_missed(
        kinds in proptest::collection::vec(0_u8..8, 2..300),
    ) {
        let mut story = Story::bridged(5);
        let (mut last, mut lost) = (None::<Header>, 0);
        for (at, kind) in kinds.into_iter().enumerate() {
            let (sequence, units) = ((at as u16).wrapping_add(65_400), at as u32 * 160);
            let now = ms(at as u64 * 20);
            let out = match kind {
                0 | 1 => story.send(now, Side::B, &event(1, sequence, units & !1023)),
                2 => {
                    lost += 1;
                    continue;
                }
                _ => story.send(now, Side::B, &packet(8, sequence, units, 1)),
            };
            let Ok(out) = out else { continue };
            let next = header(&out);
            if let Some(last) = last {
                let step = next.sequence.wrapping_sub(last.sequence);
                prop_assert!((1..=lost + 1).contains(&step), "{} after {} lost", step, lost);
                let units = next.timestamp.wrapping_sub(last.timestamp);
                prop_assert_eq!(units % 160, 0);
            }
            (last, lost) = (Some(next), 0);
        }
    }

    #[test]
    fn packets_turned_round_beside_keys_never_share_a_number(
        order in proptest::collection::vec(0_u16..6, 2..300),
    ) {
        let mut story = Story::bridged(5);
        let mut seen = std::collections::BTreeMap::new();
        for (at, late) in order.into_iter().enumerate() {
            let sequence = (at as u16 + 20).wrapping_sub(late);
            // What a packet is depends on its number alone.
            let is_event = (sequence / 4).is_multiple_of(3);
            let bytes = if is_event {
                event(1, sequence, 0)
            } else {
                packet(8, sequence, u32::from(sequence) * 160, 1)
            };
            let Ok(out) = story.send(ms(at as u64 * 20), Side::B, &bytes) else { continue };
            let before = seen.insert(header(&out).sequence, sequence);
            prop_assert!(before.is_none_or(|before| before == sequence), "{} twice", sequence);
        }
    }
}
