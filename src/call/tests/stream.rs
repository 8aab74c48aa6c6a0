//! Calls over streams: what arrives by itself is not repeated, and each side is told how to reach
//! us over its own transport.

#[cfg(test)]
use super::harness::*;
use crate::call::io::{Input, Peer};
use crate::domain::cause::Cause;
use crate::domain::network;
use crate::domain::route::{Route, RouteAnswer, TrunkTarget};
use crate::sip::transport::Transport;

fn over(transport: Transport, peer: Peer) -> Peer {
    Peer { transport, ..peer }
}

/// The carriers are reached by TCP.
fn found_by_tcp() -> Option<RouteAnswer> {
    let route = route();
    let by_tcp =
        |it: &TrunkTarget| TrunkTarget { transport: network::Transport::Tcp, ..it.clone() };
    let targets = route.targets.iter().map(by_tcp).collect();
    Some(RouteAnswer::Found(Box::new(Route { targets, ..route })))
}

fn called_by_tcp() -> (Harness, Up) {
    let mut h = Harness::with(|config| {
        config.more_addresses = [(Transport::Tcp, 5062), (Transport::Tls, 5061)]
            .map(|(transport, port)| (transport, std::net::SocketAddr::new(us().ip(), port)))
            .into();
    });
    h.store = found_by_tcp;
    let caller = Caller { peer: over(Transport::Tls, pbx()), ..Caller::agent() };
    h.from(caller.peer, caller.invite());
    let invite = h.take_one(carrier());
    (h, Up { caller, invite })
}

#[test]
fn each_side_is_told_our_address_of_its_own_transport() {
    let (mut h, mut up) = called_by_tcp();
    assert!(header(&up.invite, "Via").starts_with("SIP/2.0/TCP 203.0.113.5:5062;"));
    assert_eq!(header(&up.invite, "Contact"), "<sip:203.0.113.5:5062;transport=tcp>");
    assert!(up.invite.starts_with(&format!("INVITE sip:{BOB}@198.51.100.1:5060;transport=tcp ")));
    h.from(over(Transport::Tcp, carrier()), up.reply("200 OK"));
    let answer = h.take_one(pbx());
    assert_eq!(header(&answer, "Contact"), "<sip:203.0.113.5:5061;transport=tls>");
    assert!(header(&h.take_one(carrier()), "Via").starts_with("SIP/2.0/TCP "));
    up.caller.learn(&answer);
    h.from(up.caller.peer, up.caller.ack());
    h.from(over(Transport::Tcp, carrier()), up.callee_bye());
    let bye = h.take_one(pbx());
    assert!(header(&bye, "Via").starts_with("SIP/2.0/TLS 203.0.113.5:5061;"), "{bye}");
    h.from(up.caller.peer, reply(&bye, "200 OK", "", ""));
    h.check_nothing_is_left();
}

#[test]
fn a_request_over_a_stream_is_sent_once_and_silence_still_fails_over() {
    let (mut h, _) = called_by_tcp();
    h.advance(ms(1_900));
    assert!(h.lines(carrier()).is_empty(), "an INVITE over TCP is never repeated");
    h.advance(ms(200));
    assert_eq!(h.lines(second_carrier()), ["INVITE"]);
    h.advance(ms(60_000));
    assert!(h.lines(second_carrier()).iter().all(|line| line != "INVITE"));
    h.check_nothing_is_left();
}

#[test]
fn a_lost_connection_fails_over_at_once_and_one_of_another_transport_does_not() {
    let (mut h, _) = called_by_tcp();
    h.input(Input::Unreachable { peer: carrier().hop() });
    assert!(h.lines(second_carrier()).is_empty(), "ICMP about UDP says nothing about TCP");
    h.input(Input::Unreachable { peer: over(Transport::Tcp, carrier()).hop() });
    assert_eq!(h.lines(second_carrier()), ["INVITE"]);
}

#[test]
fn a_refusal_over_a_stream_is_sent_once_and_a_2xx_until_its_ack() {
    let (mut h, up) = called_by_tcp();
    h.from(over(Transport::Tcp, carrier()), up.reply("486 Busy Here"));
    assert_eq!(h.lines(pbx()), ["486 INVITE"]);
    h.advance(ms(31_000));
    assert!(h.lines(pbx()).is_empty(), "a refusal over TLS is never repeated");
    assert_eq!(h.cdr().cause, Cause::Busy);

    let (mut h, up) = called_by_tcp();
    h.from(over(Transport::Tcp, carrier()), up.reply("200 OK"));
    h.advance(ms(1_600));
    assert_eq!(h.lines(pbx()), ["200 INVITE"; 3], "at 0, 500 and 1500 ms");
}

#[test]
fn without_rport_too_an_answer_goes_back_on_its_connection() {
    let (mut h, up) = called_by_tcp();
    let options = up.caller.request("OPTIONS", "o1", 1).replace(";rport", "");
    let source =
        Peer { address: "192.0.2.10:40001".parse().expect("an address"), ..up.caller.peer };
    h.from(source, options);
    assert_eq!(h.lines(source), ["200 OPTIONS"]);
}
