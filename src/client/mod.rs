//! A client of the control API: a method for each operation, one request, one answer, and a problem
//! told in words that help. The command line uses it, and whoever writes a CRM in Rust may.

mod operations;
pub mod shapes;
mod sign;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Certificate, ClientBuilder, Identity, Method};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use zeroize::Zeroizing;

use self::sign::Signer;
pub use self::sign::{BodyDigest, BodyHasher};
use crate::domain::id::ApiKeyId;
use crate::relay::now::now;

/// The longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest silence of a connection; streams of the API are never silent for so long.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The longest time that a file may take; the API waits no longer for one.
const UPLOAD_TIME_MAX: Duration = Duration::from_secs(30 * 60);
/// A stream that is up for so long is begun anew.
const STREAM_TIME_MAX: Duration = Duration::from_secs(24 * 3_600);
/// The most pages that one listing reads: 100,000 rows.
const PAGES_MAX: usize = 500;

/// Where the control API is and who asks.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Endpoint {
    /// Address of the control API.
    #[arg(long, env = "MASKLINE_URL", default_value = "http://127.0.0.1:8080", global = true)]
    pub url: String,
    /// API key, `mk_live_…`, or what signs, `ms_live_…`; better given by the environment than on
    /// the command line.
    #[arg(long, env = "MASKLINE_KEY", hide_env_values = true, global = true)]
    pub key: Option<SecretString>,
    /// The id of a key that signs, `key_…`; others need none.
    #[arg(long, env = "MASKLINE_KEY_ID", value_name = "ID", global = true)]
    pub key_id: Option<String>,
    /// PEM of roots that the API's certificate must chain to; those of this system when absent.
    #[arg(long, env = "MASKLINE_CA", value_name = "FILE", global = true)]
    pub ca: Option<PathBuf>,
    /// PEM of the certificate to show to the API, and of its private key.
    #[arg(long, env = "MASKLINE_CERTIFICATE", value_name = "FILE", global = true)]
    pub certificate: Option<PathBuf>,
}

/// A client of the control API.
pub struct Client {
    http: reqwest::Client,
    base: String,
    proof: Proof,
}

/// How a request shows whose it is.
enum Proof {
    /// It carries the key.
    Bearer(SecretString),
    /// It is signed by it.
    Signature(Signer),
}

/// Why a request brought nothing.
#[derive(Debug)]
pub enum ClientError {
    /// No key was given.
    KeyMissing,
    /// The secret signs, and nobody has said whose it is.
    KeyIdMissing,
    /// What was given cannot be a key.
    KeyMalformed,
    /// What was given cannot be the address of the API.
    UrlMalformed,
    /// A file of certificates cannot be used.
    Certificates {
        /// The option that names it.
        option: &'static str,
        /// Why not.
        why: String,
    },
    /// Nothing answers there.
    Unreachable {
        /// The address that was tried.
        url: String,
        /// What the transport said.
        why: String,
    },
    /// The service refused, and said why.
    Problem(Problem),
    /// Something answered that is not this API.
    NotTheApi {
        /// The address that was tried.
        url: String,
        /// The HTTP status.
        status: u16,
    },
}

/// An RFC 9457 problem, as far as a person at a terminal needs it.
#[derive(Debug, Default)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub detail: String,
    /// For questions to the operator.
    pub request_id: String,
    /// Field and what is wrong with it.
    pub fields: Vec<(String, String)>,
}

impl Problem {
    fn read(status: u16, body: &Value) -> Self {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let field = |error: &Value| {
            let part = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            (part("pointer"), part("message"))
        };
        let detail = if body["detail"].is_string() { text("detail") } else { text("title") };
        let fields = body["errors"].as_array().map(|all| all.iter().map(field).collect());
        Self {
            status,
            code: text("code"),
            detail,
            request_id: text("request_id"),
            fields: fields.unwrap_or_default(),
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyMissing => f.write_str(
                "no API key: set MASKLINE_KEY or give --key (`maskline key create` makes one)",
            ),
            Self::KeyIdMissing => f.write_str(
                "this key signs requests: set MASKLINE_KEY_ID or give --key-id, the id that was \
                 shown with it (key_...)",
            ),
            Self::KeyMalformed => f.write_str(
                "the API key (MASKLINE_KEY or --key) is malformed: a key has letters, digits, - \
                 and _ only, and no line break behind it",
            ),
            Self::UrlMalformed => f.write_str(
                "the address of the control API (MASKLINE_URL or --url) is malformed: give one \
                 such as http://127.0.0.1:8080",
            ),
            Self::Certificates { option, why } => {
                write!(f, "the file of {option} cannot be used: {why}")
            }
            Self::Unreachable { url, why } => {
                write!(f, "nothing answers at {url} ({why}); is `maskline serve` running?")
            }
            Self::NotTheApi { url, status } => {
                write!(f, "{url} answered {status}, but not as the control API does")
            }
            Self::Problem(problem) => write!(f, "{problem}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.detail, self.status, self.code)?;
        for (pointer, message) in &self.fields {
            write!(f, "\n  {pointer}: {message}")?;
        }
        if !self.request_id.is_empty() {
            write!(f, "\n  request id: {}", self.request_id)?;
        }
        Ok(())
    }
}

impl std::error::Error for ClientError {}

/// What the API must show, and what is shown to it.
fn with_certificates(
    mut builder: ClientBuilder,
    endpoint: &Endpoint,
) -> Result<ClientBuilder, ClientError> {
    let wrong = |option| move |why: String| ClientError::Certificates { option, why };
    if let Some(file) = &endpoint.ca {
        let wrong = wrong("MASKLINE_CA or --ca");
        let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        let roots = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if roots.is_empty() {
            return Err(wrong("it holds no certificate in PEM".to_owned()));
        }
        builder = builder.tls_certs_only(roots);
    }
    if let Some(file) = &endpoint.certificate {
        let wrong = wrong("MASKLINE_CERTIFICATE or --certificate");
        let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        let none = |_| wrong("it holds no certificate with its private key in PEM".to_owned());
        builder = builder.identity(Identity::from_pem(&Zeroizing::new(pem)).map_err(none)?);
    }
    Ok(builder)
}

impl Client {
    /// A client for `endpoint`; no request is made yet.
    ///
    /// # Errors
    /// [`ClientError`] when no key was given, the key or the address is malformed, or a file of
    /// certificates cannot be used.
    pub fn new(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let key = endpoint.key.clone().ok_or(ClientError::KeyMissing)?;
        if !is_key(key.expose_secret()) {
            return Err(ClientError::KeyMalformed);
        }
        let base = endpoint.url.trim_end_matches('/').to_owned();
        if !is_base(&base) {
            return Err(ClientError::UrlMalformed);
        }
        let http = with_certificates(reqwest::Client::builder(), endpoint)?
            .timeout(REQUEST_TIMEOUT)
            .read_timeout(SILENCE_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ClientError::Unreachable { url: base.clone(), why: why(&error) })?;
        let proof = if Signer::is_secret(key.expose_secret()) {
            let id = endpoint.key_id.as_deref().and_then(|id| ApiKeyId::parse(id).ok());
            Proof::Signature(Signer::new(id.ok_or(ClientError::KeyIdMissing)?, key))
        } else {
            Proof::Bearer(key)
        };
        Ok(Self { http, base, proof })
    }

    /// Its requests are signed: a body that is not in memory needs its digest.
    #[must_use]
    pub const fn signs(&self) -> bool {
        matches!(self.proof, Proof::Signature(_))
    }

    /// Sends a request in the name of the key.
    async fn execute(
        &self,
        request: reqwest::RequestBuilder,
        body: Option<BodyDigest>,
    ) -> Result<reqwest::Response, ClientError> {
        let request = match &self.proof {
            Proof::Bearer(key) => request.bearer_auth(key.expose_secret()).build(),
            Proof::Signature(_) => request.build(),
        };
        let mut request = request.map_err(|error| self.lost(&error))?;
        if let Proof::Signature(signer) = &self.proof {
            let nonce = uuid::Uuid::now_v7().simple().to_string();
            let signed = signer.sign(&mut request, body, now().unix_ms() / 1_000, &nonce);
            signed.map_err(|_| ClientError::KeyMalformed)?;
        }
        self.http.execute(request).await.map_err(|error| self.lost(&error))
    }

    fn not_the_api(&self) -> ClientError {
        ClientError::NotTheApi { url: self.base.clone(), status: 200 }
    }

    /// Reads one resource; `path` starts with `/v1`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.send(Method::GET, path, None).await
    }

    /// Makes or changes something. Each call has an idempotency key of its own.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// All rows of a list, page by page, at most `rows_max`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list(&self, path: &str, rows_max: usize) -> Result<Vec<Value>, ClientError> {
        self.list_from(path, None, rows_max).await
    }

    /// The same from the place of a cursor on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_from(
        &self,
        path: &str,
        cursor: Option<&str>,
        rows_max: usize,
    ) -> Result<Vec<Value>, ClientError> {
        let mut rows = Vec::new();
        let place = |cursor: &str| format!("&cursor={}", escape(cursor));
        let mut cursor = cursor.map(place).unwrap_or_default();
        for _ in 0..PAGES_MAX {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{join}limit=200{cursor}")).await?;
            rows.extend(page["data"].as_array().cloned().unwrap_or_default());
            rows.truncate(rows_max);
            match page["next_cursor"].as_str() {
                Some(next) if rows.len() < rows_max && page["has_more"] == true => {
                    cursor = place(next);
                }
                Some(_) | None => break,
            }
        }
        Ok(rows)
    }

    /// Opens a stream of events, to be read piece by piece.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn open(&self, path: &str) -> Result<reqwest::Response, ClientError> {
        let url = format!("{}{path}", self.base);
        let request = self.http.get(&url).timeout(STREAM_TIME_MAX);
        let response = self.execute(request, None).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(|error| self.lost(&error))?;
        Err(refusal(url, status, serde_json::from_slice(&bytes).ok()))
    }

    fn lost(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable { url: self.base.clone(), why: why(error) }
    }

    /// Sends a body of any length, which is read while it goes; where [`Self::signs`], its digest
    /// has to be known before.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn upload(
        &self,
        path: &str,
        kind: &str,
        body: reqwest::Body,
        digest: Option<BodyDigest>,
    ) -> Result<Value, ClientError> {
        let request = self.http.post(format!("{}{path}", self.base)).timeout(UPLOAD_TIME_MAX);
        let request = request.header("Idempotency-Key", uuid::Uuid::now_v7().to_string());
        let request = request.header("Content-Type", kind).body(body);
        self.answer(path, request, digest).await
    }

    /// Sends one request.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let url = format!("{}{path}", self.base);
        let is_post = method == Method::POST;
        let mut request = self.http.request(method, &url);
        if is_post {
            request = request.header("Idempotency-Key", uuid::Uuid::now_v7().to_string());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(path, request, None).await
    }

    async fn answer(
        &self,
        path: &str,
        request: reqwest::RequestBuilder,
        digest: Option<BodyDigest>,
    ) -> Result<Value, ClientError> {
        let response = self.execute(request, digest).await?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| self.lost(&error))?;
        match serde_json::from_slice(&bytes).ok() {
            _ if status.is_success() && bytes.is_empty() => Ok(Value::Null),
            Some(value) if status.is_success() => Ok(value),
            read => Err(refusal(format!("{}{path}", self.base), status.as_u16(), read)),
        }
    }
}

fn refusal(url: String, status: u16, read: Option<Value>) -> ClientError {
    match read {
        Some(value) if value["code"].is_string() => {
            ClientError::Problem(Problem::read(status, &value))
        }
        Some(_) | None => ClientError::NotTheApi { url, status },
    }
}

/// Said here, since the transport would quote what it cannot send, or say that nothing answers.
fn is_key(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn is_base(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        // A path is that of a proxy in front of the API.
        let is_plain = url.query().is_none() && url.fragment().is_none();
        matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain
    })
}

/// The innermost reason, without the address: that is told already.
fn why(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// A path with those of the filters that are given.
pub fn with_query(path: &str, filters: &[(&str, Option<&str>)]) -> String {
    let given = filters.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let query: Vec<String> =
        given.map(|(name, value)| format!("{name}={}", escape(value))).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

/// A value as part of a path or a query: everything but letters, digits and `-._~` escaped.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_names_fields_and_the_request() {
        let error = json!({"pointer": "/pool", "code": "unknown", "message": "unknown"});
        let body = json!({
            "title": "Invalid", "status": 422, "code": "invalid", "detail": "Two fields are wrong.",
            "request_id": "r-1", "errors": [error],
        });
        let told = ClientError::Problem(Problem::read(422, &body)).to_string();
        let wanted = "Two fields are wrong. (422, invalid)\n  /pool: unknown\n  request id: r-1";
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_query_value_cannot_end_its_query() {
        assert_eq!(escape("a&b=c/é"), "a%26b%3Dc%2F%C3%A9");
    }

    #[test]
    fn filters_are_escaped() {
        assert_eq!(with_query("/v1/bindings", &[("state", None)]), "/v1/bindings");
        let filters = [("state", Some("active")), ("pool", None), ("external_id", Some("a&b"))];
        let wanted = "/v1/bindings?state=active&external_id=a%26b";
        assert_eq!(with_query("/v1/bindings", &filters), wanted);
    }

    #[test]
    fn no_key_is_said_before_any_request() {
        let endpoint = Endpoint { url: "http://127.0.0.1:1".to_owned(), ..Endpoint::default() };
        assert!(matches!(Client::new(&endpoint), Err(ClientError::KeyMissing)));
    }

    #[test]
    fn a_key_that_signs_needs_its_id() {
        let url = "http://127.0.0.1:1".to_owned();
        let endpoint = Endpoint { url, key: Some("ms_test_k".into()), ..Endpoint::default() };
        assert!(matches!(Client::new(&endpoint), Err(ClientError::KeyIdMissing)));
        let id = |text: &str| Endpoint { key_id: Some(text.to_owned()), ..endpoint.clone() };
        assert!(matches!(Client::new(&id("key_1\"")), Err(ClientError::KeyIdMissing)));
        let client = Client::new(&id("key_01977420a1b27c3d8e4f5a6b7c8d9e0f"));
        assert!(client.is_ok_and(|client| client.signs()));
    }

    fn refused(url: &str, key: &str) -> String {
        let endpoint =
            Endpoint { url: url.to_owned(), key: Some(key.into()), ..Endpoint::default() };
        Client::new(&endpoint).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_cannot_be_a_key_or_an_address_is_said_without_quoting_it() {
        let (url, key) = ("http://127.0.0.1:1", "mk_test_k");
        assert_eq!(refused(url, key), "");
        assert_eq!(refused("https://relay.example/maskline/", key), "");
        for wrong in ["", "mk_test_k\n", "mk_test_k\r\nX-A: b", "mk test k", "mk_test_\u{e9}"] {
            let told = refused(url, wrong);
            assert!(told.starts_with("the API key (MASKLINE_KEY or --key) is malformed"), "{told}");
            assert!(wrong.is_empty() || !told.contains(wrong), "the key was quoted");
        }
        for wrong in ["", "foo", "127.0.0.1:8080", "ftp://h/", "http://", "http://h/?a=b"] {
            let told = refused(wrong, key);
            assert!(told.contains("(MASKLINE_URL or --url) is malformed"), "{wrong}: {told}");
        }
    }
}
