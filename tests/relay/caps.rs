//! Caps against fraud outlive the process that has counted.

use std::time::Duration;

use maskline::app::{RootKeyFile, Running, start};
use maskline::config::PerSubject;
use maskline::domain::cause::Cause;
use maskline::vault::RootKey;
use tokio_util::sync::CancellationToken;

use crate::calls::Bench;
use crate::peers::Peer;
use crate::service::{settings, url};
use crate::support::database;

/// A node whose agents talk for two minutes a day.
async fn capped(owner: &str, root_key: &std::path::Path) -> Running {
    let mut config = settings(owner);
    config.keys.root_file = root_key.to_owned();
    config.sip.shards = 2;
    config.caps.minutes_per_day_max = PerSubject([None, Some(2), None, None]);
    start(config, RootKeyFile::MustExist).await.expect("started")
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_that_were_used_before_a_restart_stay_used() {
    let root_key = std::env::temp_dir().join(format!("maskline-caps-{}.key", std::process::id()));
    RootKey::create(&root_key).expect("a root key");
    let test = database().await;
    let owner = url(&test);
    let bench = Bench::on(test, capped(&owner, &root_key).await).await;
    bench.talk("first");
    let Bench { test, running, pbx, carrier, tenant, binding } = bench;
    running.stop(Duration::ZERO, CancellationToken::new()).await;

    let running = capped(&owner, &root_key).await;
    let again = |peer: Peer| peer.calls_at(running.sip);
    let (pbx, carrier) = (again(pbx), again(carrier));
    let bench = Bench { test, running, pbx, carrier, tenant, binding };
    bench.until_ready().await;
    bench.talk("second");
    bench.refused("third", "403");
    bench.refused("fourth", "403");
    std::fs::remove_file(&root_key).expect("removed");
    let records = bench.records().await;
    let causes: Vec<_> = records.iter().map(|cdr| cdr.cause).collect();
    let (talked, refused) = (Cause::CallerHangup, Cause::MinutesCap);
    assert_eq!(causes, [talked, talked, refused, refused]);
    assert_eq!(records[2].reasons, [refused]);
}
