//! Peers behind a NAT: found once at another port of their address, and nobody else.

use std::collections::BTreeMap;

use super::*;

fn learning(side: Side) -> RemoteMedia {
    RemoteMedia { learning: true, ..remote(side) }
}

impl Story {
    /// Both sides joined; B may be behind a NAT.
    fn behind_nat() -> Self {
        let mut story = Story::bridged(1);
        story.session.update(ms(0), Side::B, &learning(Side::B));
        story
    }

    /// B speaks from this place; whether A hears it.
    fn from(&mut self, place: &str, sequence: u16, ssrc: u32) -> bool {
        let mut bytes = packet(8, sequence, u32::from(sequence) * 160, ssrc);
        self.session.receive_rtp(ms(0), Side::B, address(place), &mut bytes).is_ok()
    }

    /// Where B is sent to.
    fn destination(&mut self, sequence: u16) -> String {
        let mut bytes = packet(8, sequence, 0, 1);
        let forward = self.session.receive_rtp(ms(0), Side::A, remote(Side::A).rtp, &mut bytes);
        forward.expect("relayed").to.to_string()
    }
}

const ANNOUNCED: &str = "198.51.100.2:6000";
const MAPPED: &str = "198.51.100.2:31415";
const NEIGHBOUR: &str = "198.51.100.2:27182";

#[test]
fn four_packets_in_sequence_of_one_stream_from_another_port_find_the_peer() {
    let mut story = Story::behind_nat();
    let heard: Vec<bool> = (10..15).map(|sequence| story.from(MAPPED, sequence, 7)).collect();
    assert_eq!(heard, [false, false, false, true, true]);
    assert_eq!(story.destination(1), MAPPED);
    assert_eq!(story.session.poll_news(), Some(News::Latched { side: Side::B }));
    assert_eq!(story.session.poll_news(), None);
    assert!(!story.from(ANNOUNCED, 1, 8), "the announced port is a stranger's now");
}

#[test]
fn nothing_goes_to_another_port_before_the_peer_is_found() {
    let mut story = Story::behind_nat();
    for sequence in [10, 11, 12] {
        assert!(!story.from(MAPPED, sequence, 7));
        assert_eq!(story.destination(sequence), ANNOUNCED);
    }
    assert!(!story.from(MAPPED, 20, 7), "not in sequence");
    assert!(!story.from(MAPPED, 21, 8), "not the same stream");
    assert_eq!(story.destination(20), ANNOUNCED);
}

#[test]
fn who_speaks_from_the_announced_port_is_heard_at_once_and_soon_alone() {
    let mut story = Story::behind_nat();
    assert!((1..5).all(|sequence| story.from(ANNOUNCED, sequence, 7)));
    assert_eq!(story.session.poll_news(), Some(News::Latched { side: Side::B }));
    assert!(!(1..100).any(|sequence| story.from(NEIGHBOUR, sequence, 9)));
    assert_eq!(story.destination(1), ANNOUNCED);
}

#[test]
fn it_is_not_looked_for_again_before_it_announces_another_place() {
    let mut story = Story::behind_nat();
    assert!((1..5).any(|sequence| story.from(MAPPED, sequence, 7)));
    let held = RemoteMedia { receives: false, ..learning(Side::B) };
    story.session.update(ms(1), Side::B, &held);
    story.session.update(ms(1), Side::B, &learning(Side::B));
    assert!(!(1..100).any(|sequence| story.from(NEIGHBOUR, sequence, 9)));
    assert!(story.from(MAPPED, 5, 7));
    assert_eq!(story.destination(1), MAPPED);
    let moved = RemoteMedia { rtp: address("198.51.100.2:6010"), ..learning(Side::B) };
    story.session.update(ms(1), Side::B, &moved);
    assert_eq!(story.destination(2), "198.51.100.2:6010");
    assert!((1..5).any(|sequence| story.from(NEIGHBOUR, sequence, 9)));
    assert_eq!(story.destination(3), NEIGHBOUR);
}

#[test]
fn another_address_and_a_side_that_may_not_learn_find_nobody() {
    let mut story = Story::behind_nat();
    assert!(!(1..100).any(|sequence| story.from("198.51.100.3:6000", sequence, 7)));
    let mut strict = Story::bridged(1);
    assert!(!(1..100).any(|sequence| strict.from(MAPPED, sequence, 7)));
}

#[test]
fn rtcp_is_found_once_by_the_name_of_the_stream_after_rtp() {
    let mut story = Story::behind_nat();
    let report = |ssrc: u8| [0x80, 201, 0, 1, 0, 0, 0, ssrc];
    let take = |story: &mut Story, place: &str, ssrc| {
        story.session.receive_rtcp(ms(1), Side::B, address(place), &report(ssrc))
    };
    let goes_to = |story: &mut Story| {
        let mut buffer = [0; REPORT_BYTES_MAX];
        story.session.write_report(ms(1), Side::B, &mut buffer).expect("known").0.to_string()
    };
    assert_eq!(take(&mut story, "198.51.100.2:31416", 7), Err(Dropped::Stranger), "too early");
    assert!((1..5).any(|sequence| story.from(MAPPED, sequence, 7)));
    assert_eq!(take(&mut story, "198.51.100.2:27183", 9), Err(Dropped::Stranger), "another name");
    assert_eq!(goes_to(&mut story), "198.51.100.2:6001");
    assert_eq!(take(&mut story, "198.51.100.2:31416", 7), Ok(()));
    assert_eq!(goes_to(&mut story), "198.51.100.2:31416");
    assert_eq!(take(&mut story, "198.51.100.2:27183", 7), Err(Dropped::Stranger), "never again");
}

proptest! {
    /// The rule written down a second time: which places are heard, given all that came before.
    #[test]
    fn the_port_is_found_as_the_rule_says_and_never_another(
        packets in proptest::collection::vec((0_usize..4, 0_u16..3, 0_u32..2), 1..200),
    ) {
        let places = [ANNOUNCED, MAPPED, NEIGHBOUR, "198.51.100.3:6000"];
        let mut story = Story::behind_nat();
        let mut found: Option<&str> = None;
        // By kind of port, the run that is going on: place, stream, last number, length.
        let mut runs: BTreeMap<bool, (&str, u32, u16, u32)> = BTreeMap::new();
        let mut sequence = 100_u16;
        for (place, step, ssrc) in packets {
            sequence = sequence.wrapping_add(step);
            let place = places[place];
            if found.is_none() && place != places[3] {
                let is_announced = place == ANNOUNCED;
                let length = match runs.get(&is_announced) {
                    Some((before, stream, last, length))
                        if (*before, *stream) == (place, ssrc)
                            && sequence == last.wrapping_add(1) => length + 1,
                    Some(_) | None => 1,
                };
                runs.insert(is_announced, (place, ssrc, sequence, length));
                found = (length == 4).then_some(place);
            }
            let may_be_heard = found.map_or(place == ANNOUNCED, |found| found == place);
            let is_heard = story.from(place, sequence, ssrc);
            prop_assert!(may_be_heard || !is_heard, "{} was heard", place);
            let dropped = story.session.counts()[1].dropped;
            prop_assert_eq!(story.destination(1), found.unwrap_or(ANNOUNCED));
            if !may_be_heard {
                prop_assert!(dropped > 0);
            }
        }
    }
}
