//! S25 on the running binary: both sides behind wires that lose a third, repeat a fifth and reorder
//! the rest.

use std::time::Duration;

use maskline::phone::{Script, Step};

use crate::service::Service;
use crate::wires::{AGENT, Quality, SUBSCRIBER, Wires, now};

const REAL: &str = "+8613800001234";

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// So many calls, one every so often: 99 of a hundred succeed, each is called once and has one
/// record.
fn calls_succeed(name: &str, calls: usize, every: Duration) {
    let service = Service::start(name);
    let binding = service.bind("E-1", REAL);
    let x = binding["virtual_number"].as_str().expect("a number").to_owned();
    let sides = [service.sides.insurer, service.sides.carrier];
    let mut wires = Wires::new(sides, service.sip, calls + 10, Quality::AWFUL);
    let answers = Script::new().after(Duration::from_millis(80)).ring().after(secs(1)).answer();
    wires.phone(SUBSCRIBER).answer_with(answers);
    for _ in 0..calls {
        let script = Script::new().then(Step::AwaitAnswer).after(secs(3)).hang_up();
        wires.phone(AGENT).dial(now(), &x, script).expect("a call more");
        wires.run_for(every);
    }
    wires.run(secs(120), Wires::are_quiet);
    let answered = |phone: usize, wires: &mut Wires| {
        wires.phone(phone).calls().filter(|call| call.answered_at.is_some()).count()
    };
    let heard = answered(AGENT, &mut wires);
    assert!(heard * 100 >= calls * 99, "{heard} of {calls} calls were answered");
    let called = wires.phone(SUBSCRIBER).calls().count();
    assert!(called <= calls, "{called} calls arrived of {calls}");
    // An attempt that is shed on a busy machine has none.
    let records = service.records(called);
    assert!(records.len() <= calls, "{} records of {calls} calls", records.len());
    let ids: std::collections::BTreeSet<_> =
        records.iter().map(|record| record["id"].to_string()).collect();
    assert_eq!(ids.len(), records.len());
    let good = records.iter().filter(|record| record["sip_status"] == 200).count();
    assert!(good <= called, "{good} records of answered calls, of which {called} arrived");
    assert!(good * 100 >= records.len() * 99, "{good} of {} records", records.len());
}

#[test]
fn calls_succeed_where_a_third_of_all_datagrams_is_lost() {
    calls_succeed("bad-network", 100, Duration::from_millis(50));
}

#[test]
#[ignore = "takes minutes; scripts/test --long runs it"]
fn two_thousand_calls_succeed_where_a_third_of_all_datagrams_is_lost() {
    calls_succeed("bad-network-long", 2_000, Duration::from_millis(50));
}
