//! The whole service comes up, says how it is, and goes down.

use std::path::PathBuf;
use std::time::Duration;

use maskline::app::{RootKeyFile, Running, start};
use maskline::config::{Config, Listeners, Secret};
use maskline::domain::ring::RingTone;
use maskline::domain::whisper::WhisperPolicy;
use tokio_util::sync::CancellationToken;

use crate::support::{database, root_key};

fn any_port(address: &str) -> std::net::SocketAddr {
    format!("{address}:0").parse().expect("an address")
}

/// A service on free ports and a fresh database.
pub(crate) async fn service(owner: &str) -> Running {
    start(settings(owner), RootKeyFile::MustExist).await.expect("started")
}

pub(crate) fn settings(owner: &str) -> Config {
    let mut config = Config::default();
    config.whisper.mode = WhisperPolicy::Off;
    config.media.announce_refusals = false;
    config.media.ring = RingTone::Phone;
    config.database.url = Some(Secret::new(owner));
    config.keys.root_file = root_key();
    config.api.listen = any_port("127.0.0.1");
    config.admin.listen = any_port("127.0.0.1");
    config.sip.listen = Listeners::udp(any_port("127.0.0.1"));
    // The peers of these tests are asked nothing but what a test is about.
    config.sip.probe_interval = Duration::ZERO;
    config.media.bind = [127, 0, 0, 1].into();
    config.media.threads = 1;
    config
}

/// The database of a test as a URL: the cluster has a socket and no port.
pub(crate) fn url(test: &crate::support::TestDatabase) -> String {
    let owner = test.owner();
    let socket = owner.get_socket().expect("a socket").display().to_string();
    let socket = socket.replace('/', "%2F");
    let database = owner.get_database().expect("a database");
    format!("postgres://maskline_owner@{socket}/{database}")
}

pub(crate) async fn page(running: &Running, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("http://{}{path}", running.admin)).await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

#[tokio::test]
async fn a_service_without_a_carrier_is_healthy_but_not_ready_and_stops_when_told() {
    let test = database().await;
    let running = service(&url(&test)).await;
    assert_eq!(page(&running, "/healthz").await.0, 200);
    let (status, text) = page(&running, "/readyz").await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("carrier_trunk"), "{text}");
    let (_, metrics) = page(&running, "/metrics").await;
    assert!(metrics.contains("maskline_build_info"), "{metrics}");
    let settings = Config::default().dump();
    let told = settings.split_once("[admin]\n").expect("the section").1.lines().next();
    let told: Vec<&str> =
        told.expect("a key").split([' ', ';']).filter(|word| word.starts_with('/')).collect();
    assert!(told.contains(&"/debug/config"), "{told:?}");
    for path in told {
        assert_ne!(page(&running, path).await.0, 404, "{path}");
    }
    let stopped = running.stop(Duration::ZERO, CancellationToken::new());
    tokio::time::timeout(Duration::from_secs(20), stopped).await.expect("stopped in time");
}

#[tokio::test]
async fn a_taken_address_is_named_with_its_key() {
    let test = database().await;
    let taken = std::net::TcpListener::bind(any_port("127.0.0.1")).expect("a free port");
    let mut config = Config::default();
    config.whisper.mode = WhisperPolicy::Off;
    config.database.url = Some(Secret::new(url(&test)));
    config.sip.probe_interval = Duration::ZERO;
    config.sip.listen = Listeners::udp(any_port("127.0.0.1"));
    config.media.bind = [127, 0, 0, 1].into();
    config.admin.listen = taken.local_addr().expect("bound");
    let error = start(config, RootKeyFile::Ephemeral).await.expect_err("the port is taken");
    assert!(error.to_string().starts_with("admin.listen: cannot listen on"), "{error}");
}

#[tokio::test]
async fn a_database_that_is_away_is_named_by_key_and_place_without_its_password() {
    // Bound and not listening: whoever connects there is refused, and nobody else can take it.
    let away = tokio::net::TcpSocket::new_v4().expect("a socket");
    away.bind(any_port("127.0.0.1")).expect("a free port");
    let place = away.local_addr().expect("bound");
    let config = settings(&format!("postgres://owner:hunter2@{place}/maskline?application_name=x"));
    let error = start(config, RootKeyFile::Ephemeral).await.expect_err("nobody is there");
    let wanted = format!("database.url ({place}): the database is unavailable: connection refused");
    assert_eq!(error.to_string(), wanted);
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_service_with_another_root_key_does_not_start() {
    let test = database().await;
    let error = start(settings(&url(&test)), RootKeyFile::Ephemeral).await.expect_err("split");
    let told = error.to_string();
    assert_eq!(told, "this database belongs to another root key (keys.root_file)");
}

#[tokio::test]
async fn without_a_root_key_the_way_to_make_one_is_named() {
    let mut config = Config::default();
    config.whisper.mode = WhisperPolicy::Off;
    config.keys.root_file = PathBuf::from("/nowhere/root.key");
    let error = start(config, RootKeyFile::MustExist).await.expect_err("no key");
    assert_eq!(error.to_string().matches("maskline key init").count(), 1, "{error}");
}
