//! What is known of a call's sound: one side that is not heard, and how well the others are.

use super::*;

const SENDER_REPORT: [u8; 28] = {
    let mut report = [0; 28];
    report[0] = 0x80;
    report[1] = 200;
    report[3] = 6;
    report
};

impl Story {
    /// These sides speak from `from` to `until` (ms), 20 ms apart; who is told not to be heard, and
    /// when.
    fn talk(&mut self, sides: &[Side], from: u64, until: u64) -> Vec<(Side, u64)> {
        let mut told = Vec::new();
        for at in (from..until).step_by(20) {
            while let Some(due) = self.session.poll_timeout().filter(|due| *due <= ms(at)) {
                self.session.handle_timeout(due, &mut self.rng);
                while let Some(news) = self.session.poll_news() {
                    let News::OneWay { side } = news else { panic!("{news:?}") };
                    told.push((side, due.micros() / 1_000));
                }
            }
            for side in sides {
                let sequence = (at / 20) as u16;
                let _ = self.send(ms(at), *side, &packet(8, sequence, at as u32 * 8, 1));
            }
        }
        told
    }
}

#[test]
fn a_side_that_is_not_heard_is_told_within_five_seconds_and_once() {
    let mut story = Story::bridged(1);
    assert_eq!(story.talk(&[Side::A, Side::B], 0, 60_000), []);
    let told = story.talk(&[Side::A], 60_000, 120_000);
    assert!(matches!(told[..], [(Side::B, 64_000..=65_000)]), "{told:?}");
    assert_eq!(story.talk(&[Side::A, Side::B], 120_000, 121_000), []);
    let told = story.talk(&[Side::B], 121_000, 140_000);
    assert!(matches!(told[..], [(Side::A, 125_000..=126_000)]), "{told:?}");
}

#[test]
fn a_side_that_was_never_heard_is_told_too() {
    let told = Story::bridged(1).talk(&[Side::A], 0, 60_000);
    assert!(matches!(told[..], [(Side::B, 4_000..=5_000)]), "{told:?}");
}

#[test]
fn both_silent_and_then_one_speaking_is_told_soon() {
    let mut story = Story::bridged(1);
    assert_eq!(story.talk(&[], 0, 20_000), []);
    let told = story.talk(&[Side::B], 20_000, 22_000);
    assert!(matches!(told[..], [(Side::A, 20_000..=21_000)]), "{told:?}");
}

#[test]
fn hold_and_parting_are_no_one_way_calls() {
    let mut story = Story::bridged(1);
    let held = RemoteMedia { receives: false, ..remote(Side::A) };
    story.session.update(ms(0), Side::A, &held);
    assert_eq!(story.talk(&[Side::A], 0, 60_000), []);
    story.session.update(ms(60_000), Side::A, &remote(Side::A));
    story.session.hold();
    assert_eq!(story.talk(&[Side::A], 60_000, 90_000), []);
    story.session.bridge(ms(90_000), &mut story.rng);
    let told = story.talk(&[Side::A], 90_000, 120_000);
    assert!(matches!(told[..], [(Side::B, 94_000..=95_000)]), "{told:?}");
}

#[test]
fn a_peer_that_has_said_to_receive_only_is_silent_on_purpose() {
    let mut story = Story::bridged(1);
    let listener = RemoteMedia { sends: false, ..remote(Side::B) };
    story.session.update(ms(0), Side::B, &listener);
    assert_eq!(story.talk(&[Side::A], 0, 60_000), []);
    story.session.update(ms(60_000), Side::B, &remote(Side::B));
    let told = story.talk(&[Side::A], 60_000, 70_000);
    assert!(matches!(told[..], [(Side::B, 60_000..=65_000)]), "{told:?}");
}

#[test]
fn a_peer_whose_rtcp_says_that_it_sends_nothing_is_silent_on_purpose() {
    let mut story = Story::bridged(1);
    for second in (0..60).step_by(5) {
        let place = remote(Side::B).rtcp;
        let taken = story.session.receive_rtcp(ms(second * 1_000), Side::B, place, &SENDER_REPORT);
        assert_eq!(taken, Ok(()));
        assert_eq!(story.talk(&[Side::A], second * 1_000, second * 1_000 + 5_000), []);
    }
    // From now on it says that it sends, and nothing arrives.
    let mut told = Vec::new();
    for second in (60..90).step_by(5) {
        let mut report = SENDER_REPORT;
        report[23] = second as u8;
        let place = remote(Side::B).rtcp;
        let taken = story.session.receive_rtcp(ms(second * 1_000), Side::B, place, &report);
        assert_eq!(taken, Ok(()));
        told.extend(story.talk(&[Side::A], second * 1_000, second * 1_000 + 5_000));
    }
    assert!(matches!(told[..], [(Side::B, 60_000..=66_000)]), "{told:?}");
}

#[test]
fn comfort_noise_is_life() {
    let mut story = Story::bridged(1);
    for second in 0..30 {
        let _ = story.send(ms(second * 1_000), Side::B, &packet(13, second as u16, 1, 1));
        assert_eq!(story.talk(&[Side::A], second * 1_000, second * 1_000 + 1_000), []);
    }
}

#[test]
fn the_counts_say_how_well_each_side_was_heard_and_how_far_it_is() {
    let mut story = Story::bridged(1);
    for at in (0..1_000_u16).filter(|at| at % 20 != 7) {
        let bytes = packet(8, at, u32::from(at) * 160, 1);
        let _ = story.send(ms(u64::from(at) * 20), Side::A, &bytes);
    }
    let mut buffer = [0; REPORT_BYTES_MAX];
    story.session.write_report(ms(20_000), Side::B, &mut buffer).expect("somewhere to go");
    // B has kept our report for 100 ms and is 30 ms away, there and back.
    let mut report = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
    report.extend(&buffer[4..8]);
    report.extend([0; 12]);
    report.extend(&buffer[10..14]);
    report.extend(6_554_u32.to_be_bytes());
    let place = remote(Side::B).rtcp;
    assert_eq!(story.session.receive_rtcp(ms(20_130), Side::B, place, &report), Ok(()));
    let [a, b] = story.session.counts();
    assert_eq!((a.lost, a.mos_centi), (50, 390));
    assert_eq!((b.mos_centi, a.round_trip_us), (0, 0));
    assert!((29_900..30_100).contains(&b.round_trip_us), "{}", b.round_trip_us);
}
