//! Two baresip softphones, a tone in each direction, found at the other end by its frequency.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use maskline::cli::demo::leak::Canary;

use crate::peers::{CARRIER, INSURER, Softphone, free_port};
use crate::service::Service;
use crate::sound;
use crate::tap::{Packet, Tap};

const AGENT_HZ: u32 = 440;
const SUBSCRIBER_HZ: u32 = 880;
const RING_HZ: u32 = 450;

#[test]
fn each_side_hears_the_tone_of_the_other() {
    let service = Service::start("voices");
    let binding = service.bind("E-1", "+8613800001234");
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let (insurer, carrier) = (service.sides.insurer, service.sides.carrier);
    let subscriber = Softphone::start(
        &service.folder,
        "+8613800001234",
        carrier.ip(),
        carrier.port(),
        SUBSCRIBER_HZ,
        None,
    );
    let to = format!("sip:{x}@{}", service.sip);
    let mut agent = Softphone::start(
        &service.folder,
        "4821",
        insurer.ip(),
        insurer.port(),
        AGENT_HZ,
        Some(&to),
    );
    agent.process.await_words("Call established");
    agent.process.wait();
    let record = &service.records(1)[0];
    assert_eq!(record["cause"], "caller_hangup", "{record}");
    let (at_agent, at_subscriber) = (agent.heard(), subscriber.heard());
    for (heard, theirs, own) in
        [(&at_agent, SUBSCRIBER_HZ, AGENT_HZ), (&at_subscriber, AGENT_HZ, SUBSCRIBER_HZ)]
    {
        let (theirs, own) = (sound::best_share(heard, theirs), sound::best_share(heard, own));
        assert!(
            theirs > 0.9 && own < 0.1,
            "heard {theirs:.2} of the far tone, {own:.2} of its own"
        );
    }
    let real = Canary::new("86", "13800001234");
    assert_ne!(subscriber.search(&real), [], "the scan sees nothing");
    assert_eq!(agent.search(&real), [], "the agent's phone saw the real number");
}

#[test]
fn the_agent_hears_our_ring_tone_while_the_subscriber_is_told_who_calls() {
    let service = Service::start_whispering("ringing");
    let binding = service.bind("E-1", "+8613800001234");
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let (insurer, carrier) = (service.sides.insurer, service.sides.carrier);
    let real = "+8613800001234";
    let (ip, port) = (carrier.ip(), carrier.port());
    let subscriber = Softphone::start(&service.folder, real, ip, port, SUBSCRIBER_HZ, None);
    let to = format!("sip:{x}@{}", service.sip);
    let (ip, port) = (insurer.ip(), insurer.port());
    let mut agent = Softphone::start(&service.folder, "4821", ip, port, AGENT_HZ, Some(&to));
    agent.process.wait();
    let record = &service.records(1)[0];
    assert_eq!(record["cause"], "caller_cancelled", "{record}");
    let (at_agent, at_subscriber) = (agent.heard(), subscriber.heard());
    let rung = sound::best_share_of(&at_agent, RING_HZ, 4);
    let leaked = sound::best_share_of(&at_agent, SUBSCRIBER_HZ, 4);
    assert!(rung > 0.9 && leaked < 0.1, "heard {rung:.2} of ringing, {leaked:.2} of the far tone");
    // Not even under what is said to it.
    let far = sound::best_share_of(&at_subscriber, AGENT_HZ, 2);
    assert!(!at_subscriber.is_empty() && far < 0.2, "the sides are not joined: {far:.2}");
    let real = Canary::new("86", "13800001234");
    assert_eq!(agent.search(&real), [], "the agent's phone saw the real number");
}

/// Long enough for reports, which come every five seconds.
const REPORTED_SECONDS: u32 = 12;

#[test]
fn no_packet_of_media_to_the_agent_tells_who_the_subscriber_is() {
    let service = Service::start("media-leaks");
    let binding = service.bind("E-1", "+8613800001234");
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let place = |ip: &str| SocketAddr::new(ip.parse().expect("an address"), free_port(ip));
    let [phone, agent_tap, agent] = [CARRIER, INSURER, INSURER].map(place);
    let near_subscriber = Tap::start(service.sides.carrier, service.sip, Some(phone));
    let near_agent = Tap::start(agent_tap, service.sip, None);
    let real = "+8613800001234";
    let (ip, port) = (phone.ip(), phone.port());
    let _subscriber = Softphone::start(&service.folder, real, ip, port, SUBSCRIBER_HZ, None);
    let to = format!("sip:{x}@{}", near_agent.address);
    let to = Some((to.as_str(), REPORTED_SECONDS));
    let at = (agent.ip(), agent.port());
    let mut agent = Softphone::start_for(&service.folder, "4821", at, AGENT_HZ, to);
    agent.process.await_words("Call established");
    agent.process.wait();

    let (told, said) = (near_agent.stop(), near_subscriber.stop());
    let told: Vec<_> = told.into_iter().filter(|packet| packet.is_to_phone).collect();
    let said: Vec<_> = said.into_iter().filter(|packet| !packet.is_to_phone).collect();
    let sources = |packets: &[Packet]| packets.iter().filter_map(Packet::ssrc).collect();
    let (ours, theirs): (BTreeSet<_>, BTreeSet<_>) = (sources(&told), sources(&said));
    assert!(!ours.is_empty() && !theirs.is_empty(), "no media went by");
    assert!(ours.is_disjoint(&theirs), "the agent sees the source of the subscriber's phone");
    let name = said.iter().find_map(Packet::cname).expect("a report of the subscriber's phone");
    let our_name = told.iter().find_map(Packet::cname).expect("a report to the agent");
    assert_ne!(name, our_name);
    let all = |packets: &[Packet]| packets.iter().flat_map(|it| it.bytes.clone()).collect();
    let (told_bytes, said): (Vec<u8>, Vec<u8>) = (all(&told), all(&said));
    assert_eq!(memchr::memmem::find(&told_bytes, name), None, "the subscriber's name goes on");
    let real = Canary::new("86", "13800001234");
    assert_ne!(real.search("media of the subscriber", &said), [], "the scan sees nothing");
    for packet in &told {
        assert_eq!(real.search("media to the agent", &packet.bytes), []);
    }
}
