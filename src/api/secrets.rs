//! How a bearer key looks, how it is recognised without being kept, and how a repeated request is.

use std::fmt;

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::vault::Vault;

/// The length of a keyed hash.
pub const HASH_BYTES: usize = 32;

/// Random bytes of a bearer key.
const KEY_BYTES: usize = 32;

/// The longest bearer key that is looked at.
const KEY_CHARS_MAX: usize = 64;

/// How many of its last characters a list shows.
const HINT_CHARS: usize = 4;

const LIVE_PREFIX: &str = "mk_live_";
const TEST_PREFIX: &str = "mk_test_";
const LIVE_SIGNING_PREFIX: &str = "ms_live_";
const TEST_SIGNING_PREFIX: &str = "ms_test_";

/// How a key shows that it is its holder's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyUse {
    /// Its text is sent with each request.
    Bearer,
    /// Each request is signed with it; it is never sent.
    Signature,
}

/// A new key: the text is shown once, the hash is kept.
pub struct IssuedKey {
    text: SecretString,
    /// What the store keeps.
    pub hash: [u8; HASH_BYTES],
}

impl IssuedKey {
    /// Makes one.
    #[must_use]
    pub fn new(vault: &Vault, usage: KeyUse, is_test: bool) -> Self {
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        fill_random(secret.as_mut());
        let prefix = match (usage, is_test) {
            (KeyUse::Bearer, false) => LIVE_PREFIX,
            (KeyUse::Bearer, true) => TEST_PREFIX,
            (KeyUse::Signature, false) => LIVE_SIGNING_PREFIX,
            (KeyUse::Signature, true) => TEST_SIGNING_PREFIX,
        };
        // Reserved in one piece, so that growing leaves no copy behind.
        let mut text = String::with_capacity(KEY_CHARS_MAX);
        text.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(secret.as_ref(), &mut text);
        let hash = vault.api_key_hash(text.as_bytes());
        Self { text: text.into(), hash }
    }

    /// The text, for the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// The last characters, by which people recognise it.
    #[must_use]
    pub fn hint(&self) -> String {
        let text = self.expose();
        text.chars().skip(text.len().saturating_sub(HINT_CHARS)).collect()
    }
}

/// A user name and a password of ours for a SIP peer: shown once, and never chosen by people.
pub struct SipLogin {
    /// Not a secret.
    pub username: String,
    password: SecretString,
}

/// Random bytes of a SIP password.
const PASSWORD_BYTES: usize = 24;

impl SipLogin {
    /// Makes one. `kind` is what the name begins with.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        let mut secret = Zeroizing::new([0; PASSWORD_BYTES]);
        fill_random(secret.as_mut());
        let username = format!("{kind}{:016x}", random_bits() as u64);
        Self { username, password: URL_SAFE_NO_PAD.encode(secret.as_ref()).into() }
    }

    /// The password, for the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.password.expose_secret()
    }
}

impl fmt::Debug for SipLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SipLogin(***)")
    }
}

/// What signs a tenant's webhooks: shown once.
pub struct WebhookSecret(Zeroizing<[u8; WEBHOOK_SECRET_BYTES]>);

/// Random bytes of a secret that signs; Standard Webhooks wants 24 to 64.
const WEBHOOK_SECRET_BYTES: usize = 32;

impl WebhookSecret {
    /// Makes one.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "no two are alike")]
    pub fn new() -> Self {
        let mut secret = Zeroizing::new([0; WEBHOOK_SECRET_BYTES]);
        fill_random(secret.as_mut());
        Self(secret)
    }

    /// The key of the signature.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// As receivers write it down; for the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.bytes()))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(***)")
    }
}

/// The keyed hash of what a client sent as its key; `None` for what cannot be one.
#[must_use]
pub fn bearer_hash(vault: &Vault, text: &str) -> Option<[u8; HASH_BYTES]> {
    let is_key = text.len() <= KEY_CHARS_MAX
        && (text.starts_with(LIVE_PREFIX) || text.starts_with(TEST_PREFIX));
    is_key.then(|| vault.api_key_hash(text.as_bytes()))
}

/// Recognises a repeated request. A plain hash of a body could be tried against all telephone
/// numbers.
pub struct RequestHasher(hmac::Key);

impl fmt::Debug for RequestHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestHasher(***)")
    }
}

impl RequestHasher {
    /// Its key comes from the root key, by the vault.
    #[must_use]
    pub fn new(vault: &Vault) -> Self {
        // Bearer keys begin with `mk_`: this can never be the hash of one.
        let key = Zeroizing::new(vault.api_key_hash(b"repeated requests"));
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
    }

    /// Each part goes in with its length, so that parts cannot run into each other.
    #[must_use]
    pub fn hash(&self, parts: &[&[u8]]) -> [u8; HASH_BYTES] {
        self.begin(parts).finish()
    }

    /// The same with a last part that comes in pieces, whose length is known at its end.
    pub(super) fn begin(&self, parts: &[&[u8]]) -> Hashing {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Hashing(context)
    }
}

/// The hash of a request that is still coming.
pub(super) struct Hashing(hmac::Context);

impl Hashing {
    pub(super) fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    pub(super) fn finish(self) -> [u8; HASH_BYTES] {
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(self.0.sign().as_ref());
        hash
    }
}

/// Equal, in a time that tells nothing.
#[must_use]
pub fn is_equal(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// Random bits for identifiers.
#[must_use]
pub fn random_bits() -> u128 {
    let mut bytes = [0; 16];
    fill_random(&mut bytes);
    u128::from_ne_bytes(bytes)
}

fn fill_random(bytes: &mut [u8]) {
    rand::fill(bytes).expect("the operating system gives random bytes");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::RootKey;
    use std::sync::Arc;

    fn vault() -> Vault {
        let root = RootKey::ephemeral().expect("a root key");
        Vault::new(Arc::new(root)).expect("a vault")
    }

    #[test]
    fn an_issued_key_is_recognised_by_its_hash_only() {
        let own = vault();
        let key = IssuedKey::new(&own, KeyUse::Bearer, false);
        assert!(key.expose().starts_with("mk_live_"));
        assert_eq!(key.expose().len(), 8 + 43);
        assert!(key.expose().ends_with(&key.hint()));
        assert_eq!(bearer_hash(&own, key.expose()), Some(key.hash));
        assert_ne!(bearer_hash(&vault(), key.expose()), Some(key.hash));
        let signing = IssuedKey::new(&own, KeyUse::Signature, false);
        assert_eq!(bearer_hash(&own, signing.expose()), None, "it is never sent");
        assert_eq!(bearer_hash(&own, "Basic abc"), None);
        assert_eq!(bearer_hash(&own, &format!("mk_live_{}", "a".repeat(60))), None);
    }

    #[test]
    fn parts_of_a_request_do_not_run_into_each_other() {
        let hasher = RequestHasher::new(&vault());
        assert_ne!(hasher.hash(&[b"ab", b"c"]), hasher.hash(&[b"a", b"bc"]));
        assert_eq!(hasher.hash(&[b"ab", b"c"]), hasher.hash(&[b"ab", b"c"]));
    }
}
