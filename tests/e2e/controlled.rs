//! RFC 7339 by the shipped program, both ways: what a trunk asks of it by Via, and what it says of
//! its own load.

use std::net::SocketAddr;

use crate::crowd::metric;
use crate::peer::Peer;
use crate::peers::{INSURER, until};
use crate::service::Service;

const REAL: &str = "+8613800001234";
/// In each request to a trunk: it may ask us to send less.
const ASKS: &str = ";oc;oc-algo=\"loss\"";

#[test]
fn a_carrier_is_spared_while_it_asks_for_that_and_a_pbx_is_told_of_our_load() {
    // Each thread hears what trunks ask by the answers to its own calls.
    let service = Service::start_with("controlled", "shards = 1\n");
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number");
    let relay = service.sip;
    let carrier = Peer::new(service.sides.carrier);
    let pbx = Peer::new(SocketAddr::new(INSURER.parse().expect("an address"), 0));

    // A call that is up while all this happens.
    pbx.invite(x, relay);
    carrier.answer(relay);
    let (_, mut up) = pbx.is_confirmed(relay);

    // The carrier wants no new calls for a minute; the PBX, which asks, hears that we want all.
    let invite = pbx.write_invite("4821", x, "", &pbx.sdp(), relay);
    pbx.send(&invite.replacen(";rport", &format!("{ASKS};rport"), 1), relay);
    let invite = carrier.expect("INVITE ");
    assert!(invite.contains(ASKS), "{invite}");
    let nothing = ";oc=100;oc-algo=\"loss\";oc-validity=60000;oc-seq=1.0";
    carrier.respond(&invite.replacen(ASKS, nothing, 1), "486 Busy Here", "", "", relay);
    let busy = pbx.expect("SIP/2.0 486 ");
    assert!(busy.contains(";oc=0;") && busy.contains(";oc-validity=0;"), "{busy}");
    pbx.acknowledge(&busy, relay);

    // There is no other carrier.
    pbx.invite(x, relay);
    let refusal = pbx.expect_among(&["SIP/2.0 5", "SIP/2.0 4", "SIP/2.0 18"]);
    assert!(refusal.starts_with("SIP/2.0 503 "), "{refusal}");
    assert!(refusal.contains("\r\nRetry-After: "), "{refusal}");
    pbx.acknowledge(&refusal, relay);
    let spared = || metric(&service, "maskline_trunk_spared_total");
    until("the count", || (spared() > 0.0).then_some(()));
    assert!(spared() <= 1.0, "one call, one target");

    // What belongs to a call is sent all the same; the answer to it takes the plea back.
    pbx.request(&mut up, "BYE", "", "", relay);
    let bye = carrier.expect("BYE ");
    let all = ";oc=0;oc-algo=\"loss\";oc-validity=0;oc-seq=2.0";
    carrier.respond(&bye.replacen(ASKS, all, 1), "200 OK", "", "", relay);
    pbx.expect("SIP/2.0 200 ");
    pbx.invite(x, relay);
    carrier.answer(relay);
    pbx.is_answered(relay);
}
