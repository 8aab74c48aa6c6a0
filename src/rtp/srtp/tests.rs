//! The library by the vectors of its RFCs, and what holds whatever is sent.

use super::opener::{STEPS_MAX, STREAMS_GONE_MAX, STREAMS_MAX};
use super::primitives::TAGS_MADE;
use super::*;

/// RFC 3711 appendix B.3: master key and salt.
const MASTER: &str = "e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6";
/// A packet of the tests of libsrtp with that key, and what it is sealed.
const PLAIN: &str = "800f1234decafbadcafebabeabababababababababababababababab";
const SEALED: &str = "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402\
                      b78d6acc99ea179b8dbb";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let text = str::from_utf8(pair).expect("digits");
        u8::from_str_radix(text, 16).expect("hex")
    };
    digits.chunks(2).map(byte).collect()
}

fn key(first: u8, length: usize) -> MasterKey {
    let bytes: Vec<u8> = (0..length).map(|at| first.wrapping_add(at as u8)).collect();
    MasterKey::new(&bytes)
}

/// Two ends of a leg.
fn ends(length: usize) -> [Srtp; 2] {
    let (a, b) = (key(1, length), key(101, length));
    let end = |ours: &MasterKey, theirs: &MasterKey| {
        let keys = LegKeys { ours: ours.clone(), theirs: theirs.clone() };
        Srtp::new(&keys).expect("keys")
    };
    [end(&a, &b), end(&b, &a)]
}

fn rtp(sequence: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 8];
    packet.extend(sequence.to_be_bytes());
    packet.extend(u32::from(sequence).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0xd5; 160]);
    packet
}

fn seal(end: &mut Srtp, packet: &[u8]) -> Vec<u8> {
    end.seal_rtp(packet).leaving(&[]).expect("sealed").to_vec()
}

fn open(end: &mut Srtp, packet: &[u8]) -> Result<Vec<u8>, Unproved> {
    let mut packet = packet.to_vec();
    let length = end.open_rtp(&mut packet)?;
    Ok(packet[..length].to_vec())
}

#[test]
fn the_known_packet_is_sealed_and_opened() {
    let master = MasterKey::new(&bytes(MASTER));
    let keys = LegKeys { ours: master.clone(), theirs: master };
    let mut end = Srtp::new(&keys).expect("keys");
    assert_eq!(seal(&mut end, &bytes(PLAIN)), bytes(SEALED));
    assert_eq!(open(&mut end, &bytes(SEALED)), Ok(bytes(PLAIN)));
}

/// RFC 3711 B.2 and RFC 6188 §7.1: the key stream of one key, salt and packet index.
#[test]
fn the_key_streams_are_those_of_the_rfcs() {
    use rtc_srtp::crypto::RTCCrypto;
    use rtc_srtp::crypto::StreamCipherAlgorithm::{Aes128Ctr, Aes256Ctr};
    let start = bytes("f0f1f2f3f4f5f6f7f8f9fafbfcfd0000");
    let stream = |algorithm, key: &str| {
        let mut cipher = Primitives.new_stream_cipher(algorithm, &bytes(key)).expect("a cipher");
        let mut out = vec![0; 48];
        cipher.apply_keystream(&start, &mut out).expect("a stream");
        out
    };
    assert_eq!(
        stream(Aes128Ctr, "2b7e151628aed2a6abf7158809cf4f3c"),
        bytes(
            "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab\
             41e95b3bb0a2e8dd477901e4fca894c0"
        )
    );
    let long = "57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98";
    assert_eq!(
        stream(Aes256Ctr, long),
        bytes(
            "92bdd28a93c3f52511c677d08b5515a49da71b2378a854f67050756ded165bac\
             63c4868b7096d88421b563b8c94c9a31"
        )
    );
}

#[test]
fn both_suites_carry_both_kinds_of_packets_both_ways() {
    for length in [30, 46] {
        let [mut a, mut b] = ends(length);
        for (from, to) in [(0, 1), (1, 0)] {
            let both = [&mut a, &mut b];
            let plain = rtp(7, 9);
            let sealed = seal(both[from], &plain);
            assert_eq!(sealed.len(), plain.len() + 10);
            assert_ne!(sealed[12..40], plain[12..40]);
            assert_eq!(open(both[to], &sealed), Ok(plain));
            let report = bytes("80c9000100000009");
            let sealed = both[from].seal_rtcp(&report).expect("sealed").as_ref().to_vec();
            assert_eq!(sealed.len(), report.len() + 4 + 10);
            let opened = both[to].open_rtcp(&sealed).expect("opened");
            assert_eq!(opened.as_ref(), report);
            assert!(both[to].open_rtcp(&sealed).is_err(), "it has come before");
            assert!(both[to].open_rtcp(&report).is_err(), "it is in clear");
        }
    }
}

#[test]
fn a_report_that_says_it_is_in_clear_is_not_taken_whoever_it_is_from() {
    for length in [30, 46] {
        let [mut a, mut b] = ends(length);
        let report = bytes("80c9000100000009");
        let clear = |index: u32| [&report[..], &index.to_be_bytes(), &[0; 10]].concat();
        assert!(b.open_rtcp(&clear(1)).is_err());
        let sealed = a.seal_rtcp(&report).expect("sealed");
        assert!(b.open_rtcp(sealed.as_ref()).is_ok());
        // Nor does it move the window beyond those that will come.
        assert!(b.open_rtcp(&clear(0x7fff_fff0)).is_err());
        let sealed = a.seal_rtcp(&report).expect("sealed");
        assert!(b.open_rtcp(sealed.as_ref()).is_ok());
    }
}

#[test]
fn what_is_not_proved_changes_nothing() {
    let [mut a, mut b] = ends(30);
    let [mut other, _] = ends(46);
    let sealed: Vec<_> = (0..300).map(|at| seal(&mut a, &rtp(at, 9))).collect();
    let is_refused = |b: &mut Srtp, packet: &[u8]| {
        assert_eq!(open(b, packet), Err(Unproved));
    };
    // Of the right stream with a far number, before the first true one and after.
    for round in 0..2 {
        is_refused(&mut b, &rtp(30_000, 9));
        is_refused(&mut b, &seal(&mut other, &rtp(30_000 + round, 9)));
        for length in 0..30 {
            is_refused(&mut b, &sealed[200][..length]);
        }
        for at in [0, 1, 3, 7, 11, 12, 100, 175, 181] {
            let mut changed = sealed[200].clone();
            changed[at] ^= 1;
            is_refused(&mut b, &changed);
        }
        for ssrc in 100..200 {
            is_refused(&mut b, &rtp(5, ssrc));
        }
        assert_eq!(b.opens.streams(), usize::from(round > 0), "only what is proved is kept");
        assert!(open(&mut b, &sealed[usize::from(round)]).is_ok());
    }
}

#[test]
fn a_packet_is_taken_once_and_one_behind_the_window_never() {
    let [mut a, mut b] = ends(30);
    let sealed: Vec<_> = (0..400).map(|at| seal(&mut a, &rtp(at, 9))).collect();
    assert!(open(&mut b, &sealed[300]).is_ok());
    // Out of order, within 64 packets at the least.
    for late in [299, 240, 237] {
        assert!(open(&mut b, &sealed[late]).is_ok(), "{late}");
        assert_eq!(open(&mut b, &sealed[late]), Err(Unproved), "{late}");
    }
    assert_eq!(open(&mut b, &sealed[300]), Err(Unproved));
    assert_eq!(open(&mut b, &sealed[300 - REPLAY_WINDOW - 1]), Err(Unproved));
    assert!(open(&mut b, &sealed[399]).is_ok());
}

#[test]
fn the_numbers_may_wrap_and_what_came_before_is_not_taken_again() {
    let [mut a, mut b] = ends(46);
    let mut first = Vec::new();
    // Twice through all numbers: packets are counted beyond the 16 bits that are sent.
    for count in 0..150_000_u32 {
        let packet = rtp((count + 60_000) as u16, 9);
        let sealed = seal(&mut a, &packet);
        if count % 1_000 == 0 || count % 65_536 > 65_000 {
            assert_eq!(open(&mut b, &sealed), Ok(packet), "{count}");
            assert_eq!(open(&mut b, &sealed), Err(Unproved), "{count}");
        }
        if count == 1_000 {
            first = sealed;
        }
    }
    assert_eq!(open(&mut b, &first), Err(Unproved));
}

#[test]
fn a_new_key_holds_from_the_first_packet_by_it_and_the_same_key_counts_on() {
    let [mut a, mut b] = ends(30);
    let early = seal(&mut a, &rtp(1, 9));
    let late = seal(&mut a, &rtp(2, 9));
    let later = seal(&mut a, &rtp(3, 9));
    assert!(open(&mut b, &early).is_ok());
    b.change(&LegKeys { ours: key(101, 30), theirs: key(1, 30) }).expect("keys");
    assert_eq!(open(&mut b, &early), Err(Unproved), "the same keys: nothing is forgotten");
    let changed = LegKeys { ours: key(101, 30), theirs: key(50, 46) };
    b.change(&changed).expect("keys");
    assert!(open(&mut b, &late).is_ok(), "it was on its way");
    a.change(&LegKeys { ours: key(50, 46), theirs: key(101, 30) }).expect("keys");
    let new = seal(&mut a, &rtp(4, 9));
    assert!(open(&mut b, &new).is_ok());
    assert_eq!(open(&mut b, &later), Err(Unproved), "the old key is over");
    assert!(b.change(&LegKeys { ours: key(1, 3), theirs: key(1, 30) }).is_none());
}

/// RFC 3711 §3.3.1 says that packets are counted on under a new key; many peers begin anew.
#[test]
fn a_peer_with_a_new_key_is_heard_whether_it_counts_on_or_begins_anew() {
    let new = LegKeys { ours: key(50, 30), theirs: key(101, 30) };
    // Packets before the change: none has wrapped, the next one will, some have.
    for sent in [1_002, 65_535, 65_536, 200_002_u32] {
        for counts_on in [true, false] {
            let [mut a, mut b] = ends(30);
            for count in (0..sent).step_by(1_000).chain([sent - 1]) {
                assert!(open(&mut b, &seal(&mut a, &rtp(count as u16, 9))).is_ok(), "{count}");
            }
            b.change(&LegKeys { ours: key(101, 30), theirs: key(50, 30) }).expect("keys");
            let mut a = Srtp::new(&new).expect("keys");
            let before = if counts_on { sent } else { 0 };
            for count in (0..before).step_by(0x4000) {
                seal(&mut a, &rtp(count as u16, 9));
            }
            for count in (sent..sent + 3).chain((sent + 3..sent + 70_000).step_by(1_000)) {
                let packet = rtp(count as u16, 9);
                let sealed = seal(&mut a, &packet);
                assert_eq!(open(&mut b, &sealed), Ok(packet), "{sent} {count}, {counts_on}");
                assert_eq!(open(&mut b, &sealed), Err(Unproved));
            }
        }
    }
}

/// The peer chooses how far its streams have come, and when it changes its key.
#[test]
fn a_change_of_key_costs_no_more_than_one_stream_whatever_the_peer_has_sent() {
    let [mut a, mut b] = ends(30);
    for ssrc in 0..STREAMS_MAX as u32 {
        for step in 0..120_u32 {
            let sealed = seal(&mut a, &rtp((step * 0x6000) as u16, ssrc));
            assert!(open(&mut b, &sealed).is_ok());
        }
    }
    let made = TAGS_MADE.get();
    b.change(&LegKeys { ours: key(101, 30), theirs: key(50, 30) }).expect("keys");
    for ssrc in 0..STREAMS_MAX as u32 {
        // They were on their way, and say nothing of the new key.
        let sealed = seal(&mut a, &rtp((120 * 0x6000_u32) as u16, ssrc));
        assert!(open(&mut b, &sealed).is_ok());
    }
    let made = TAGS_MADE.get() - made;
    assert!(made < 2 * STEPS_MAX + 4 * STREAMS_MAX as u64, "{made}");
}

/// A PBX that takes a new stream for each music on hold, and keeps its key.
#[test]
fn a_peer_may_change_its_stream_often_and_what_has_come_before_is_not_taken_again() {
    let [mut a, mut b] = ends(30);
    let mut sent = Vec::new();
    for ssrc in 1..=100 {
        let music = seal(&mut a, &rtp(1, ssrc));
        assert!(open(&mut b, &music).is_ok(), "stream {ssrc}");
        sent.push(music);
        // Between them it speaks: what is heard is not forgotten.
        assert!(open(&mut b, &seal(&mut a, &rtp(ssrc as u16, 0))).is_ok(), "{ssrc}");
    }
    assert!(sent.iter().all(|music| open(&mut b, music) == Err(Unproved)), "it has come before");
    assert_eq!(b.opens.streams(), STREAMS_MAX);
    // The last ones go on.
    for ssrc in 101 - (STREAMS_MAX as u32 - 1)..=100 {
        assert!(open(&mut b, &seal(&mut a, &rtp(2, ssrc))).is_ok(), "stream {ssrc}");
    }
}

#[test]
fn a_peer_may_not_change_its_stream_without_end() {
    let [mut a, mut b] = ends(30);
    let max = (STREAMS_MAX + STREAMS_GONE_MAX) as u32;
    for ssrc in 0..max {
        assert!(open(&mut b, &seal(&mut a, &rtp(1, ssrc))).is_ok(), "stream {ssrc}");
    }
    assert_eq!(open(&mut b, &seal(&mut a, &rtp(1, max))), Err(Unproved));
    assert!(open(&mut b, &seal(&mut a, &rtp(2, max - 1))).is_ok(), "the others are heard");
}

#[test]
fn no_key_is_shown() {
    let [a, _] = ends(30);
    let keys = LegKeys { ours: key(1, 30), theirs: key(1, 30) };
    assert_eq!(format!("{a:?}"), "Srtp(***)");
    assert_eq!(format!("{keys:?}"), "LegKeys { ours: MasterKey(***), theirs: MasterKey(***) }");
}
