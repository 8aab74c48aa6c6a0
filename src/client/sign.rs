//! Requests that are signed instead of carrying their key: HTTP Message Signatures (RFC 9421) with
//! the parts that `docs/signed-requests.md` names.

use std::fmt;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Request;
use reqwest::header::{HeaderName, HeaderValue, InvalidHeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::domain::id::ApiKeyId;

/// What secrets that sign begin with.
const PREFIX: &str = "ms_";
/// Headers that are covered wherever a request has them.
const COVERED: [&str; 4] = ["content-type", "content-digest", "idempotency-key", "if-match"];

/// SHA-256 of a body.
pub type BodyDigest = [u8; 32];

/// A key that signs.
pub(super) struct Signer {
    id: ApiKeyId,
    secret: SecretString,
}

impl Signer {
    pub(super) const fn new(id: ApiKeyId, secret: SecretString) -> Self {
        Self { id, secret }
    }

    /// Whether this is a secret of such a key.
    pub(super) fn is_secret(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Adds what shows that it comes from the holder of the key. A body that cannot be looked at
    /// needs its digest.
    pub(super) fn sign(
        &self,
        request: &mut Request,
        body: Option<BodyDigest>,
        created: u64,
        nonce: &str,
    ) -> Result<(), InvalidHeaderValue> {
        let seen = request.body().and_then(reqwest::Body::as_bytes);
        if let Some(digest) = body.or_else(|| seen.map(digest_of)) {
            let value = format!("sha-256=:{}:", STANDARD.encode(digest));
            insert(request, "content-digest", &value)?;
        }
        let (list, mut base) = covered(request);
        let parameters =
            format!("({list});created={created};keyid=\"{}\";nonce=\"{nonce}\"", self.id);
        base.push_str(&format!("\"@signature-params\": {parameters}"));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose_secret().as_bytes());
        let tag = STANDARD.encode(hmac::sign(&key, base.as_bytes()));
        insert(request, "signature-input", &format!("sig1={parameters}"))?;
        insert(request, "signature", &format!("sig1=:{tag}:"))
    }
}

/// The digest of a body that comes in pieces.
pub struct BodyHasher(digest::Context);

impl BodyHasher {
    /// Of nothing so far.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is never a part of something else")]
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Takes a piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    #[must_use]
    pub fn finish(self) -> BodyDigest {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

impl fmt::Debug for BodyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyHasher(***)")
    }
}

fn digest_of(body: &[u8]) -> BodyDigest {
    let mut hashing = BodyHasher::new();
    hashing.update(body);
    hashing.finish()
}

/// The list of what is covered, and a line for each of it.
fn covered(request: &Request) -> (String, String) {
    let (method, url) = (request.method().as_str(), request.url());
    let mut list = "\"@method\" \"@path\" \"@query\"".to_owned();
    let query = url.query().unwrap_or_default();
    let mut base =
        format!("\"@method\": {method}\n\"@path\": {}\n\"@query\": ?{query}\n", url.path());
    for name in COVERED {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        if let Some(value) = value {
            list.push_str(&format!(" \"{name}\""));
            base.push_str(&format!("\"{name}\": {}\n", value.trim()));
        }
    }
    (list, base)
}

fn insert(
    request: &mut Request,
    name: &'static str,
    value: &str,
) -> Result<(), InvalidHeaderValue> {
    let value = HeaderValue::from_str(value)?;
    request.headers_mut().insert(HeaderName::from_static(name), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(body: &'static str, created: u64) -> Request {
        let id = ApiKeyId::parse("key_01977420a1b27c3d8e4f5a6b7c8d9e0f").expect("an id");
        let signer = Signer::new(id, "ms_test_secret".into());
        let client = reqwest::Client::new();
        let request = client.post("http://127.0.0.1:1/v1/x?a=b").header("Idempotency-Key", "one");
        let mut request = request.body(body).build().expect("a request");
        signer.sign(&mut request, None, created, "a-nonce-of-its-own").expect("signed");
        request
    }

    fn header<'r>(request: &'r Request, name: &str) -> &'r str {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    #[test]
    fn a_signature_covers_the_request_and_changes_with_each_part_of_it() {
        let one = signed("{}", 1_772_337_600);
        let wanted = "sig1=(\"@method\" \"@path\" \"@query\" \"content-digest\" \
                      \"idempotency-key\");created=1772337600;\
                      keyid=\"key_01977420a1b27c3d8e4f5a6b7c8d9e0f\";nonce=\"a-nonce-of-its-own\"";
        assert_eq!(header(&one, "signature-input"), wanted);
        assert_eq!(
            header(&one, "content-digest"),
            "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:"
        );
        let tag = |request: &Request| header(request, "signature").to_owned();
        assert_eq!(tag(&one), tag(&signed("{}", 1_772_337_600)));
        assert_ne!(tag(&one), tag(&signed("[]", 1_772_337_600)));
        assert_ne!(tag(&one), tag(&signed("{}", 1_772_337_601)));
        assert!(one.headers().get("authorization").is_none());
    }
}
