//! Readiness follows what a new call needs.

use std::time::Duration;

use maskline::app::{RootKeyFile, start};
use maskline::config::PortRange;

use crate::calls::Bench;
use crate::service::{page, settings, url};
use crate::support::database;

async fn until_ready_says(bench: &Bench, status: u16, word: &str) {
    let said = async {
        loop {
            let (now, text) = page(&bench.running, "/readyz").await;
            if now == status && text.contains(word) {
                return;
            }
        }
    };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, said).await.unwrap_or_else(|_| panic!("never {status} {word}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_ports_are_taken_is_not_ready_until_they_are_free_again() {
    let test = database().await;
    let mut config = settings(&url(&test));
    // Room for two calls. The range of all other tests begins above.
    config.media.ports = PortRange { first: 19_000, last: 19_007 };
    config.media.port_quarantine = Duration::ZERO;
    let running = start(config, RootKeyFile::MustExist).await.expect("started");
    let bench = Bench::on(test, running).await;
    until_ready_says(&bench, 200, "true").await;

    let invites = ["one", "two"].map(|call| bench.ringing(call));
    until_ready_says(&bench, 503, "media_ports").await;
    for invite in &invites {
        bench.carrier.answer(invite, "486 Busy Here", "");
        bench.pbx.expect("SIP/2.0 486");
    }
    until_ready_says(&bench, 200, "true").await;
}
