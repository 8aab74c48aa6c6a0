//! The checklist of responses and methods.

use super::header::HeaderId;
use super::method::Method;
use super::screen::{Capabilities, Refusal, next_max_forwards};
use super::tests::{invite_with, message, peer, request_with, tag};
use super::write::{ResponseWriter, new_buffer};

const CAPABILITIES: Capabilities = Capabilities {
    allow: &[Method::Invite, Method::Ack, Method::Bye, Method::Cancel, Method::Options],
    supported: &["timer"],
    accept: &["application/sdp"],
};

fn screened(text: impl AsRef<[u8]>) -> Result<(), u16> {
    CAPABILITIES.screen(&message(text)).map_err(|refusal| refusal.status)
}

fn refusal(text: impl AsRef<[u8]>) -> Refusal {
    CAPABILITIES.screen(&message(text)).expect_err("a refusal")
}

fn answer(text: impl AsRef<[u8]>, status: u16) -> String {
    let bytes =
        ResponseWriter::start(&mut new_buffer(), &message(text), peer(), status, Some(&tag(1)))
            .finish();
    String::from_utf8(bytes.to_vec()).expect("the text of this test")
}

#[test]
fn to_and_from_come_back_byte_for_byte_with_only_a_to_tag_added() {
    let to = "\"B\\\"o\\\\b\"   <SIP:Bob@Host.EXAMPLE:5060;Param=X?h=v>  ; Odd = \"q;=\" ;\tx";
    let from = "Agent  Seven <sip:7@pbx.example> ;tag = a7 ; y=Z";
    let text = invite_with("", "")
        .replace("<sip:+8613800000001@relay.example;user=phone>\r\n", &format!("{to}\r\n"))
        .replace("\"Agent 7\" <sip:7@pbx.example>;tag=a7", from);
    let answer = answer(text, 180);
    assert!(answer.contains(&format!("\r\nTo: {to};tag={}\r\n", tag(1))), "{answer}");
    assert!(answer.contains(&format!("\r\nFrom: {from}\r\n")), "{answer}");
}

#[test]
fn a_to_tag_of_the_request_is_kept() {
    let text = invite_with("", "").replace("user=phone>\r\n", "user=phone>;tag=mine\r\n");
    assert!(!answer(text, 200).contains(tag(1).as_str()));
}

#[test]
fn all_via_values_come_back_in_order_byte_for_byte_but_for_received_and_rport_in_the_first() {
    let text = invite_with(
        "v: SIP/2.0/TCP  c;x=y ,SIP/2.0/UNKNOWN d\r\nVIA :SIP/2.0/UDP e\r\n",
        "",
    )
    .replace(
        "Via: SIP/2.0/UDP pbx.example:5066;branch=z9hG4bKabc;rport",
        "Via:   SIP/2.0/UDP a:1 ;received=9.9.9.9; rport=7;branch=z9hG4bKa;Z , SIP/2.0/UDP b",
    );
    let answer = answer(text, 180);
    let vias: Vec<_> = answer.lines().filter_map(|line| line.strip_prefix("Via: ")).collect();
    assert_eq!(
        vias,
        [
            "SIP/2.0/UDP a:1 ;rport=5070;branch=z9hG4bKa;Z;received=192.0.2.1",
            "SIP/2.0/UDP b",
            "SIP/2.0/TCP  c;x=y ,SIP/2.0/UNKNOWN d",
            "SIP/2.0/UDP e",
        ]
    );
}

#[test]
fn an_unknown_via_transport_is_parsed_and_answered_to_the_packets_source() {
    let text =
        invite_with("", "").replace("SIP/2.0/UDP pbx.example", "SIP/2.0/CARRIER pbx.example");
    assert_eq!(message(text).reply_hop(peer()).address, peer());
}

#[test]
fn an_answer_goes_to_the_source_address_whatever_via_says() {
    let via = "pbx.example:5066;branch=z9hG4bKabc;rport";
    for (other, port) in [
        ("198.51.100.9:5066;maddr=203.0.113.9;received=203.0.113.8;branch=z9hG4bKa;rport", 5070),
        ("198.51.100.9:5066;maddr=203.0.113.9;received=203.0.113.8;branch=z9hG4bKa", 5066),
        ("198.51.100.9;branch=z9hG4bKa", 5060),
    ] {
        let address = message(invite_with("", "").replace(via, other)).reply_hop(peer()).address;
        assert_eq!((address.ip(), address.port()), (peer().ip(), port));
    }
}

#[test]
fn a_reason_phrase_is_always_our_own() {
    for status in 100..700 {
        let answer = answer(invite_with("", ""), status);
        let line = answer.lines().next().expect("a status line");
        assert_eq!(line, format!("SIP/2.0 {status} {}", super::status::reason_phrase(status)));
    }
}

#[test]
fn unknown_method_501_known_but_not_allowed_405_with_allow() {
    assert_eq!(screened(request_with("NEWMETHOD", "", "")), Err(501));
    assert_eq!(screened(request_with("invite", "", "")), Err(501));
    for method in ["REGISTER", "SUBSCRIBE", "PUBLISH", "MESSAGE", "NOTIFY", "REFER"] {
        let refusal = refusal(request_with(method, "", ""));
        assert_eq!(refusal.status, 405);
        let (id, value) = refusal.header.expect("Allow");
        assert_eq!((id, &*value), (HeaderId::Allow, "INVITE, ACK, BYE, CANCEL, OPTIONS"));
    }
}

#[test]
fn unknown_require_gives_420_with_unsupported() {
    let text = request_with("OPTIONS", "Require: timer, nothing\r\nProxy-Require: more\r\n", "");
    let refusal = refusal(text);
    assert_eq!(refusal.status, 420);
    assert_eq!(refusal.header, Some((HeaderId::Unsupported, "nothing, more".to_owned())));
    assert_eq!(screened(request_with("OPTIONS", "Require: Timer\r\n", "")), Ok(()));
}

#[test]
fn max_forwards_0_gives_483() {
    let text = invite_with("", "").replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(screened(text), Err(483));
}

#[test]
fn a_request_sent_on_has_one_forward_less_and_never_more_than_ours() {
    for (received, sent) in [("255", 70), ("70", 69), ("1", 0)] {
        let text = invite_with("", "").replace("Forwards: 70", &format!("Forwards: {received}"));
        assert_eq!(next_max_forwards(&message(text)), sent);
    }
}

#[test]
fn an_unknown_scheme_gets_416() {
    let uri = "sip:+8613800000001@relay.example;user=phone SIP";
    for other in
        ["nobodyKnowsThisScheme:totallyopaquecontent SIP", "soap.beep://192.0.2.103:3002 SIP"]
    {
        assert_eq!(screened(invite_with("", "").replacen(uri, other, 1)), Err(416));
    }
}

#[test]
fn unknown_body_type_415_with_accept() {
    let with_type = |kind: &str| invite_with(&format!("Content-Type: {kind}\r\n"), "v=0\r\n");
    let refusal = refusal(with_type("application/unknownformat"));
    assert_eq!(refusal.status, 415);
    assert_eq!(refusal.header, Some((HeaderId::Accept, "application/sdp".to_owned())));
    assert_eq!(screened(with_type("Application/SDP ; charset=x")), Ok(()));
    assert_eq!(screened(with_type("application/sdp\r\nContent-Encoding: gzip")), Err(415));
    let optional = "application/x\r\nContent-Disposition: session ; handling=optional";
    assert_eq!(screened(with_type(optional)), Ok(()));
    assert_eq!(screened(invite_with("Accept: text/nobodyKnowsThis\r\n", "")), Err(406));
}

#[test]
fn bye_info_update_prack_outside_a_dialog_481() {
    let all = Capabilities {
        allow: &[Method::Bye, Method::Info, Method::Update, Method::Prack],
        ..CAPABILITIES
    };
    for method in ["BYE", "INFO", "UPDATE", "PRACK"] {
        let request = request_with(method, "", "");
        let refusal = all.screen(&message(&request)).expect_err("no dialog");
        assert_eq!(refusal.status, 481);
        let inside = request.replace("user=phone>\r\n", "user=phone>;tag=ours\r\n");
        assert_eq!(all.screen(&message(inside)), Ok(()));
    }
}

#[test]
fn an_invite_with_a_contact_that_cannot_be_called_gets_400() {
    for contact in
        ["*", "<sip:>", "sip:a@h?Route=x", "\"Joe\" <sip:joe@example.org>;;;;", "<sip:a b@h>"]
    {
        let text = invite_with("", "").replace("<sip:7@192.0.2.1:5070>", contact);
        assert_eq!(screened(text), Err(400), "{contact}");
    }
}

#[test]
fn a_refusal_is_written_with_what_it_must_say() {
    let request = message(request_with("REGISTER", "", ""));
    let refusal = CAPABILITIES.screen(&request).expect_err("not allowed");
    let answer = refusal.write(&mut new_buffer(), &request, peer(), &tag(1));
    let answer = message(answer);
    assert_eq!((answer.status(), answer.cseq()), (Some(405), 10));
    assert!(answer.header(HeaderId::Allow).is_some());
}

#[test]
fn what_we_write_reads_back_the_same() {
    use super::write::{RequestHead, RequestWriter};
    let call_id = super::tests::call_id(1);
    let head = RequestHead {
        method: Method::Invite,
        uri: b"sip:+8613800000002@carrier.example",
        sent_by: "UDP 192.0.2.9:5060",
        branch: super::tests::branch(1),
        max_forwards: 69,
        routes: &[(*b"<sip:p1;lr>").into(), (*b"<sip:p2;lr>").into()],
        from: b"<sip:95588@relay.example>;tag=x",
        to: b"<sip:+8613800000002@carrier.example>",
        call_id: call_id.as_bytes(),
        cseq: 7,
    };
    let mut out = new_buffer();
    let request = RequestWriter::start(&mut out, &head)
        .header("Contact", "<sip:192.0.2.9>")
        .body("application/sdp", b"v=0\r\n");
    let read = message(&request.bytes);
    assert_eq!(read.request_uri_text(), head.uri);
    assert_eq!(read.top_via().branch, Some(request.branch.as_bytes()));
    assert_eq!((read.from().raw, read.to().raw), (head.from, head.to));
    assert_eq!((read.call_id(), read.cseq(), read.max_forwards()), (head.call_id, 7, Some(69)));
    assert_eq!(read.values(HeaderId::Route).collect::<Vec<_>>(), [b"<sip:p1;lr>", b"<sip:p2;lr>"]);
    assert_eq!(
        (read.content_type(), read.body()),
        (Some(&b"application/sdp"[..]), &b"v=0\r\n"[..])
    );
    let next = RequestWriter::start(&mut out, &head).finish();
    assert_eq!(message(next.bytes).body(), b"");
}
