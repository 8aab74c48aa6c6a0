//! What a packet carries across: its payload, and nothing that names its sender.

use maskline::rtp::header::Header;
use maskline::rtp::plane::{Command, EVENT_POSITION, PayloadMap, Side};

use crate::peers::{Phone, World, payload};

#[test]
fn both_sides_hear_each_other() {
    World::new().call(1).talk(100);
}

#[test]
fn names_and_offsets_differ_between_legs_and_calls_and_steps_are_kept() {
    let mut world = World::new();
    let mut seen = Vec::new();
    for number in 1..=2 {
        let mut call = world.call(number);
        for side in [Side::A, Side::B] {
            let (from, to) = match side {
                Side::A => (&mut call.a, &call.b),
                Side::B => (&mut call.b, &call.a),
            };
            let sent: Vec<Header> = [from.packet(), from.packet(), from.packet()]
                .iter()
                .map(|packet| {
                    from.send(packet);
                    Header::parse(packet).expect("valid")
                })
                .collect();
            let heard = [(); 3].map(|()| Header::parse(&to.hear()).expect("valid"));
            let first = heard[0];
            for (one, other) in sent.iter().zip(heard) {
                assert_ne!(one.ssrc, other.ssrc);
                let steps = |h: &Header, from: &Header| {
                    let sequence = h.sequence.wrapping_sub(from.sequence);
                    (sequence, h.timestamp.wrapping_sub(from.timestamp))
                };
                assert_eq!(steps(one, &sent[0]), steps(&other, &first));
            }
            assert_ne!(first.sequence, sent[0].sequence);
            assert_ne!(first.timestamp, sent[0].timestamp);
            seen.push(first.ssrc);
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4, "every leg of every call has a name of its own");
}

#[test]
fn contributors_extensions_and_padding_stay_behind() {
    let mut world = World::new();
    let mut call = world.call(1);
    // Header extensions of one byte, of two, and of a kind of its own (RFC 8285).
    for kind in [[0xbe, 0xde], [0x10, 0x00], [0x13, 0x80]] {
        for side in [Side::A, Side::B] {
            let (from, to) = match side {
                Side::A => (&mut call.a, &call.b),
                Side::B => (&mut call.b, &call.a),
            };
            let plain = from.packet();
            let mut rich = plain[..12].to_vec();
            rich[0] |= 0x20 | 0x10 | 2;
            rich.extend(b"13800001");
            rich.extend([&kind[..], &[0, 4]].concat());
            rich.extend(b"\x10\x0c13800001234\0\0\0");
            rich.extend(&plain[12..]);
            rich.extend(b"13800001234\x0c");
            from.send(&rich);
            let heard = to.hear();
            assert_eq!(heard.len(), 172);
            assert_eq!(heard[0], 0x80);
            assert_eq!(payload(&heard), plain[12..]);
        }
    }
}

#[test]
fn keys_of_the_callee_end_here_and_those_of_the_caller_take_nothing_with_them() {
    const EVENT: u8 = 101;
    let mut world = World::new();
    let mut call = world.open(1);
    let session = call.session;
    let with_events = |phone: &Phone| {
        let mut remote = phone.remote();
        remote.payloads_to.0[EVENT_POSITION] = Some(EVENT);
        remote.payloads_from.0[EVENT_POSITION] = Some(EVENT);
        remote
    };
    for (side, phone) in [(Side::A, &call.a), (Side::B, &call.b)] {
        let remote = with_events(phone);
        world.send(Command::Update { session, side, remote, keys: None });
    }
    world.send(Command::Bridge { session });
    call.knock();
    let typed = |phone: &mut Phone| {
        let mut packet = phone.packet();
        packet.truncate(12);
        packet[1] = EVENT;
        packet.extend([5, 0x8a, 3, 0x20]);
        packet.extend(b"13800001234");
        phone.send(&packet);
    };
    typed(&mut call.b);
    typed(&mut call.a);
    let heard = call.b.hear();
    assert_eq!((heard[1] & 0x7f, &heard[12..]), (EVENT, &[5, 0x8a, 3, 0x20][..]));
    // The next thing that A hears is what B says.
    let said = call.b.speak();
    assert_eq!(payload(&call.a.hear()), said);
}

#[test]
fn payload_types_are_those_of_the_receiver() {
    let mut world = World::new();
    let mut call = world.call(1);
    let mut payloads = PayloadMap::default();
    payloads.0[0] = Some(96);
    let remote = maskline::rtp::plane::RemoteMedia { payloads_to: payloads, ..call.b.remote() };
    world.send(Command::Update { session: call.session, side: Side::B, remote, keys: None });
    // The change is seen in the first packet after it was taken.
    let mut types = Vec::new();
    while types.last() != Some(&96) {
        call.a.speak();
        types.push(Header::parse(&call.b.hear()).expect("valid").payload_type);
    }
    assert!(types.iter().all(|kind| [8, 96].contains(kind)), "{types:?}");
}
