//! The control API over TLS: who gets in with which certificate, keys that want one, and a new
//! certificate of ours without a restart.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use maskline::api::bootstrap::issue_first_key;
use maskline::app::{RootKeyFile, Running, StartError, start};
use maskline::config::Config;
use reqwest::{Certificate, Client, Identity, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::certificates;
use crate::service::{settings, url};
use crate::support::{TestDatabase, database};

fn pem(file: &str) -> Vec<u8> {
    fs::read(certificates::folder().join(file)).expect("a file of the tests")
}

fn path(file: &str) -> Option<PathBuf> {
    Some(certificates::folder().join(file))
}

/// Who knows our root, and shows this certificate.
fn client(certificate: Option<&str>) -> Client {
    let root = Certificate::from_pem(&pem("root.pem")).expect("a root");
    let mut builder = Client::builder().tls_certs_only([root]);
    if let Some(name) = certificate {
        let both = [pem(&format!("{name}.pem")), pem(&format!("{name}.key"))].concat();
        builder = builder.identity(Identity::from_pem(&both).expect("a certificate and its key"));
    }
    builder.build().expect("a client")
}

fn fingerprint(file: &str) -> String {
    let certificate = CertificateDer::from_pem_slice(&pem(file)).expect("a certificate");
    let hash = digest(&SHA256, &certificate);
    hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

struct Api {
    _test: TestDatabase,
    running: Running,
    operator: String,
}

impl Api {
    async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let test = database().await;
        let mut config = settings(&url(&test));
        (config.api.tls_certificate, config.api.tls_key) = (path("relay.pem"), path("relay.key"));
        change(&mut config);
        let running = start(config, RootKeyFile::MustExist).await.expect("started");
        let operator = issue_first_key(&running.store, maskline::relay::now::now()).await;
        let operator = operator.expect("stored").expect("the first").expose().to_owned();
        Self { _test: test, running, operator }
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.running.api)
    }

    async fn ask(&self, client: &Client, key: &str) -> reqwest::Result<Response> {
        client.get(self.url("/v1/tenants")).bearer_auth(key).send().await
    }

    async fn status(&self, client: &Client, key: &str) -> u16 {
        self.ask(client, key).await.expect("an answer").status().as_u16()
    }

    async fn issue(&self, body: &Value) -> Response {
        let url = self.url("/v1/api-keys");
        let request = client(None).post(url).bearer_auth(&self.operator).json(body);
        request.send().await.expect("an answer")
    }
}

fn with_clients(config: &mut Config) {
    config.api.tls_client_ca = path("root.pem");
}

#[tokio::test]
async fn a_key_that_wants_a_certificate_does_nothing_without_it() {
    let api = Api::new(with_clients).await;
    let mut wanted = json!({"name": "CRM", "role": "operator"});
    wanted["client_certificate_sha256"] = json!(fingerprint("pbx.pem"));
    let issued: Value = api.issue(&wanted).await.json().await.expect("a body");
    let plain = fingerprint("pbx.pem").replace(':', "").to_lowercase();
    assert_eq!(issued["client_certificate_sha256"], json!(plain));
    let bound = issued["key"].as_str().expect("a key");
    let free = &api.operator;
    // `relay` chains to the same root.
    for (certificate, with_bound, with_free) in
        [(Some("pbx"), 200, 200), (Some("relay"), 401, 200), (None, 401, 200)]
    {
        let client = client(certificate);
        let statuses = (api.status(&client, bound).await, api.status(&client, free).await);
        assert_eq!(statuses, (with_bound, with_free), "{certificate:?}");
    }
    // Of another root, for another purpose, and over: no connection is made.
    for certificate in ["impostor", "signer", "ended"] {
        assert!(api.ask(&client(Some(certificate)), free).await.is_err(), "{certificate}");
    }
    let roll = api.url(&format!("/v1/api-keys/{}/roll", issued["id"].as_str().expect("an id")));
    let rolled = client(None).post(roll).bearer_auth(free).send().await.expect("an answer");
    let rolled: Value = rolled.json().await.expect("a body");
    assert_eq!(rolled["client_certificate_sha256"], json!(plain));
    let bound = rolled["key"].as_str().expect("a key");
    assert_eq!(api.status(&client(None), bound).await, 401, "it is not free of it once rolled");
    assert_eq!(api.status(&client(Some("pbx")), bound).await, 200);
    wanted["client_certificate_sha256"] = json!("00");
    let refused: Value = api.issue(&wanted).await.json().await.expect("a body");
    assert_eq!(refused["errors"][0]["pointer"], "/client_certificate_sha256");
}

#[tokio::test]
async fn where_certificates_are_required_nobody_comes_in_without_one_nor_without_tls() {
    let api = Api::new(|config| {
        with_clients(config);
        config.api.tls_client_required = true;
    })
    .await;
    assert!(api.ask(&client(None), &api.operator).await.is_err());
    assert_eq!(api.status(&client(Some("pbx")), &api.operator).await, 200);
    let plain = format!("http://{}/openapi.json", api.running.api);
    assert!(reqwest::get(plain).await.is_err());
    let stranger = Client::builder().tls_certs_only([]).build().expect("a client");
    assert!(api.ask(&stranger, &api.operator).await.is_err(), "it does not know our root");
}

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let folder = std::env::temp_dir().join(format!("maskline-https-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let [certificate, key] = ["api.pem", "api.key"].map(|name| folder.join(name));
    // Each change has a time of its own, however soon it comes after the last one.
    let changes = Cell::new(1);
    let write = |file: &Path, bytes: &[u8]| {
        fs::write(file, bytes).expect("written");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(changes.replace(changes.get() + 1));
        File::options().write(true).open(file).and_then(|it| it.set_modified(at)).expect("set");
    };
    let put = |name: &str| {
        write(&key, &pem(&format!("{name}.key")));
        write(&certificate, &pem(&format!("{name}.pem")));
    };
    put("relay");
    let files = (Some(certificate.clone()), Some(key.clone()));
    let api = Api::new(|config| (config.api.tls_certificate, config.api.tls_key) = files).await;
    assert_eq!(api.status(&client(None), &api.operator).await, 200);
    write(&certificate, b"none");
    assert_eq!(api.status(&client(None), &api.operator).await, 200);
    // It is not for 127.0.0.1.
    put("pbx");
    assert!(api.ask(&client(None), &api.operator).await.is_err());
    put("relay");
    assert_eq!(api.status(&client(None), &api.operator).await, 200);
    fs::remove_dir_all(folder).expect("removed");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_their_keys() {
    let test = database().await;
    let mut config = settings(&url(&test));
    (config.api.tls_certificate, config.api.tls_key) = (path("relay.pem"), path("pbx.key"));
    let error = start(config, RootKeyFile::MustExist).await.expect_err("another's key");
    assert!(matches!(error, StartError::Https(_)), "{error}");
    assert!(error.to_string().starts_with("HTTPS cannot be served (api.tls_certificate,"));
}
