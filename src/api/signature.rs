//! Signed requests: HTTP Message Signatures (RFC 9421) with HMAC-SHA-256, and `Content-Digest`
//! (RFC 9530) for the body. What a proxy sees of such a request is of no use to it: it can be sent
//! once, within minutes, and only as it is.
//!
//! Of RFC 9421 this takes one signature of one form. Whatever changes what a request does must be
//! covered; an optional part that is not understood is refused, never skipped.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest, hmac};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use sfv::{BareItem, Dictionary, InnerList, ListEntry, Parser};

use super::idempotency::IDEMPOTENCY_KEY;
use super::values::PublicId as _;
use crate::domain::id::ApiKeyId;

/// How far the time of a signature may lie from ours, either way.
const SKEW_MAX: Duration = Duration::from_secs(300);
/// A nonce is remembered until its signature is too old, however far ahead its clock was.
pub(super) const NONCE_TIME: Duration = Duration::from_secs(2 * SKEW_MAX.as_secs());
/// The shortest nonce: 64 random bits in base64.
const NONCE_CHARS_MIN: usize = 11;
/// The longest.
const NONCE_CHARS_MAX: usize = 128;
/// The most parts of a request that one signature covers.
const COVERED_MAX: usize = 32;

const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const ALGORITHM: &str = "hmac-sha256";
const DIGEST_BYTES: usize = 32;

/// What every request says, and is always covered.
const ALWAYS: [&str; 3] = ["@method", "@path", "@query"];
/// The host that was meant; proxies may change it, so nobody has to cover it.
const AUTHORITY: &str = "@authority";
/// What is covered wherever it is there: it changes what is done.
const WHERE_PRESENT: [HeaderName; 4] =
    [CONTENT_TYPE, CONTENT_DIGEST, IF_MATCH, HeaderName::from_static(IDEMPOTENCY_KEY)];

/// What a request claims of itself; nothing of it is proven yet.
pub(super) struct Claim {
    /// Who signed it.
    pub(super) key: ApiKeyId,
    /// A word that no other request of this key has.
    pub(super) nonce: String,
    created: u64,
    expires: Option<u64>,
    base: Vec<u8>,
    tag: Vec<u8>,
    digest: Option<[u8; DIGEST_BYTES]>,
}

/// Whether a request wants to be taken by its signature.
pub(super) fn is_signed(headers: &HeaderMap) -> bool {
    headers.contains_key(SIGNATURE) || headers.contains_key(SIGNATURE_INPUT)
}

impl Claim {
    /// Reads it; why not, for the security log.
    pub(super) fn read(request: &Parts) -> Result<Self, &'static str> {
        let headers = &request.headers;
        if headers.contains_key(AUTHORIZATION) {
            return Err("signed and with a key");
        }
        let text = only(headers, &SIGNATURE_INPUT).ok_or("no signature input")?;
        let (label, input) = member(text).ok_or("signature input")?;
        let ListEntry::InnerList(input) = input else { return Err("signature input") };
        let (tag_label, tag) =
            only(headers, &SIGNATURE).and_then(member).ok_or("no such signature")?;
        let ListEntry::Item(tag) = tag else { return Err("signature") };
        let (BareItem::ByteSequence(tag), true) = (tag.bare_item, tag.params.is_empty()) else {
            return Err("signature");
        };
        if label != tag_label {
            return Err("no such signature");
        }
        let covered = covered(&input).ok_or("covered parts")?;
        let is_covered = |name: &str| covered.contains(&name);
        let is_whole = ALWAYS.iter().all(|name| is_covered(name))
            && WHERE_PRESENT
                .iter()
                .all(|name| is_covered(name.as_str()) || !headers.contains_key(name));
        if !is_whole {
            return Err("parts not covered");
        }
        // The text as it came is what was signed; it was read to its end just now.
        let (_, parameters) = text.split_once('=').ok_or("signature input")?;
        let base = base(request, &covered, parameters.trim()).ok_or("covered parts")?;
        let digest = match headers.contains_key(CONTENT_DIGEST) {
            true => Some(content_digest(headers).ok_or("content digest")?),
            false => None,
        };
        let Parameters { key, nonce, created, expires } =
            Parameters::read(&input).ok_or("signature parameters")?;
        Ok(Self { key, nonce, created, expires, base, tag, digest })
    }

    /// Whether this secret has signed it, compared in constant time.
    pub(super) fn is_signed_with(&self, secret: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        hmac::verify(&key, &self.base, &self.tag).is_ok()
    }

    /// Whether it was signed about now.
    pub(super) fn is_timely(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        now.abs_diff(self.created) <= SKEW_MAX.as_secs()
            && self.expires.is_none_or(|expires| now < expires)
    }

    /// Whether the body is the one that was signed.
    pub(super) fn is_of(&self, body: &[u8]) -> bool {
        let mut coming = self.body().begin();
        coming.update(body);
        coming.ends_as_signed()
    }

    /// What is known of the body.
    pub(super) const fn body(&self) -> SignedBody {
        SignedBody(self.digest)
    }
}

/// A body as it was signed: its digest, or that there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignedBody(Option<[u8; DIGEST_BYTES]>);

impl SignedBody {
    /// To be told what comes.
    pub(super) fn begin(self) -> ComingBody {
        ComingBody { wanted: self, seen: digest::Context::new(&digest::SHA256), is_empty: true }
    }
}

/// A body that is compared while it comes.
pub(super) struct ComingBody {
    wanted: SignedBody,
    seen: digest::Context,
    is_empty: bool,
}

impl ComingBody {
    pub(super) fn update(&mut self, piece: &[u8]) {
        self.seen.update(piece);
        self.is_empty &= piece.is_empty();
    }

    /// Whether all that came is what was signed.
    pub(super) fn ends_as_signed(self) -> bool {
        match self.wanted.0 {
            Some(wanted) => self.seen.finish().as_ref() == wanted,
            None => self.is_empty,
        }
    }
}

/// The one value of a header that may come once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    value.to_str().ok()
}

/// The one member of a dictionary.
fn member(text: &str) -> Option<(String, ListEntry)> {
    let members: Dictionary = Parser::new(text).parse().ok()?;
    let mut members = members.into_iter();
    let ((label, entry), None) = (members.next()?, members.next()) else { return None };
    Some((label.as_str().to_owned(), entry))
}

/// The names of what is covered, each once and without parameters.
fn covered(input: &InnerList) -> Option<Vec<&str>> {
    if input.items.len() > COVERED_MAX {
        return None;
    }
    let mut names = Vec::with_capacity(input.items.len());
    for item in &input.items {
        let BareItem::String(name) = &item.bare_item else { return None };
        let name = name.as_str();
        let is_header = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_known = ALWAYS.contains(&name) || name == AUTHORITY || name.bytes().all(is_header);
        if !is_known || name.is_empty() || !item.params.is_empty() || names.contains(&name) {
            return None;
        }
        names.push(name);
    }
    Some(names)
}

/// The signature base (RFC 9421 §2.5).
fn base(request: &Parts, covered: &[&str], parameters: &str) -> Option<Vec<u8>> {
    let mut base = Vec::with_capacity(512);
    for name in covered {
        base.extend_from_slice(format!("\"{name}\": ").as_bytes());
        match *name {
            "@method" => base.extend_from_slice(request.method.as_str().as_bytes()),
            "@path" => base.extend_from_slice(request.uri.path().as_bytes()),
            "@query" => {
                base.push(b'?');
                base.extend_from_slice(request.uri.query().unwrap_or_default().as_bytes());
            }
            AUTHORITY => base.extend_from_slice(&authority(request)?),
            header => put_header(&mut base, &request.headers, header)?,
        }
        base.push(b'\n');
    }
    base.extend_from_slice(b"\"@signature-params\": ");
    base.extend_from_slice(parameters.as_bytes());
    Some(base)
}

/// As HTTP/2 says it, or else as HTTP/1.1 does (RFC 9421 §2.2.3).
fn authority(request: &Parts) -> Option<Vec<u8>> {
    let text = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => only(&request.headers, &HOST)?,
    };
    Some(text.to_ascii_lowercase().into_bytes())
}

/// All values of a header, as RFC 9421 §2.1 joins them; none where it is absent.
fn put_header(base: &mut Vec<u8>, headers: &HeaderMap, name: &str) -> Option<()> {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    base.extend_from_slice(values.next()?.trim_ascii());
    for value in values {
        base.extend_from_slice(b", ");
        base.extend_from_slice(value.trim_ascii());
    }
    Some(())
}

fn content_digest(headers: &HeaderMap) -> Option<[u8; DIGEST_BYTES]> {
    let digests: Dictionary = Parser::new(only(headers, &CONTENT_DIGEST)?).parse().ok()?;
    let ListEntry::Item(item) = digests.get("sha-256")? else { return None };
    let BareItem::ByteSequence(bytes) = &item.bare_item else { return None };
    bytes.as_slice().try_into().ok()
}

struct Parameters {
    key: ApiKeyId,
    nonce: String,
    created: u64,
    expires: Option<u64>,
}

impl Parameters {
    /// `tag` says what an application makes of a signature, and means nothing here.
    fn read(input: &InnerList) -> Option<Self> {
        let (mut key, mut nonce, mut created, mut expires) = (None, None, None, None);
        for (name, value) in &input.params {
            match (name.as_str(), value) {
                ("keyid", BareItem::String(text)) => key = ApiKeyId::find(text.as_str()),
                ("nonce", BareItem::String(text)) => nonce = Some(text.as_str().to_owned()),
                ("created", BareItem::Integer(at)) => created = u64::try_from(i64::from(*at)).ok(),
                ("expires", BareItem::Integer(at)) => {
                    expires = Some(u64::try_from(i64::from(*at)).ok()?);
                }
                ("alg", BareItem::String(text)) if text.as_str() == ALGORITHM => {}
                ("tag", BareItem::String(_)) => {}
                _ => return None,
            }
        }
        let nonce = nonce.filter(|it| (NONCE_CHARS_MIN..=NONCE_CHARS_MAX).contains(&it.len()))?;
        Some(Self { key: key?, nonce, created: created?, expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    /// RFC 9421 appendix B.2.5.
    #[test]
    fn the_standards_own_example_is_understood() {
        let request = Request::post("/foo?param=Value&Pet=dog")
            .header("host", "example.com")
            .header("date", "Tue, 20 Apr 2021 02:07:55 GMT")
            .header("content-type", "application/json")
            .body(())
            .expect("a request");
        let covered = ["date", "@authority", "content-type"];
        let parameters = concat!(
            r#"("date" "@authority" "content-type");created=1618884473"#,
            r#";keyid="test-shared-secret""#
        );
        let base = base(&request.into_parts().0, &covered, parameters).expect("a base");
        let secret = concat!(
            "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtb",
            "mHhIDi6pcl8jsasjlTMtDQ=="
        );
        let secret = STANDARD.decode(secret).expect("base64");
        let tag = STANDARD.decode("pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=").expect("base64");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        assert!(hmac::verify(&key, &base, &tag).is_ok(), "{}", String::from_utf8_lossy(&base));
    }
}
