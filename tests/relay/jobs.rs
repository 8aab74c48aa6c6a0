//! What the service does by itself, without a call or a request.

use std::time::Duration;

use crate::calls::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_gives_events_their_place_in_the_sequence() {
    // The bench has made a binding; its event came without a place.
    let bench = Bench::new().await;
    let placed = async {
        loop {
            let mut tx = bench.running.store.tenant(bench.tenant).await.expect("a transaction");
            if let [event] = tx.list_events(0, &[], 200).await.expect("events").as_slice() {
                return (event.kind.clone(), event.sequence);
            }
        }
    };
    let placed = tokio::time::timeout(Duration::from_secs(20), placed).await;
    assert_eq!(placed.expect("in time"), ("binding.created".to_owned(), 1));
}
