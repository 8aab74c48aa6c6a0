//! Encrypted legs of a call: what leaves is sealed, and a new key of ours begins a new stream.

use super::*;
use crate::rtp::srtp::{LegKeys, MasterKey, Srtp};

fn keys(ours: u8, theirs: u8) -> LegKeys {
    let key = |first: u8| MasterKey::new(&[first; 30]);
    LegKeys { ours: key(ours), theirs: key(theirs) }
}

/// The peer of a leg with those keys.
fn peer(keys: &LegKeys) -> Srtp {
    let LegKeys { ours, theirs } = keys.clone();
    Srtp::new(&LegKeys { ours: theirs, theirs: ours }).expect("keys")
}

/// What the peer of B receives of a packet of A.
fn heard(story: &mut Story, peer: &mut Srtp, sequence: u16) -> Header {
    let at = ms(20 * u64::from(sequence));
    let packet = packet(8, sequence, u32::from(sequence) * 160, 1);
    let forwarded = story.send(at, Side::A, &packet).expect("relayed");
    let sealed = story.session.seal_rtp(Side::B, &forwarded);
    let mut sealed = sealed.leaving(&[]).expect("sealed").to_vec();
    let length = peer.open_rtp(&mut sealed).expect("by the key that is agreed on");
    header(&sealed[..length])
}

/// The SSRC of our report to B, and the packets that it counts.
fn reported(story: &mut Story, peer: &mut Srtp, at: u64) -> (u32, u32) {
    let mut buffer = [0; REPORT_BYTES_MAX];
    let (_, length) = story.session.write_report(ms(at), Side::B, &mut buffer).expect("a report");
    let opened = peer.open_rtcp(&buffer[..length]).expect("sealed");
    let word = |at: usize| u32::from_be_bytes(*opened.as_ref()[at..].first_chunk().expect("four"));
    (word(4), word(20))
}

#[test]
fn a_new_key_of_ours_begins_a_stream_of_its_own_and_the_same_key_does_not() {
    let mut story = Story::bridged(1);
    let set = |story: &mut Story, keys: &LegKeys| {
        assert!(story.session.set_keys(Side::B, Some(keys), &mut story.rng));
    };
    let first = keys(1, 2);
    set(&mut story, &first);
    let mut listener = peer(&first);
    let before = heard(&mut story, &mut listener, 1);
    set(&mut story, &first);
    let same = heard(&mut story, &mut listener, 2);
    assert_eq!((same.ssrc, same.sequence), (before.ssrc, before.sequence + 1));
    // Only the peer's key is another: ours counts on.
    let theirs = keys(1, 3);
    set(&mut story, &theirs);
    assert_eq!(heard(&mut story, &mut listener, 3).ssrc, before.ssrc);
    assert_eq!(reported(&mut story, &mut listener, 70), (before.ssrc, 3));
    let second = keys(4, 3);
    set(&mut story, &second);
    let mut listener = peer(&second);
    let after = heard(&mut story, &mut listener, 4);
    assert_ne!(after.ssrc, before.ssrc, "else peers differ in how its packets are counted");
    assert!(after.sequence < 0x8000);
    assert!(after.marker);
    heard(&mut story, &mut listener, 5);
    assert_eq!(reported(&mut story, &mut listener, 110), (after.ssrc, 2));
    assert_eq!(story.session.counts()[0].packets, 5, "of the call, all of them");
}

#[test]
fn a_key_before_the_first_packet_names_no_other_stream() {
    let mut story = Story::bridged(1);
    let name = story.session.flows[Side::A.index()].ssrc_out();
    assert!(story.session.set_keys(Side::B, Some(&keys(1, 2)), &mut story.rng));
    assert_eq!(heard(&mut story, &mut peer(&keys(1, 2)), 1).ssrc, name);
}

/// What the library does not take is spoken into no air.
#[test]
fn what_cannot_be_sealed_does_not_leave_an_encrypted_leg() {
    let mut story = Story::bridged(1);
    assert!(story.session.set_keys(Side::B, Some(&keys(1, 2)), &mut story.rng));
    let speech = [0x80; 7];
    assert_eq!(story.session.seal_rtp(Side::B, &speech).leaving(&speech), None);
    assert_eq!(story.session.seal_rtp(Side::A, &speech).leaving(&speech), Some(&speech[..]));
}

#[test]
fn keys_that_are_none_leave_the_side_deaf_and_unheard_and_not_in_clear() {
    let mut story = Story::bridged(1);
    assert!(story.send(ms(0), Side::A, &packet(8, 1, 0, 1)).is_ok());
    assert!(story.send(ms(0), Side::B, &packet(8, 1, 0, 1)).is_ok());
    let broken = LegKeys { ours: MasterKey::new(&[1; 3]), theirs: MasterKey::new(&[2; 30]) };
    assert!(!story.session.set_keys(Side::B, Some(&broken), &mut story.rng));
    let to_b = story.send(ms(20), Side::A, &packet(8, 2, 160, 1));
    assert_eq!(to_b, Err(Dropped::NotBridged));
    let of_b = story.send(ms(20), Side::B, &packet(8, 2, 160, 1));
    assert_eq!(of_b, Err(Dropped::Stranger));
    let mut buffer = [0; REPORT_BYTES_MAX];
    assert_eq!(story.session.write_report(ms(6_000), Side::B, &mut buffer), None);
}
