//! Our registration at a carrier, from the settings to the end of the process.

use std::time::Duration;

use maskline::domain::id::TrunkId;
use maskline::store::trunk_access::TrunkAccount;
use tokio_util::sync::CancellationToken;

use crate::calls::Bench;
use crate::peers::header;
use crate::service::page;
use crate::support::noon;

#[tokio::test(flavor = "multi_thread")]
async fn a_service_registers_once_and_takes_that_back_before_it_stops() {
    let bench = Bench::new().await;
    let user = "relay-1".to_owned();
    let account = TrunkAccount { user, refuses_md5: false, register_s: Some(600) };
    let store = &bench.running.store;
    let trunk = TrunkId::new(2, 0);
    let is_set = store.set_trunk_account(trunk, &account, "between us", noon()).await;
    assert!(is_set.expect("the store is there"));
    bench.running.relay.trunks_changed();
    let request = bench.carrier.expect("REGISTER");
    bench.carrier.answer(&request, "200 OK", "");
    let gauge = format!("maskline_trunk_registered{{trunk=\"{trunk}\"}} 1");
    let shown = async {
        while !page(&bench.running, "/metrics").await.1.contains(&gauge) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), shown).await.expect("the gauge");
    bench.running.relay.trunks_changed();
    bench.carrier.expect_silence();

    let Bench { running, carrier, test, .. } = bench;
    let stopping = tokio::spawn(running.stop(Duration::ZERO, CancellationToken::new()));
    let back = carrier.expect("REGISTER");
    assert_eq!(header(&back, "Expires"), "0");
    assert_eq!(header(&back, "Call-ID"), header(&request, "Call-ID"));
    assert!(!stopping.is_finished(), "the carrier may still ask for a proof");
    carrier.answer(&back, "200 OK", "");
    tokio::time::timeout(Duration::from_secs(20), stopping).await.expect("soon").expect("stopped");
    drop(test);
}
