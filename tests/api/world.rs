//! A platform with one tenant, and a client that looks for real numbers in everything it gets back.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use maskline::api::bootstrap::issue_platform_key;
use maskline::api::openapi::DOCUMENT_PATH;
use maskline::api::roles::Role;
use maskline::api::{Api, router};
use maskline::domain::now::Now;
use maskline::domain::webhook::Reach;
use maskline::relay::handle::Handle;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{self, TestDatabase, noon};

/// Every real number of these tests begins so; nothing that comes out may hold it.
pub(crate) const CANARY: &str = "1380000";

/// So that nobody waits for a silent stream.
const HEARTBEAT: Duration = Duration::from_millis(5);

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    /// The same as it came.
    pub(crate) text: String,
}

impl Answer {
    /// The code of a problem, or nothing.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The first place a problem names, with its rule.
    pub(crate) fn place(&self) -> (&str, &str) {
        let error = &self.body["errors"][0];
        (error["pointer"].as_str().unwrap_or_default(), error["code"].as_str().unwrap_or_default())
    }

    pub(crate) fn id(&self) -> String {
        assert!(self.status.is_success(), "{self:?}");
        self.body["id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Asserts the status and gives the answer back.
    #[track_caller]
    pub(crate) fn gave(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{:#}", self.body);
        self
    }

    /// Asserts a problem and gives the answer back.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Self {
        let answer = self.gave(status);
        assert_eq!(answer.code(), code, "{:#}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.body["status"], status);
        assert_eq!(answer.body["request_id"], answer.header("x-request-id"));
        answer
    }
}

/// One client with one key.
#[derive(Clone)]
pub(crate) struct Client {
    app: Router,
    key: String,
}

impl Client {
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { app: self.app.clone(), key: key.to_owned() }
    }

    /// With the same key at another process on the same database.
    pub(crate) fn at(&self, app: Router) -> Self {
        Self { app, key: self.key.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).body(Body::empty()).expect("a request")).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path).body(Body::empty()).expect("a request")).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.json("POST", path, body, &[]).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.json("PATCH", path, body, &[]).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.json("PUT", path, body, &[]).await
    }

    pub(crate) async fn json(
        &self,
        method: &str,
        path: &str,
        body: Value,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        self.raw(method, path, body.to_string(), &headers).await
    }

    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Body>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).expect("a request")).await
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        let request = Request::builder().method(method).uri(path);
        if self.key.is_empty() {
            return request;
        }
        request.header("authorization", format!("Bearer {}", self.key))
    }

    /// The answer as it begins, with a body that is still to be read.
    pub(crate) async fn open(&self, path: &str) -> Response {
        let request = self.request("GET", path).body(Body::empty()).expect("a request");
        self.app.clone().oneshot(request).await.expect("an answer")
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        // Its examples show how a real number is written.
        let has_examples = request.uri().path() == DOCUMENT_PATH;
        let response = self.app.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 24).await.expect("a body");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let headers = format!("{:?}", parts.headers);
        let leaks = text.contains(CANARY) && !has_examples || headers.contains(CANARY);
        assert!(!leaks, "a real number came out");
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body, text }
    }
}

/// A platform with a tenant, trunks, an agent, a pool and some numbers.
pub(crate) struct World {
    pub(crate) db: TestDatabase,
    pub(crate) relay: Handle,
    pub(crate) operator: Client,
    pub(crate) admin: Client,
    pub(crate) tenant: String,
    pub(crate) pool: String,
}

impl World {
    /// An empty platform with an operator, whose clock stands still.
    pub(crate) async fn empty() -> (TestDatabase, Handle, Client) {
        Self::empty_reaching(Reach::default()).await
    }

    async fn empty_reaching(reach: Reach) -> (TestDatabase, Handle, Client) {
        capture_logs();
        let db = support::database().await;
        let relay = Handle::detached();
        let now = now();
        let api = Api::new(db.store.clone(), relay.clone(), Arc::new(move || now));
        let api = api.with_reach(reach).with_heartbeat(HEARTBEAT);
        let key = issue_platform_key(&db.store, Role::Operator, "operator", now).await;
        let key = key.expect("a key").expose().to_owned();
        (db, relay, Client { app: router(api), key })
    }

    pub(crate) async fn new() -> Self {
        Self::reaching(Reach::default()).await
    }

    /// The same, with webhooks that reach so far.
    pub(crate) async fn reaching(reach: Reach) -> Self {
        let (db, relay, operator) = Self::empty_reaching(reach).await;
        let tenant = json!({"name": "First Insurance", "desk_user": "desk"});
        let tenant = operator.post("/v1/tenants", tenant).await.id();
        let trunk = json!({
            "name": "carrier", "role": "carrier", "source_networks": ["192.0.2.0/24"],
            "targets": ["192.0.2.1:5060"],
        });
        let trunk = operator.post("/v1/trunks", trunk).await.id();
        let pool = json!({"name": "mobile", "class": "mobile", "city": "Shanghai",
            "trunks": [trunk]});
        let pool = operator.post("/v1/pools", pool).await.id();
        let numbers: Vec<String> = (0..30).map(|n| format!("170000000{n:02}")).collect();
        let import = json!({"pool": pool, "numbers": numbers});
        operator.post("/v1/numbers:import", import).await.gave(200);
        let admin = key_of(&operator, &tenant, "insurer_admin").await;
        Self { db, relay, operator, admin, tenant, pool }
    }

    /// Another tenant's administrator.
    pub(crate) async fn stranger(&self) -> Client {
        let tenant = json!({"name": "Second Insurance"});
        let tenant = self.operator.post("/v1/tenants", tenant).await.id();
        key_of(&self.operator, &tenant, "insurer_admin").await
    }

    /// Rows of a table, whosever they are.
    pub(crate) async fn count(&self, table: &'static str) -> i64 {
        let mut superuser = self.db.superuser().await;
        let sql = match table {
            "binding" => "select count(*) from binding",
            "subscriber" => "select count(*) from subscriber",
            "event" => "select count(*) from event",
            "tenant" => "select count(*) from tenant",
            "api_key" => "select count(*) from api_key",
            "agent" => "select count(*) from agent",
            "trunk" => "select count(*) from trunk",
            "pool" => "select count(*) from pool",
            "virtual_number" => "select count(*) from virtual_number",
            "audit_entry" => "select count(*) from audit_entry",
            "recording_link" => "select count(*) from recording_link",
            "import_chunk" => "select count(*) from import_chunk",
            "bound" => "select count(*) from virtual_number where state = 'bound'",
            _ => panic!("no such table here"),
        };
        sqlx::query_scalar(sql).fetch_one(&mut superuser).await.expect("a count")
    }
}

/// A key of a tenant.
pub(crate) async fn key_of(operator: &Client, tenant: &str, role: &str) -> Client {
    let body = json!({"name": role, "role": role, "tenant_id": tenant});
    let key = operator.post("/v1/api-keys", body).await.gave(201);
    operator.with_key(key.body["key"].as_str().expect("a key"))
}

/// A binding request for the nth subscriber.
pub(crate) fn binding(n: usize) -> Value {
    json!({
        "external_id": format!("E-{n}"), "mode": "ax", "policy": {"ref": format!("P-{n}")},
        "subscriber": {"real_number": real_number(n)},
    })
}

pub(crate) fn real_number(n: usize) -> String {
    format!("+86{CANARY}{n:04}")
}

#[expect(clippy::disallowed_methods, reason = "a test's clock begins somewhere")]
pub(crate) fn now() -> Now {
    Now { monotonic: std::time::Instant::now(), wall: noon() + Duration::from_millis(1) }
}

/// What the clock on the wall shows, for those who compare with it.
#[expect(clippy::disallowed_methods, reason = "the checker of signatures reads the clock itself")]
pub(crate) fn clock() -> SystemTime {
    SystemTime::now()
}

/// Everything that was logged, at the finest level.
pub(crate) fn logged() -> String {
    let log = LOG.get().expect("logs are captured").lock();
    String::from_utf8_lossy(&log.unwrap_or_else(PoisonError::into_inner)).into_owned()
}

static LOG: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();

struct Capture;

impl io::Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let log = LOG.get().expect("made before the subscriber").lock();
        log.unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Capture {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

fn capture_logs() {
    LOG.get_or_init(|| {
        let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        lines.with_writer(|| Capture).with_ansi(false).init();
        Mutex::new(Vec::new())
    });
}
