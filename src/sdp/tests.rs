//! Byte-exact descriptions, hostile ones, and the proof that one side's bytes never reach the
//! other.

use super::*;
use proptest::prelude::*;

fn lines(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line, "\r\n"]).flat_map(str::bytes).collect()
}

/// A description with these lines after the usual head.
fn with(rest: &[&str]) -> Result<Session, InvalidSdp> {
    let mut all = vec!["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0"];
    all.extend(rest);
    parse(&lines(&all))
}

fn local() -> Local {
    Local::new("198.51.100.7:20000".parse().expect("an address"), 42)
}

/// What phones send, with everything in it that must stay behind.
const TALKATIVE: &[&str] = &[
    "v=0",
    "o=+8613800001234 2890844526 2890842807 IN IP4 pbx.example.net",
    "s=Call from 13800001234",
    "i=about a claim",
    "u=http://example.net/13800001234",
    "e=a@example.net (A)",
    "p=+86 138 0000 1234",
    "c=IN IP4 192.0.2.1",
    "b=AS:64",
    "t=0 0",
    "k=clear:secret",
    "a=ice-ufrag:abcd",
    "a=X-number:13800001234",
    "m=audio 49170 RTP/AVP 96 8 0 97 101",
    "a=rtpmap:96 opus/48000/2",
    "a=rtpmap:97 iLBC/8000",
    "a=rtpmap:101 telephone-event/8000",
    "a=fmtp:101 0-16,66",
    "a=ssrc:1 cname:13800001234",
    "a=candidate:1 1 UDP 1 10.0.0.1 9 typ host",
    "a=source-filter: incl IN IP4 192.0.2.1 10.0.0.1",
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x",
    "a=ptime:30",
    "a=label:1",
];

#[test]
fn an_offer_holds_our_facts_alone_byte_for_byte() {
    let a = parse(&lines(TALKATIVE)).expect("valid");
    let ours = Local { ptime_ms: a.ptime_ms.unwrap_or(20), ..local() };
    let expected = lines(&[
        "v=0",
        "o=- 42 1 IN IP4 198.51.100.7",
        "s=-",
        "c=IN IP4 198.51.100.7",
        "t=0 0",
        "m=audio 20000 RTP/AVP 8 0 101",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:30",
        "a=sendrecv",
    ]);
    assert_eq!(offer(&ours, a.codecs()).into_bytes(), expected);
}

#[test]
fn an_answer_speaks_the_offerers_numbers_and_refuses_its_other_media_in_order() {
    let a = with(&[
        "m=video 5000 RTP/AVP 31 34",
        "m=audio 0 RTP/AVP 8",
        "m=audio 4000 RTP/SAVP 8",
        "m=audio 4002 RTP/AVP 120 9 8",
        "a=rtpmap:120 telephone-event/8000",
        "m=image 4100 udptl t38",
    ])
    .expect("valid");
    assert_eq!(a.rtp, "192.0.2.1:4002".parse().expect("an address"));
    let v6 = Local { rtp: "[2001:db8::7]:20002".parse().expect("an address"), ..local() };
    let agreed = [Codec::Pcma, Codec::TelephoneEvent].into_iter().collect();
    let expected = lines(&[
        "v=0",
        "o=- 42 1 IN IP6 2001:db8::7",
        "s=-",
        "c=IN IP6 2001:db8::7",
        "t=0 0",
        "m=video 0 RTP/AVP 31",
        "m=audio 0 RTP/AVP 8",
        "m=audio 0 RTP/SAVP 8",
        "m=audio 20002 RTP/AVP 8 120",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:120 telephone-event/8000",
        "a=fmtp:120 0-15",
        "a=ptime:20",
        "a=sendrecv",
        "m=image 0 udptl t38",
    ]);
    assert_eq!(answer(&v6, &a, agreed).into_bytes(), expected);
}

#[test]
fn what_we_write_we_read() {
    let ours = Local { direction: Direction::SendOnly, ..local() };
    let read = parse(offer(&ours, CodecSet::all()).as_bytes()).expect("valid");
    assert_eq!(read.rtp, ours.rtp);
    assert_eq!(read.payloads, Payloads::ours());
    assert_eq!(read.direction, Direction::SendOnly);
    assert_eq!(read.ptime_ms, Some(20));
}

#[test]
fn the_address_of_the_media_line_wins_over_the_sessions() {
    let a = with(&["m=audio 4000 RTP/AVP 8", "c=IN IP6 2001:db8::1"]).expect("valid");
    assert_eq!(a.rtp, "[2001:db8::1]:4000".parse().expect("an address"));
    assert_eq!(a.rtcp, "[2001:db8::1]:4001".parse().expect("an address"));
}

#[test]
fn rtcp_may_be_elsewhere() {
    let port = with(&["m=audio 4000 RTP/AVP 8", "a=rtcp:5001"]).expect("valid");
    assert_eq!(port.rtcp, "192.0.2.1:5001".parse().expect("an address"));
    let both = with(&["m=audio 4000 RTP/AVP 8", "a=rtcp:5001 IN IP4 192.0.2.9"]).expect("valid");
    assert_eq!(both.rtcp, "192.0.2.9:5001".parse().expect("an address"));
}

#[test]
fn holds_of_both_styles_are_seen() {
    let sendonly = with(&["a=sendonly", "m=audio 4000 RTP/AVP 8"]).expect("valid");
    assert!(!sendonly.direction.receives());
    let own = with(&["a=sendonly", "m=audio 4000 RTP/AVP 8", "a=sendrecv"]).expect("valid");
    assert_eq!(own.direction, Direction::SendRecv);
    let old = with(&["m=audio 4000 RTP/AVP 8", "c=IN IP4 0.0.0.0"]).expect("valid");
    assert!(old.rtp.ip().is_unspecified());
    assert!(!old.direction.receives());
    let ours = answer(&local(), &sendonly, sendonly.codecs());
    assert!(ours.ends_with("a=recvonly\r\n"));
    let both_held = Local { direction: Direction::SendOnly, ..local() };
    assert!(answer(&both_held, &sendonly, sendonly.codecs()).ends_with("a=inactive\r\n"));
}

#[test]
fn offers_without_audio_we_can_relay_are_told_apart_from_broken_ones() {
    let refused = |rest: &[&str]| with(rest).expect_err("refused");
    assert_eq!(refused(&[]), InvalidSdp::NoAudio);
    assert_eq!(refused(&["m=video 4000 RTP/AVP 31"]), InvalidSdp::NoAudio);
    assert_eq!(refused(&["m=audio 0 RTP/AVP 8"]), InvalidSdp::NoAudio);
    assert_eq!(refused(&["m=audio 4000/2 RTP/AVP 8"]), InvalidSdp::NoAudio);
    assert_eq!(refused(&["m=audio 65535 RTP/AVP 8"]), InvalidSdp::NoAudio);
    let group = ["m=audio 4000 RTP/AVP 8", "c=IN IP4 224.2.1.1/127"];
    assert_eq!(refused(&group), InvalidSdp::NoAudio);
    let name = ["m=audio 4000 RTP/AVP 8", "c=IN IP4 phone.example.net"];
    assert_eq!(refused(&name), InvalidSdp::NoAudio);
    let opus = ["m=audio 4000 RTP/AVP 96", "a=rtpmap:96 opus/48000/2"];
    assert_eq!(refused(&opus), InvalidSdp::NoCodec);
    let events = ["m=audio 4000 RTP/AVP 101", "a=rtpmap:101 telephone-event/8000"];
    assert_eq!(refused(&events), InvalidSdp::NoCodec);
    let renamed = ["m=audio 4000 RTP/AVP 8", "a=rtpmap:8 opus/48000/2"];
    assert_eq!(refused(&renamed), InvalidSdp::NoCodec);
    for broken in [
        "m=audio",
        "m=audio x RTP/AVP 8",
        "m=audio 70000 RTP/AVP 8",
        "m=audio 4000 RTP/AVP",
        "m=audio 4000 RTP/AVP 128",
        "m=audio 4000 RTP/AVP PCMA",
        "c=IN IP4",
        "c=IN IP5 192.0.2.1",
        "audio",
        "m audio",
    ] {
        assert_eq!(refused(&[broken]), InvalidSdp::Malformed, "{broken}");
    }
    let no_address = lines(&["v=0", "o=- 1 1 IN IP4 192.0.2.1", "m=audio 4000 RTP/AVP 8"]);
    assert_eq!(parse(&no_address), Err(InvalidSdp::Malformed));
    assert_eq!(parse(b""), Err(InvalidSdp::Malformed));
}

#[test]
fn limits_hold() {
    let many_lines = vec!["a=x"; LINES_MAX];
    assert_eq!(with(&many_lines), Err(InvalidSdp::TooLarge));
    let many_media = vec!["m=audio 4000 RTP/AVP 8"; MEDIA_LINES_MAX + 1];
    assert_eq!(with(&many_media), Err(InvalidSdp::TooLarge));
    let formats = format!("m=audio 4000 RTP/AVP{}", " 8".repeat(FORMATS_MAX + 1));
    assert_eq!(with(&[&formats]), Err(InvalidSdp::TooLarge));
    let long = format!("a={}", "x".repeat(SDP_BYTES_MAX));
    assert_eq!(with(&[&long]), Err(InvalidSdp::TooLarge));
}

#[test]
fn line_ends_of_either_kind_and_an_unfinished_last_line_are_read() {
    let body = b"v=0\nc=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 0";
    assert!(parse(body).expect("valid").codecs().contains(Codec::Pcmu));
}

#[test]
fn what_both_can_do_is_agreed() {
    let a = with(&["m=audio 4000 RTP/AVP 8 0"]).expect("valid");
    let b = with(&["m=audio 4000 RTP/AVP 0 9"]).expect("valid");
    let g722 = with(&["m=audio 4000 RTP/AVP 9"]).expect("valid");
    assert_eq!(agree(&a, &b), Ok([Codec::Pcmu].into_iter().collect()));
    assert_eq!(agree(&a, &g722), Err(InvalidSdp::NoCodec));
}

/// Bytes of a line's value: anything but its end.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>().prop_filter("no line end", |b| *b != b'\n'), 0..40)
}

/// The lines that must not matter, with these bytes in them.
fn noisy(noise: &[Vec<u8>], audio: &[&str]) -> Vec<u8> {
    let before = ["o=", "s=", "i=", "u=", "e=", "p=", "k=", "b=", "a=X-", "a=ice-ufrag:"];
    let inside = ["a=candidate:", "a=ssrc:", "a=crypto:", "a=label:", "a=X-", "i=", "a=extmap:"];
    let mut body = b"v=0\r\n".to_vec();
    let mut noise = noise.iter().cycle();
    let mut add = |name: &str| {
        let mut line = name.as_bytes().to_vec();
        line.extend(noise.next().expect("noise"));
        line.extend(b"\r\n");
        line
    };
    for name in before {
        body.extend(add(name));
    }
    body.extend(lines(audio));
    for name in inside {
        body.extend(add(name));
    }
    body
}

proptest! {
    #[test]
    fn what_one_side_writes_about_itself_never_changes_the_others_bytes(
        one in proptest::collection::vec(noise(), 17),
        two in proptest::collection::vec(noise(), 17),
        port in 1_u16..60_000,
    ) {
        let plain = ["c=IN IP4 192.0.2.1", "t=0 0", "m=audio 4000 RTP/AVP 8 0"];
        let address = format!("c=IN IP6 2001:db8::{port:x}");
        let media = format!("m=audio {port} RTP/AVP 0 18 97 8");
        // Another address, port, and further codecs on top of other words.
        let other = [address.as_str(), "t=1 2", &media, "a=rtpmap:97 13800001234/8000"];
        let (one, two) = (parse(&noisy(&one, &plain)), parse(&noisy(&two, &other)));
        let (one, two) = (one.expect("valid"), two.expect("valid"));
        prop_assert_eq!(offer(&local(), one.codecs()), offer(&local(), two.codecs()));
        let a = with(&["m=audio 4000 RTP/AVP 0 8"]).expect("valid");
        let to_a = |b: &Session| answer(&local(), &a, agree(&a, b).expect("common codecs"));
        prop_assert_eq!(to_a(&one), to_a(&two));
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        pieces in proptest::collection::vec(
            prop_oneof![
                noise(),
                proptest::sample::select(TALKATIVE).prop_map(|line| line.as_bytes().to_vec()),
                proptest::sample::select(&["m=audio ", "a=rtpmap:", "a=rtcp:", "c=IN IP4 "][..])
                    .prop_map(|line| line.as_bytes().to_vec()),
                Just(b"\r\n".to_vec()),
            ],
            0..60,
        ),
    ) {
        let mut body = b"v=0\r\n".to_vec();
        body.extend(pieces.concat());
        if let Ok(session) = parse(&body) {
            let _ = answer(&local(), &session, session.codecs());
        }
    }
}
