//! Caps against fraud outlive the process that has counted.

use std::time::Duration;

use maskline::app::{RootKeyFile, Running, start};
use maskline::config::PerSubject;
use maskline::domain::cause::Cause;
use tokio_util::sync::CancellationToken;

use crate::calls::Bench;
use crate::peers::Peer;
use crate::service::{settings, url};
use crate::support::database;

/// A node whose agents talk for two minutes a day.
async fn capped(owner: &str) -> Running {
    let mut config = settings(owner);
    config.sip.shards = 2;
    config.caps.minutes_per_day_max = PerSubject([None, Some(2), None, None]);
    start(config, RootKeyFile::MustExist).await.expect("started")
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_that_were_used_before_a_restart_stay_used() {
    let test = database().await;
    let owner = url(&test);
    let bench = Bench::on(test, capped(&owner).await).await;
    bench.talk("first");
    let Bench { test, running, pbx, carrier, tenant, binding } = bench;
    running.stop(Duration::ZERO, CancellationToken::new()).await;

    let running = capped(&owner).await;
    let again = |peer: Peer| peer.calls_at(running.sip);
    let (pbx, carrier) = (again(pbx), again(carrier));
    let bench = Bench { test, running, pbx, carrier, tenant, binding };
    bench.until_ready().await;
    bench.talk("second");
    bench.refused("third", "403");
    bench.refused("fourth", "403");
    let records = bench.records().await;
    let causes: Vec<_> = records.iter().map(|cdr| cdr.cause).collect();
    let (talked, refused) = (Cause::CallerHangup, Cause::MinutesCap);
    assert_eq!(causes, [talked, talked, refused, refused]);
    assert_eq!(records[2].reasons, [refused]);
}
