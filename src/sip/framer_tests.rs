//! The lines of the scanner's checklist that are about streams, and the smuggling table.

use proptest::prelude::*;

use super::*;

/// A frame as it can be compared.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Seen {
    Message(Vec<u8>),
    Keepalive,
    Broken(Fault),
}

fn drain(framer: &mut Framer, seen: &mut Vec<Seen>) {
    while let Some(frame) = framer.next_frame() {
        seen.push(match frame {
            Frame::Message(bytes) => Seen::Message(bytes.to_vec()),
            Frame::Keepalive => Seen::Keepalive,
            Frame::Broken(malformed) => Seen::Broken(malformed.fault()),
        });
    }
}

fn frames(stream: &[u8]) -> Vec<Seen> {
    let (mut framer, mut seen) = (Framer::new(), vec![]);
    framer.push(stream);
    drain(&mut framer, &mut seen);
    seen
}

/// An OPTIONS with these lines before the empty one.
fn options(lines: &str, body: &str) -> Vec<u8> {
    format!(
        "OPTIONS sip:x@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.9;branch=z9hG4bK1\r\n\
         From: <sip:a@192.0.2.9>;tag=1\r\nTo: <sip:x@192.0.2.1>\r\nCall-ID: 1@192.0.2.9\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n{lines}\r\n{body}"
    )
    .into_bytes()
}

fn good() -> Vec<u8> {
    options("Content-Length: 4\r\n", "body")
}

fn status_of(stream: &[u8]) -> Option<u16> {
    match frames(stream).as_slice() {
        [Seen::Broken(fault)] => Some(fault.status()),
        _ => None,
    }
}

#[test]
fn messages_follow_one_another() {
    let (one, other) = (good(), options("l: 0\r\n", ""));
    let stream = [one.as_slice(), &other, &one].concat();
    assert_eq!(frames(&stream), [&one, &other, &one].map(|bytes| Seen::Message(bytes.clone())));
}

#[test]
fn line_ends_one_two_or_many_before_the_start_line_are_ignored() {
    for count in [1, 2, 3, 7] {
        let stream = ["\r\n".repeat(count).as_bytes(), &good()].concat();
        let messages: Vec<_> =
            frames(&stream).into_iter().filter(|frame| *frame != Seen::Keepalive).collect();
        assert_eq!(messages, [Seen::Message(good())], "{count}");
    }
}

#[test]
fn a_double_line_end_is_a_keepalive_and_a_single_one_is_not() {
    assert_eq!(frames(b"\r\n"), []);
    assert_eq!(frames(b"\r\n\r\n"), [Seen::Keepalive]);
    assert_eq!(frames(b"\r\n\r\n\r\n\r\n\r\n"), [Seen::Keepalive, Seen::Keepalive]);
    // One before a message and one behind it make none.
    let apart = [b"\r\n".as_slice(), &good(), b"\r\n"].concat();
    assert_eq!(frames(&apart), [Seen::Message(good())]);
}

#[test]
fn any_doubt_about_the_length_breaks_the_stream_and_nothing_after_it_is_served() {
    for lines in [
        "",
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 0\r\n",
        "Content-Length: 4\r\nl: 4\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -4\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: 4.0\r\n",
        "Content-Length: 4 4\r\n",
        "Content-Length: four\r\n",
        "Content-Length:\r\n",
        "Content-Length: 4294967300\r\n",
        "Content-Length: 18446744073709551620\r\n",
        "Content\u{1}-Length: 4\r\nContent-Length: 0\r\n",
        "Content Length: 4\r\nContent-Length: 0\r\n",
        "Content-Length: 4\r\nno colon\r\n",
        "Content-Length: 4\nContent-Length: 0\r\n",
        "Content-Length: 4\rContent-Length: 0\r\n",
    ] {
        let stream = [options(lines, "body"), good()].concat();
        assert_eq!(status_of(&stream), Some(400), "{lines:?}");
        let mut framer = Framer::new();
        framer.push(&stream);
        let Some(Frame::Broken(malformed)) = framer.next_frame() else { panic!("{lines:?}") };
        framer.push(&good());
        assert!(framer.next_frame().is_none() && !framer.is_partial(), "{lines:?}");
        let answer = malformed.answer(source(), &tag(), &mut BytesMut::new());
        assert!(answer.is_some(), "{lines:?}");
    }
}

fn source() -> std::net::SocketAddr {
    "192.0.2.9:5060".parse().expect("an address")
}

fn tag() -> crate::sip::ids::Tag {
    use rand_chacha::rand_core::SeedableRng as _;
    let shard = crate::sip::ids::Shard::new(0).expect("a shard");
    crate::sip::ids::Tag::new(shard, &mut rand_chacha::ChaCha20Rng::seed_from_u64(1))
}

#[test]
fn what_two_readers_could_read_differently_is_not_a_message() {
    for stream in [
        "OPTIONS sip:x SIP/2.0\nContent-Length: 0\n\nINVITE sip:y SIP/2.0\r\n",
        "OPTIONS sip:x SIP/2.0\r\nContent-Length: 0\r\n\n",
        "OPTIONS sip:x SIP/2.0\rContent-Length: 0\r\rINVITE",
        "\n\n",
    ] {
        assert_eq!(status_of(stream.as_bytes()), Some(400), "{stream:?}");
    }
}

#[test]
fn a_space_before_the_colon_and_a_folded_length_mean_the_same_as_to_the_parser() {
    for lines in ["Content-Length : 4\r\n", "Content-Length:\r\n 4\r\n", "CONTENT-LENGTH:4\r\n"] {
        let message = options(lines, "body");
        assert_eq!(frames(&message), [Seen::Message(message.clone())], "{lines:?}");
        let parsed = crate::sip::message::Message::parse(message.into()).expect("valid");
        assert_eq!(parsed.body(), b"body");
    }
}

#[test]
fn a_message_one_byte_too_long_is_answered_513_and_one_that_fits_is_served() {
    let sized = |body: usize, padding: usize| {
        let lines = format!("Content-Length: {body}\r\n{}", "X: 3456\r\n".repeat(padding));
        options(&lines, &"b".repeat(body))
    };
    assert_eq!(frames(&sized(BODY_MAX, 0)).len(), 1);
    assert_eq!(status_of(&sized(BODY_MAX, 0)), None);
    assert_eq!(status_of(&sized(BODY_MAX + 1, 0)), Some(413));
    assert_eq!(status_of(&sized(MESSAGE_MAX, 0)), Some(513));
    assert_eq!(status_of(&sized(0, 249)), None, "256 headers");
    assert_eq!(status_of(&sized(0, 250)), Some(400), "257 headers");
}

#[test]
fn a_head_without_an_end_is_refused_at_the_limit_and_its_answer_can_be_written() {
    let mut framer = Framer::new();
    let lines = "X: y\r\n".repeat(MESSAGE_MAX / 6);
    framer.push(&options(&lines, "")[..MESSAGE_MAX]);
    assert!(framer.next_frame().is_none() && framer.is_partial());
    framer.push(b"Y");
    let Some(Frame::Broken(malformed)) = framer.next_frame() else { panic!("too long") };
    assert_eq!(malformed.status(), 513);
    assert!(malformed.answer(source(), &tag(), &mut BytesMut::new()).is_some());
}

#[test]
fn a_long_header_line_is_refused() {
    let line = format!("Subject: {}\r\nContent-Length: 0\r\n", "x".repeat(9_000));
    assert_eq!(status_of(&options(&line, "")), Some(400));
}

/// Pieces of streams, good and bad.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(good()),
        2 => Just(options("l: 0\r\n", "")),
        2 => Just(b"\r\n".to_vec()),
        1 => Just(b"\r\n\r\n".to_vec()),
        1 => Just(options("Content-Length: 4\r\nContent-Length: 0\r\n", "body")),
        1 => Just(options("Content-Length: 70000\r\n", "")),
        1 => Just(b"\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #[test]
    fn any_split_of_a_byte_stream_gives_the_same_messages(
        pieces in proptest::collection::vec(pieces(), 1..8),
        cuts in proptest::collection::vec(1_usize..400, 1..40),
    ) {
        let stream = pieces.concat();
        let (mut framer, mut seen) = (Framer::new(), vec![]);
        let (mut rest, mut cuts) = (stream.as_slice(), cuts.into_iter().cycle());
        while !rest.is_empty() {
            let at = cuts.next().unwrap_or(1).min(rest.len());
            framer.push(&rest[..at]);
            drain(&mut framer, &mut seen);
            rest = &rest[at..];
        }
        prop_assert_eq!(seen, frames(&stream));
    }

    #[test]
    fn a_stream_cut_into_single_bytes_gives_the_same_messages(
        pieces in proptest::collection::vec(pieces(), 1..4),
    ) {
        let stream = pieces.concat();
        let (mut framer, mut seen) = (Framer::new(), vec![]);
        for byte in &stream {
            framer.push(&[*byte]);
            drain(&mut framer, &mut seen);
        }
        prop_assert_eq!(seen, frames(&stream));
    }
}

/// Found by the fuzzer: which of two faults was named hung on how the stream was cut.
#[test]
fn a_head_that_is_too_long_is_too_long_however_it_comes() {
    let stream = options(&"x: 1234567\r\n".repeat(6_000), "");
    assert!(stream.len() > MESSAGE_MAX);
    assert_eq!(frames(&stream), [Seen::Broken(Fault::TooLong)]);
    let (mut framer, mut seen) = (Framer::new(), vec![]);
    for piece in stream.chunks(100) {
        framer.push(piece);
        drain(&mut framer, &mut seen);
    }
    assert_eq!(seen, [Seen::Broken(Fault::TooLong)]);
}
