//! The stream of live calls, of the running service, while calls go through it.

use std::time::Duration;

use maskline::api::bootstrap::issue_platform_key;
use maskline::api::roles::Role;
use maskline::domain::id::TenantId;
use maskline::relay::now::now;
use maskline::store::tenant::NewTenant;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::calls::{Bench, X};
use crate::support::noon;

/// One reader of a stream.
struct Reader {
    response: reqwest::Response,
    text: String,
}

impl Reader {
    async fn new(bench: &Bench, key: &str, tenant: TenantId) -> Self {
        let url = format!("http://{}/v1/calls/events?tenant_id={tenant}", bench.running.api);
        let request = reqwest::Client::new().get(url).bearer_auth(key);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 200);
        Self { response, text: String::new() }
    }

    /// The name and the data of the next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let lines = event.split_once('\n').map(|(name, data)| {
                    (name.strip_prefix("event: "), data.strip_prefix("data: "))
                });
                // A comment has one line.
                let Some((Some(name), Some(data))) = lines else { continue };
                return Some((name.to_owned(), serde_json::from_str(data).expect("JSON")));
            }
            let piece = self.response.chunk().await.ok().flatten()?;
            self.text.push_str(std::str::from_utf8(&piece).expect("text"));
            assert!(!self.text.contains("1380000"), "a real number was told");
        }
    }

    async fn status(&mut self) -> String {
        let (name, call) = self.next().await.expect("an event");
        assert_eq!((name.as_str(), call["virtual_number"].as_str()), ("call", Some(X)));
        call["status"].as_str().expect("a status").to_owned()
    }
}

async fn operator(bench: &Bench) -> String {
    let key = issue_platform_key(&bench.running.store, Role::Operator, "operator", now()).await;
    key.expect("a key").expose().to_owned()
}

async fn other_tenant(bench: &Bench) -> TenantId {
    let id = TenantId::new(2, 2);
    let new = NewTenant {
        id,
        name: "Second Insurance".to_owned(),
        is_test: false,
        accept_real_numbers: true,
        desk_user: None,
        language: "en",
        time_zone: "Asia/Shanghai".to_owned(),
        country_code: "86".to_owned(),
    };
    let store = &bench.running.store;
    let mut platform = store.platform().await.expect("a transaction");
    platform.insert_tenant(store.vault(), new, noon()).await.expect("a tenant");
    platform.commit().await.expect("committed");
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_the_calls_of_its_tenant_go_by_and_no_others() {
    let bench = Bench::new().await;
    let key = operator(&bench).await;
    let other = other_tenant(&bench).await;
    let mut ours = Reader::new(&bench, &key, bench.tenant).await;
    let mut theirs = Reader::new(&bench, &key, other).await;
    for reader in [&mut ours, &mut theirs] {
        let (name, all) = reader.next().await.expect("an event");
        assert_eq!((name.as_str(), &all["data"]), ("snapshot", &serde_json::json!([])));
    }
    bench.talk("watched");
    let mut seen = vec![ours.status().await];
    while seen.last().is_some_and(|status| status != "ended") {
        seen.push(ours.status().await);
    }
    seen.dedup();
    assert_eq!(seen, ["calling", "ringing", "answered", "ended"]);

    // Whoever comes later sees what is up first.
    bench.ringing("later");
    assert_eq!(ours.status().await, "calling");
    assert_eq!(ours.status().await, "ringing");
    let (_, all) = Reader::new(&bench, &key, bench.tenant).await.next().await.expect("an event");
    let up: Vec<_> = all["data"].as_array().expect("calls").iter().collect();
    assert!(matches!(up.as_slice(), [call] if call["status"] == "ringing"), "{up:?}");

    // Streams do not hold the service up, and a stranger's was told nothing to the end.
    let stopped = bench.running.stop(Duration::ZERO, CancellationToken::new());
    tokio::time::timeout(Duration::from_secs(20), stopped).await.expect("stopped in time");
    assert_eq!(theirs.next().await, None);
}
