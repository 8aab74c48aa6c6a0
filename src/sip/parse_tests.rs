//! The checklist of the scanner: each line is a fault seen in a real stack.

use super::header::HeaderId;
use super::limits::{BODY_MAX, HEADER_LINE_MAX, HEADERS_MAX, MESSAGE_MAX, VIAS_MAX};
use super::method::Method;
use super::parse::{Fault, split_header};
use super::tests::{invite_with, message, parse, refusal_of, refused, request_with};
use super::uri::Scheme;

fn fault(text: impl AsRef<[u8]>) -> Fault {
    parse(text).expect_err("a broken message of this test").fault()
}

/// The INVITE of these tests with one piece of text exchanged.
fn changed(from: &str, to: &str) -> String {
    let text = invite_with("", "");
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

/// Replaces the Content-Length of a body of five bytes.
fn with_length(value: &str) -> String {
    invite_with("", "12345").replace("Content-Length: 5", &format!("Content-Length: {value}"))
}

#[test]
fn crlf_one_two_many_before_the_start_line_is_ignored() {
    for count in [1, 2, 100] {
        let text = "\r\n".repeat(count) + &invite_with("", "v=0");
        assert_eq!(message(text).body(), b"v=0");
    }
    for keepalive in ["", "\r\n", "\r\n\r\n"] {
        assert_eq!(fault(keepalive), Fault::Empty);
        assert_eq!(refused(keepalive), None);
    }
}

#[test]
fn a_content_length_larger_than_the_datagram_gives_400() {
    assert_eq!(refused(with_length("6")), Some(400));
    assert_eq!(fault(with_length("6")), Fault::BodyMissing);
}

#[test]
fn a_smaller_content_length_cuts_the_body_there() {
    assert_eq!(message(with_length("4")).body(), b"1234");
    assert_eq!(message(with_length("0")).body(), b"");
}

#[test]
fn without_content_length_the_body_is_the_rest_of_the_datagram() {
    let text = with_length("5").replace("Content-Length: 5\r\n", "");
    assert_eq!(message(text).body(), b"12345");
}

#[test]
fn a_negative_non_numeric_signed_hexadecimal_or_2_to_the_32_plus_n_content_length_gives_400() {
    for value in
        ["-1", "five", "+5", "0x5", "4294967301", "18446744073709551621", "", "5 5", "5,5", "5;"]
    {
        assert_eq!(refused(with_length(value)), Some(400), "{value}");
    }
}

#[test]
fn two_content_length_values_give_400() {
    for second in ["Content-Length: 5", "l: 5", "CONTENT-LENGTH : 0"] {
        let text = invite_with(&format!("{second}\r\n"), "12345");
        assert_eq!(fault(&text), Fault::Repeated(HeaderId::ContentLength));
        assert_eq!(refused(&text), Some(400));
    }
}

#[test]
fn a_non_utf8_header_neither_truncates_the_header_list_nor_refuses_the_message() {
    let mut text = invite_with("X-Odd: ##\r\nX-Next: here\r\n", "").into_bytes();
    let at = text.windows(2).position(|two| two == b"##").expect("in the text");
    text[at..at + 2].copy_from_slice(b"\xff\xfe");
    let message = message(text);
    assert_eq!(message.header_named("x-odd"), Some(&b"\xff\xfe"[..]));
    assert_eq!(message.header_named("X-Next"), Some(&b"here"[..]));
}

#[test]
fn sip_7_0_is_answered_505_never_200() {
    assert_eq!(refused(changed("SIP/2.0\r\n", "SIP/7.0\r\n")), Some(505));
    for junk in ["SIP/2.0x\r\n", "HTTP/1.1\r\n", "SIP/2\r\n", "SIP/.\r\n"] {
        assert_eq!(refused(changed("SIP/2.0\r\n", junk)), Some(400), "{junk}");
    }
}

#[test]
fn a_request_with_doubled_spaces_in_the_start_line_or_brackets_round_the_request_uri_gets_400() {
    let uri = "sip:+8613800000001@relay.example;user=phone";
    for line in [
        format!("INVITE  {uri} SIP/2.0"),
        format!("INVITE {uri}  SIP/2.0"),
        format!("INVITE {uri} SIP/2.0 "),
        format!(" INVITE {uri} SIP/2.0"),
        format!("INVITE <{uri}> SIP/2.0"),
        format!("INVITE {uri}; lr SIP/2.0"),
        format!("INVITE {uri}\tSIP/2.0"),
        format!("INVITE {uri}?Route=%3Csip:evil.example%3E SIP/2.0"),
        "INVITE SIP/2.0".to_owned(),
        "INVITE".to_owned(),
        "IN@VITE sip:a@b SIP/2.0".to_owned(),
    ] {
        let text = changed(&format!("INVITE {uri} SIP/2.0"), &line);
        assert_eq!(refused(text), Some(400), "{line}");
    }
}

#[test]
fn a_tel_request_uri_is_understood() {
    let text = changed("sip:+8613800000001@relay.example;user=phone SIP", "tel:+8613800000001 SIP");
    let message = message(text);
    let uri = message.request_uri().expect("was checked");
    assert_eq!((uri.scheme, uri.number().as_deref()), (Scheme::Tel, Some("+8613800000001")));
}

#[test]
fn a_via_branch_and_other_outside_values_are_read_in_place() {
    let message = message(invite_with("", ""));
    assert_eq!(message.method(), Method::Invite);
    assert_eq!(message.top_via().branch, Some(&b"z9hG4bKabc"[..]));
    assert_eq!((message.from().tag, message.to().tag), (Some(&b"a7"[..]), None));
    assert_eq!((message.cseq(), message.call_id()), (10, &b"c1@pbx.example"[..]));
    let bytes = message.bytes().as_ptr_range();
    assert!(bytes.contains(&message.call_id().as_ptr()), "nothing was copied");
}

#[test]
fn cseq_method_unlike_the_request_method_gives_400() {
    assert_eq!(refused(changed("CSeq: 10 INVITE", "CSeq: 10 OPTIONS")), Some(400));
    let other = request_with("NEWMETHOD", "", "");
    assert_eq!(message(&other).method(), Method::Other);
    assert_eq!(message(&other).method_name(), b"NEWMETHOD");
    let mismatch = other.replace("CSeq: 10 NEWMETHOD", "CSeq: 10 OLDMETHOD");
    assert_eq!(fault(mismatch), Fault::MethodMismatch);
}

#[test]
fn cseq_max_forwards_and_expires_never_wrap() {
    for bad in ["2147483648", "4294967306", "36893488147419103232", "-1", "+1", "", "1 2"] {
        assert_eq!(refused(changed("CSeq: 10", &format!("CSeq: {bad}"))), Some(400), "{bad}");
    }
    assert_eq!(message(changed("CSeq: 10", "CSeq: 2147483647")).cseq(), 2_147_483_647);
    for bad in ["256", "300", "-1", "4294967366", "x", ""] {
        let text = changed("Max-Forwards: 70", &format!("Max-Forwards: {bad}"));
        assert_eq!(refused(text), Some(400), "{bad}");
    }
    let expires = |value: &str| invite_with(&format!("Expires: {value}\r\n"), "");
    assert_eq!(message(expires("4294967295")).expires(), Some(u32::MAX));
    assert_eq!(refused(expires("4294967296")), Some(400));
}

#[test]
fn duplicate_call_id_cseq_from_to_or_max_forwards_gives_400() {
    for line in [
        "Call-ID: c1@pbx.example",
        "i: other",
        "CSeq: 10 INVITE",
        "From: <sip:8@pbx.example>;tag=8",
        "f: <sip:8@pbx.example>;tag=8",
        "t: <sip:8@pbx.example>",
        "Max-Forwards: 70",
    ] {
        let text = invite_with(&format!("{line}\r\n"), "");
        assert!(matches!(fault(&text), Fault::Repeated(_)), "{line}");
        assert_eq!(refused(&text), Some(400), "{line}");
    }
}

#[test]
fn a_repeated_tag_gives_400() {
    assert_eq!(refused(changed(";tag=a7", ";tag=a7;tag=a8")), Some(400));
}

#[test]
fn a_malformed_request_is_answered_400_when_the_five_headers_can_be_read() {
    let text = changed("Max-Forwards: 70", "Max-Forwards: many")
        .replace("Via: ", "Via: SIP/2.0/UDP near.example;branch=z9hG4bKn\r\nVia: ");
    let answer = refusal_of(&text).expect("an answer");
    assert_eq!(
        answer,
        format!(
            "SIP/2.0 400 Bad Request\r\n\
             Via: SIP/2.0/UDP near.example;branch=z9hG4bKn;received=192.0.2.1\r\n\
             Via: SIP/2.0/UDP pbx.example:5066;branch=z9hG4bKabc;rport\r\n\
             From: \"Agent 7\" <sip:7@pbx.example>;tag=a7\r\n\
             To: <sip:+8613800000001@relay.example;user=phone>;tag={}\r\n\
             Call-ID: c1@pbx.example\r\nCSeq: 10 INVITE\r\nContent-Length: 0\r\n\r\n",
            super::tests::tag(1)
        )
    );
    for line in ["no colon at all", "bad name: x", ": x"] {
        assert_eq!(refused(changed("Max-Forwards: 70", line)), Some(400), "{line}");
    }
}

#[test]
fn a_header_line_that_is_too_long_hides_no_other_line_from_the_answer() {
    let long = "x".repeat(HEADER_LINE_MAX);
    for name in ["Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: "] {
        for line in [format!("X: {long}\r\n"), format!("X: {long}\r\n {long}\r\n")] {
            let text = changed(name, &format!("{line}{name}"));
            assert_eq!(fault(&text), Fault::HeaderLine);
            assert_eq!(refused(&text), Some(400), "before {name}");
        }
    }
}

#[test]
fn a_malformed_response_or_ack_is_never_answered() {
    assert_eq!(refused("SIP/2.0 4294967301 better not\r\nVia: SIP/2.0/UDP h\r\n\r\n"), None);
    let ack = request_with("ACK", "", "").replace("Max-Forwards: 70", "Max-Forwards: 300");
    assert_eq!(refused(ack), None);
    for gone in ["Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: "] {
        let text = changed(gone, "X-Gone: ");
        assert!(matches!(fault(&text), Fault::Missing(_)));
        assert_eq!(refused(&text), None, "{gone}");
    }
}

#[test]
fn a_header_name_with_a_control_character_gives_400() {
    for name in ["To\x01", "\x01To", "T\x00o", "To\x7f", "To\u{a0}", "To x"] {
        let text = changed("Call-ID", &format!("{name}: <sip:evil@x>\r\nCall-ID"));
        assert_eq!(fault(&text), Fault::HeaderName, "{name:?}");
        assert_eq!(refused(&text), Some(400));
    }
}

#[test]
fn a_space_before_the_colon_means_the_same_header() {
    for name in ["To ", "To\t", "TO  ", "t "] {
        let text = changed("To:", &format!("{name}:"));
        assert_eq!(message(text).to().uri, b"sip:+8613800000001@relay.example;user=phone");
        let twice = changed("Call-ID", &format!("{name}: <sip:evil@x>\r\nCall-ID"));
        assert_eq!(fault(twice), Fault::Repeated(HeaderId::To));
    }
}

#[test]
fn a_cr_or_lf_alone_is_never_a_line_end() {
    for evil in
        ["X: a\rRoute: <sip:evil>", "X: a\nRoute: <sip:evil>", "X: a\r\r\nY: b", "X: a\n\r\nY: b"]
    {
        let text = changed("Max-Forwards: 70", evil);
        assert_eq!(fault(&text), Fault::HeaderLine, "{evil:?}");
    }
}

#[test]
fn folded_lines_are_one_value() {
    let text = changed("CSeq: 10 INVITE", "CSeq: 10\r\n\tINVITE\r\nSubject: a\r\n b\r\n   c");
    let message = message(text);
    assert_eq!(message.cseq(), 10);
    assert_eq!(message.header(HeaderId::Subject), Some(&b"a\r\n b\r\n   c"[..]));
}

#[test]
fn sixty_kilobytes_of_semicolons_in_to_are_refused_by_their_length() {
    let text = changed("To: ", &format!("To: {}", ";".repeat(60_000)));
    assert_eq!(fault(text), Fault::HeaderLine);
    let inside = changed("To: ", &format!("To: {}", ";".repeat(HEADER_LINE_MAX - 200)));
    assert_eq!(fault(&inside), Fault::Invalid(HeaderId::To));
    assert_eq!(refused(&inside), Some(400));
}

#[test]
fn five_thousand_headers_are_refused_at_header_257() {
    let text = invite_with(&"X: y\r\n".repeat(5_000), "");
    assert_eq!(fault(&text), Fault::TooManyHeaders);
    assert_eq!(refused(&text), Some(400));
    let present = 8;
    assert!(parse(invite_with(&"X: y\r\n".repeat(HEADERS_MAX - present), "")).is_ok());
    let one_more = invite_with(&"X: y\r\n".repeat(HEADERS_MAX - present + 1), "");
    assert_eq!(fault(one_more), Fault::TooManyHeaders);
}

#[test]
fn every_limit_is_exact() {
    let line = |len: usize| invite_with(&format!("X: {}\r\n", "y".repeat(len - 3)), "");
    assert!(parse(line(HEADER_LINE_MAX)).is_ok());
    assert_eq!(fault(line(HEADER_LINE_MAX + 1)), Fault::HeaderLine);

    let vias = |count: usize| {
        let more = "SIP/2.0/UDP h, ".repeat(count - 2) + "SIP/2.0/UDP h";
        invite_with(&format!("Via: {more}\r\n"), "")
    };
    assert!(parse(vias(VIAS_MAX)).is_ok());
    assert_eq!(fault(vias(VIAS_MAX + 1)), Fault::TooManyVias);

    let body = |len: usize| invite_with("", &"b".repeat(len));
    assert!(parse(body(BODY_MAX)).is_ok());
    assert_eq!(refused(body(BODY_MAX + 1)), Some(413));

    let filled = |len: usize| {
        let mut text = invite_with("", "");
        text.push_str(&"b".repeat(len - text.len()));
        text
    };
    assert!(parse(filled(MESSAGE_MAX)).is_ok());
    assert_eq!(fault(filled(MESSAGE_MAX + 1)), Fault::TooLong);
    assert_eq!(parse(filled(MESSAGE_MAX + 1)).expect_err("too long").status(), 513);
}

#[test]
fn a_second_message_in_the_datagram_is_never_seen() {
    let text = request_with("OPTIONS", "", "") + &invite_with("", "");
    let message = message(text);
    assert_eq!((message.method(), message.body()), (Method::Options, &b""[..]));
}

#[test]
fn debug_output_shows_no_text_of_the_message() {
    let message = message(invite_with("", ""));
    let shown = format!(
        "{message:?} {:?} {:?} {:?} {:?}",
        message.from(),
        message.request_uri(),
        message.top_via(),
        parse("INVITE sip:13800000001@x\r\n\r\n").expect_err("no version")
    );
    assert!(!shown.contains("13800000001") && !shown.contains("pbx"), "{shown}");
}

#[test]
fn a_usual_name_is_known_by_its_end_too() {
    for (line, id, value) in [
        ("Via:a", HeaderId::Via, "a"),
        ("Via  :  a ", HeaderId::Via, "a"),
        ("Vias: a", HeaderId::Other, "a"),
        ("V: a", HeaderId::Via, "a"),
        ("CSEQ: a", HeaderId::CSeq, "a"),
        ("Content-Length:", HeaderId::ContentLength, ""),
        ("Content-Type: \t", HeaderId::ContentType, ""),
        ("Content-Typed: a:b", HeaderId::Other, "a:b"),
        ("Contact:a:b", HeaderId::Contact, "a:b"),
    ] {
        let found = split_header(line.as_bytes()).map(|(id, _, value)| (id, value));
        assert_eq!(found, Ok((id, value.as_bytes())), "{line}");
    }
    assert!(split_header(b"Via").is_err() && split_header(b"").is_err());
}
