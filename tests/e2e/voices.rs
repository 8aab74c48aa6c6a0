//! Two baresip softphones, a tone in each direction, found at the other end by its frequency.

use maskline::cli::demo::leak::Canary;

use crate::peers::Softphone;
use crate::service::Service;
use crate::sound;

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
