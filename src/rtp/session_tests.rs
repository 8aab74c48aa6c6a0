//! Stories of a call's media, told without a socket and in virtual time.

use super::*;
use crate::rtp::g711::Law;
use crate::rtp::header::Header;
use crate::rtp::plane::PayloadMap;
use crate::rtp::rtcp::REPORT_BYTES_MAX;
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

#[path = "encrypted_tests.rs"]
mod encrypted;
#[path = "key_tests.rs"]
mod keys;
#[path = "play_tests.rs"]
mod play;
#[path = "quality_tests.rs"]
mod quality;
#[path = "source_tests.rs"]
mod source;
#[path = "warning_tests.rs"]
mod warning;

const SILENCE: Duration = Duration::from_secs(30);

fn ms(ms: u64) -> Moment {
    Moment::from_micros(ms * 1000)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A is at 192.0.2.1:4000 and calls telephone events 97; B is at 198.51.100.2:6000 and calls them
/// 101.
fn remote(side: Side) -> RemoteMedia {
    let (ip, port, event) = match side {
        Side::A => ("192.0.2.1", 4000, 97),
        Side::B => ("198.51.100.2", 6000, 101),
    };
    let mut payloads = PayloadMap::default();
    payloads.0[0] = Some(8);
    payloads.0[3] = Some(event);
    RemoteMedia {
        rtp: address(&format!("{ip}:{port}")),
        rtcp: address(&format!("{ip}:{}", port + 1)),
        payloads_to: payloads,
        payloads_from: payloads,
        receives: true,
        sends: true,
        learning: false,
    }
}

struct Story {
    session: Session,
    rng: ChaCha8Rng,
}

impl Story {
    fn open(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self { session: Session::open(ms(0), SILENCE, &mut rng), rng }
    }

    fn bridged(seed: u64) -> Self {
        let mut story = Self::open(seed);
        for side in [Side::A, Side::B] {
            story.session.update(ms(0), side, &remote(side));
        }
        story.session.bridge(ms(0), &mut story.rng);
        story
    }

    fn send(&mut self, at: Moment, from: Side, packet: &[u8]) -> Result<Vec<u8>, Dropped> {
        self.send_from(at, from, remote(from).rtp, packet)
    }

    fn send_from(
        &mut self,
        at: Moment,
        from: Side,
        source: SocketAddr,
        packet: &[u8],
    ) -> Result<Vec<u8>, Dropped> {
        let mut buffer = packet.to_vec();
        let forward = self.session.receive_rtp(at, from, source, &mut buffer)?;
        assert_eq!(forward.to, remote(from.other()).rtp);
        Ok(buffer[forward.bytes].to_vec())
    }

    /// Runs all timeouts up to `until`; the times in ms at which silence was told.
    fn silences(&mut self, until: Moment) -> Vec<u64> {
        let mut told = Vec::new();
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= until) {
            if self.session.handle_timeout(at, &mut self.rng).silent {
                told.push(at.micros() / 1000);
            }
        }
        told
    }
}

fn packet(payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32) -> Vec<u8> {
    let (payload_start, payload_end) = (12, 172);
    let header = Header {
        marker: false,
        payload_type,
        sequence,
        timestamp,
        ssrc,
        payload_start,
        payload_end,
    };
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend([0xd5; 160]);
    bytes
}

fn header(bytes: &[u8]) -> Header {
    Header::parse(bytes).expect("what leaves is valid")
}

#[test]
fn nothing_flows_before_the_bridge() {
    let mut story = Story::open(1);
    assert_eq!(story.send(ms(0), Side::A, &packet(8, 1, 1, 1)), Err(Dropped::Stranger));
    story.session.update(ms(0), Side::A, &remote(Side::A));
    assert_eq!(story.send(ms(0), Side::A, &packet(8, 1, 1, 1)), Err(Dropped::NotBridged));
    story.session.bridge(ms(0), &mut story.rng);
    assert_eq!(story.send(ms(0), Side::A, &packet(8, 1, 1, 1)), Err(Dropped::NotBridged));
    story.session.update(ms(0), Side::B, &remote(Side::B));
    assert!(story.send(ms(0), Side::A, &packet(8, 1, 1, 1)).is_ok());
}

#[test]
fn only_the_advertised_address_and_port_are_heard() {
    let mut story = Story::bridged(1);
    for stranger in ["192.0.2.1:4001", "192.0.2.9:4000", "[2001:db8::1]:4000", "198.51.100.2:6000"]
    {
        let sent = story.send_from(ms(0), Side::A, address(stranger), &packet(8, 1, 1, 1));
        assert_eq!(sent, Err(Dropped::Stranger), "{stranger}");
    }
    assert!(story.send(ms(0), Side::A, &packet(8, 1, 1, 1)).is_ok());
    assert_eq!(story.session.counts()[0].dropped, 4);
    assert_eq!(story.session.counts()[0].packets, 1);
}

#[test]
fn a_socket_of_both_families_sees_the_same_peer() {
    let mut story = Story::bridged(1);
    let mapped = address("[::ffff:192.0.2.1]:4000");
    assert!(story.send_from(ms(0), Side::A, mapped, &packet(8, 1, 1, 1)).is_ok());
}

#[test]
fn names_and_offsets_are_random_and_steps_are_kept() {
    let run = |seed| {
        let mut story = Story::bridged(seed);
        let sent = [(8, 100, 16_000), (8, 101, 16_160), (8, 104, 16_640), (8, 103, 16_480)];
        sent.map(|(kind, sequence, timestamp)| {
            let out = story.send(ms(0), Side::A, &packet(kind, sequence, timestamp, 0xaaaa));
            header(&out.expect("relayed"))
        })
    };
    let (one, two) = (run(1), run(2));
    for (at, step) in [(1, 1_u16), (2, 4), (3, 3)] {
        assert_eq!(one[at].sequence.wrapping_sub(one[0].sequence), step);
        assert_eq!(one[at].timestamp.wrapping_sub(one[0].timestamp), u32::from(step) * 160);
    }
    assert!(one.iter().all(|header| header.ssrc == one[0].ssrc));
    assert_ne!(one[0].ssrc, 0xaaaa);
    assert_ne!(one[0].ssrc, two[0].ssrc);
    assert_ne!((one[0].sequence, one[0].timestamp), (100, 16_000));
    assert_ne!(one[0].sequence, two[0].sequence);
    assert_ne!(one[0].timestamp, two[0].timestamp);
    let mut story = Story::bridged(1);
    let back = story.send(ms(0), Side::B, &packet(8, 1, 1, 0xaaaa)).expect("relayed");
    assert_ne!(header(&back).ssrc, one[0].ssrc);
}

#[test]
fn payload_types_are_the_receivers_and_unknown_ones_end_here() {
    let mut story = Story::bridged(1);
    let mode = KeyMode { pass: true, ..KeyMode::at_open(Side::B) };
    story.session.keys(Side::B, mode);
    let event = story.send(ms(0), Side::A, &packet(97, 1, 1, 1)).expect("relayed");
    assert_eq!(header(&event).payload_type, 101);
    let event = story.send(ms(0), Side::B, &packet(101, 1, 1, 1)).expect("relayed");
    assert_eq!(header(&event).payload_type, 97);
    assert_eq!(story.send(ms(0), Side::A, &packet(0, 2, 1, 1)), Err(Dropped::UnknownPayload));
    assert_eq!(story.send(ms(0), Side::A, &packet(127, 3, 1, 1)), Err(Dropped::UnknownPayload));
    assert_eq!(story.session.counts()[0].lost, 0, "what ends here was not lost on the way");
}

#[test]
fn sides_of_different_laws_hear_each_other() {
    let mut story = Story::bridged(1);
    let mut payloads = PayloadMap::default();
    payloads.0[1] = Some(0);
    let mu = RemoteMedia { payloads_to: payloads, payloads_from: payloads, ..remote(Side::B) };
    story.session.update(ms(0), Side::B, &mu);
    let said: Vec<u8> = (0..160).collect();
    let turned = |law: Law| {
        let mut bytes = said.clone();
        law.turn(&mut bytes);
        bytes
    };
    for (from, law, kinds) in [(Side::A, Law::A, (8, 0)), (Side::B, Law::Mu, (0, 8))] {
        let bytes = [&packet(kinds.0, 1, 1, 1)[..12], &said].concat();
        let out = story.send(ms(0), from, &bytes).expect("relayed");
        assert_eq!(header(&out).payload_type, kinds.1);
        assert_eq!(out[12..], turned(law));
    }
}

#[test]
fn contributors_extensions_and_padding_do_not_pass_and_the_payload_does() {
    let mut bytes = packet(8, 5, 500, 1)[..12].to_vec();
    bytes[0] |= 0x20 | 0x10 | 2;
    bytes.extend(*b"13800001");
    bytes.extend([0xbe, 0xde, 0, 3]);
    bytes.extend(*b"138000012345");
    let payload: Vec<u8> = (0..160).collect();
    bytes.extend(&payload);
    bytes.extend(*b"1380000");
    bytes.push(8);
    let out = Story::bridged(1).send(ms(0), Side::B, &bytes).expect("relayed");
    assert_eq!(out.len(), 172);
    assert_eq!(out[0], 0x80);
    assert_eq!(out[12..], payload);
}

#[test]
fn stun_and_dtls_of_the_peer_are_counted_apart_on_both_ports() {
    let mut story = Story::bridged(1);
    let stun = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    let dtls = [&[22, 0xfe, 0xfd][..], &[0; 40]].concat();
    for (bytes, why) in [(stun, Dropped::Stun), (dtls, Dropped::Dtls)] {
        assert_eq!(story.send(ms(0), Side::A, &bytes), Err(why));
        let taken = story.session.receive_rtcp(ms(0), Side::A, remote(Side::A).rtcp, &bytes);
        assert_eq!(taken, Err(why));
    }
    assert_eq!(story.session.counts()[0].dropped, 4);
}

#[test]
fn a_new_stream_of_the_peer_continues_ours() {
    let mut story = Story::bridged(1);
    let first = header(&story.send(ms(0), Side::A, &packet(8, 100, 16_000, 1)).expect("relayed"));
    let other = packet(8, 40_000, 9_000_000, 2);
    let next = header(&story.send(ms(1_000), Side::A, &other).expect("relayed"));
    assert_eq!(next.ssrc, first.ssrc);
    assert_eq!(next.sequence, first.sequence.wrapping_add(1));
    assert_eq!(next.timestamp, first.timestamp.wrapping_add(8_000));
}

#[test]
fn rtcp_of_a_peer_ends_here_and_ours_tells_our_counts_alone() {
    let mut story = Story::bridged(1);
    for at in 0..100_u16 {
        let bytes = packet(8, at, u32::from(at) * 160, 0x0a0a_0a0a);
        let _ = story.send(ms(u64::from(at) * 20), Side::A, &bytes);
    }
    let mut buffer = [0; REPORT_BYTES_MAX];
    let (to, length) =
        story.session.write_report(ms(2_000), Side::B, &mut buffer).expect("somewhere to go");
    assert_eq!(to, remote(Side::B).rtcp);
    assert_eq!(buffer[1], 200, "B was sent something: a sender report");
    assert_eq!(buffer[0] & 0x1f, 0, "B has sent nothing");
    assert_eq!(buffer[20..24], 100_u32.to_be_bytes());
    assert!(!buffer[..length].windows(4).any(|bytes| bytes == [0x0a; 4]), "the SSRC of A");
    let (_, length) = story.session.write_report(ms(2_000), Side::A, &mut buffer).expect("sent");
    assert_eq!((buffer[0] & 0x1f, buffer[1]), (1, 201), "A is told how it is heard");
    assert_eq!(buffer[8..12], [0x0a; 4]);
    assert_eq!(length, 8 + 24 + 36);
    let names = [Side::A, Side::B].map(|side| story.session.legs[side.index()].cname);
    assert_ne!(names[0], names[1]);
    assert_ne!(names, Story::bridged(2).session.legs.map(|leg| leg.cname));
}

#[test]
fn a_report_says_how_long_ago_the_peers_report_came() {
    let mut story = Story::bridged(1);
    let mut report = [0; 28];
    report[..8].copy_from_slice(&[0x80, 200, 0, 6, 0, 0, 0, 9]);
    report[8..16].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let source = remote(Side::A).rtcp;
    assert_eq!(story.session.receive_rtcp(ms(500), Side::A, source, &report), Ok(()));
    let _ = story.send(ms(600), Side::A, &packet(8, 1, 1, 1));
    let mut buffer = [0; REPORT_BYTES_MAX];
    story.session.write_report(ms(2_000), Side::A, &mut buffer).expect("somewhere to go");
    assert_eq!(buffer[24..28], [3, 4, 5, 6]);
    assert_eq!(buffer[28..32], (65_536_u32 * 3 / 2).to_be_bytes());
}

#[test]
fn both_sides_silent_is_told_after_the_timeout_and_again() {
    let mut story = Story::bridged(1);
    let _ = story.send(ms(4_000), Side::A, &packet(8, 1, 1, 1));
    let _ = story.send(ms(5_000), Side::B, &packet(8, 1, 1, 1));
    assert_eq!(story.silences(ms(70_000)), [35_000, 65_000]);
}

#[test]
fn one_side_that_talks_is_enough() {
    let mut story = Story::bridged(1);
    for second in 0..100 {
        let _ = story.send(ms(second * 1_000), Side::B, &packet(8, second as u16, 1, 1));
        assert_eq!(story.silences(ms(second * 1_000 + 999)), [0; 0]);
    }
}

#[test]
fn rtcp_is_life_and_a_stranger_is_not() {
    let mut story = Story::bridged(1);
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    let at = |story: &mut Story, time, source| {
        story.session.receive_rtcp(ms(time), Side::B, address(source), &report)
    };
    assert_eq!(at(&mut story, 20_000, "198.51.100.2:6001"), Ok(()));
    assert_eq!(at(&mut story, 40_000, "198.51.100.2:6000"), Err(Dropped::Stranger));
    let _ = story.send_from(ms(41_000), Side::B, address("203.0.113.1:9"), &packet(8, 1, 1, 1));
    let _ = story.send(ms(42_000), Side::B, &[0x80]);
    assert_eq!(story.silences(ms(60_000)), [50_000]);
    assert_eq!(story.session.counts()[1].dropped, 3);
}

#[test]
fn hold_does_not_trip_the_timeout_and_its_end_starts_it_anew() {
    let mut story = Story::bridged(1);
    let held = RemoteMedia { receives: false, ..remote(Side::A) };
    story.session.update(ms(10_000), Side::A, &held);
    assert_eq!(story.send(ms(11_000), Side::B, &packet(8, 1, 1, 1)), Err(Dropped::Held));
    assert_eq!(story.silences(ms(600_000)), [0; 0]);
    story.session.update(ms(600_000), Side::A, &remote(Side::A));
    assert_eq!(story.silences(ms(700_000)), [630_000, 660_000, 690_000]);
    assert_eq!(story.session.counts()[1].dropped, 0);
}

#[test]
fn an_old_style_hold_sends_nothing_to_the_unspecified_address() {
    let mut story = Story::bridged(1);
    let rtp = address("0.0.0.0:4000");
    let rtcp = address("0.0.0.0:4001");
    let held = RemoteMedia { rtp, rtcp, receives: false, ..remote(Side::A) };
    story.session.update(ms(0), Side::A, &held);
    assert_eq!(story.send(ms(0), Side::B, &packet(8, 1, 1, 1)), Err(Dropped::Held));
    assert_eq!(story.send_from(ms(0), Side::A, rtp, &packet(8, 1, 1, 1)), Err(Dropped::Stranger));
    let mut buffer = [0; REPORT_BYTES_MAX];
    assert_eq!(story.session.write_report(ms(1), Side::A, &mut buffer), None);
}

#[test]
fn reports_are_about_five_seconds_apart_and_not_in_step() {
    let mut story = Story::bridged(1);
    let (mut last, mut gaps) = (ms(0), Vec::new());
    while gaps.len() < 200 {
        let at = story.session.poll_timeout().expect("bridged");
        let _ = story.send(at, Side::A, &packet(8, 1, 1, 1));
        if story.session.handle_timeout(at, &mut story.rng).reports {
            gaps.push(at.since(last));
            last = at;
        }
    }
    let mean = gaps.iter().sum::<Duration>() / 200;
    assert!(gaps.iter().all(|gap| (2_500..7_501).contains(&gap.as_millis())), "{gaps:?}");
    assert!((4_500..5_500).contains(&mean.as_millis()), "{mean:?}");
}

proptest! {
    #[test]
    fn whatever_comes_nothing_panics_and_what_leaves_is_plain(
        packets in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..64), 0_u8..64),
            0..64,
        ),
    ) {
        let mut story = Story::bridged(9);
        for (rtcp, mut bytes, flags) in packets {
            if bytes.len() > 1 {
                bytes[0] = 0x80 | flags;
                bytes[1] = if rtcp { 200 + (bytes[1] & 3) } else { bytes[1] & 0x80 | 8 };
            }
            if rtcp {
                let source = remote(Side::A).rtcp;
                let _ = story.session.receive_rtcp(ms(1), Side::A, source, &bytes);
            } else if let Ok(out) = story.send(ms(1), Side::A, &bytes) {
                prop_assert_eq!(out[0], 0x80);
                prop_assert!(out.len() <= bytes.len());
                prop_assert!(bytes.ends_with(&out[12..]) || bytes[0] & 0x20 != 0);
            }
        }
    }
}
