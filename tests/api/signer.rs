//! A client that signs its requests, after RFC 9421 and not after the service's own code.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest, hmac};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::world::{Answer, Client, now};

/// A key that signs.
#[derive(Clone)]
pub(crate) struct Signer {
    client: Client,
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// A request before it is signed.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    /// As they stand in the list, with their quotes.
    pub(crate) covered: Vec<&'static str>,
    pub(crate) parameters: Vec<(&'static str, String)>,
    pub(crate) secret: String,
}

/// A request as it travels.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Signer {
    /// Makes a key of this role.
    pub(crate) async fn new(admin: &Client, role: &str) -> Self {
        let body = json!({"name": "signs", "role": role, "auth": "signature"});
        let made = admin.post("/v1/api-keys", body).await.gave(201);
        assert_eq!(made.body["auth"], "signature");
        let secret = made.body["key"].as_str().expect("a secret").to_owned();
        assert!(secret.starts_with("ms_live_"), "{}", secret.len());
        Self { client: admin.with_key(""), id: made.id(), secret }
    }

    /// The same at another process on the same database.
    pub(crate) fn at(&self, app: Router) -> Self {
        Self { client: self.client.at(app), ..self.clone() }
    }

    /// The same with another secret.
    pub(crate) fn with_secret(&self, secret: &str) -> Self {
        Self { secret: secret.to_owned(), ..self.clone() }
    }

    /// A request with all that it needs; `nonce` tells it from others.
    pub(crate) fn draft(&self, method: &'static str, target: &str, body: Option<Value>) -> Draft {
        let mut covered = vec!["\"@method\"", "\"@path\"", "\"@query\""];
        let mut headers = Vec::new();
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        if !body.is_empty() {
            covered.extend(["\"content-type\"", "\"content-digest\""]);
            headers.push(("content-type", "application/json".to_owned()));
            headers.push(("content-digest", digest_of(&body)));
        }
        let parameters = vec![
            ("created", seconds(now().wall, 0)),
            ("keyid", format!("\"{}\"", self.id)),
            ("nonce", "\"a-word-of-its-own\"".to_owned()),
            ("alg", "\"hmac-sha256\"".to_owned()),
        ];
        let (target, secret) = (target.to_owned(), self.secret.clone());
        Draft { method, target, headers, body, covered, parameters, secret }
    }

    pub(crate) async fn send(&self, sent: Sent) -> Answer {
        let mut request = Request::builder().method(sent.method).uri(&sent.target);
        for (name, value) in &sent.headers {
            request = request.header(*name, value);
        }
        self.client.send(request.body(Body::from(sent.body)).expect("a request")).await
    }

    /// A request that is signed as it should be.
    pub(crate) async fn ask(
        &self,
        method: &'static str,
        target: &str,
        body: Option<Value>,
        nonce: &str,
    ) -> Answer {
        let draft = self.draft(method, target, body).with("nonce", &format!("\"{nonce}\""));
        self.send(draft.sign()).await
    }
}

impl Draft {
    /// The same with another parameter, or one more.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        match self.parameters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.parameters.push((name, value.to_owned())),
        }
        self
    }

    /// The same without a parameter.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.parameters.retain(|(known, _)| *known != name);
        self
    }

    /// The same without covering this.
    pub(crate) fn uncovered(mut self, name: &str) -> Self {
        self.covered.retain(|known| *known != name);
        self
    }

    /// The same and covering this too.
    pub(crate) fn covering(mut self, name: &'static str) -> Self {
        self.covered.push(name);
        self
    }

    /// The same and with one more header.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn sign(self) -> Sent {
        let list = format!("({})", self.covered.join(" "));
        let parameters: String =
            self.parameters.iter().map(|(name, value)| format!(";{name}={value}")).collect();
        let mut base = String::new();
        for part in &self.covered {
            base.push_str(&format!("{part}: {}\n", self.value_of(part)));
        }
        base.push_str(&format!("\"@signature-params\": {list}{parameters}"));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let tag = STANDARD.encode(hmac::sign(&key, base.as_bytes()));
        let mut headers = self.headers;
        headers.push(("signature-input", format!("sig1={list}{parameters}")));
        headers.push(("signature", format!("sig1=:{tag}:")));
        Sent { method: self.method, target: self.target, headers, body: self.body }
    }

    fn value_of(&self, part: &str) -> String {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        match part.split(';').next().unwrap_or_default().trim_matches('"') {
            "@method" => self.method.to_owned(),
            "@path" => path.to_owned(),
            "@query" => format!("?{query}"),
            "@authority" => "relay.example".to_owned(),
            name => {
                let value = self.headers.iter().find(|(known, _)| *known == name);
                value.map(|(_, value)| value.clone()).unwrap_or_default()
            }
        }
    }
}

impl Sent {
    /// The same with another value of a header.
    pub(crate) fn changed(mut self, name: &str, change: impl Fn(&str) -> String) -> Self {
        for (known, value) in &mut self.headers {
            if *known == name {
                *value = change(value);
            }
        }
        self
    }

    /// The same with a header once more.
    pub(crate) fn twice(mut self, name: &'static str) -> Self {
        let (_, value) =
            self.headers.iter().find(|(known, _)| *known == name).expect("it is there");
        self.headers.push((name, value.clone()));
        self
    }

    /// The same without a header.
    pub(crate) fn stripped(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }
}

pub(crate) fn digest_of(body: &str) -> String {
    let hash = digest::digest(&digest::SHA256, body.as_bytes());
    format!("sha-256=:{}:", STANDARD.encode(hash))
}

/// A moment in whole seconds of Unix, so many seconds later.
pub(crate) fn seconds(at: SystemTime, later: i64) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    (since.cast_signed() + later).to_string()
}
