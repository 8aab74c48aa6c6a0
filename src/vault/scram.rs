//! Database passwords that nobody has to choose or store: derived from the root key, and given to
//! the server as a SCRAM-SHA-256 verifier (RFC 5803), so that not even the server's log can hold
//! them.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{KeyStore, Purpose, VaultError};

/// PostgreSQL's own default. The password has 256 random bits, so stretching adds nothing.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");

/// A role of the running program in the database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DatabaseRole {
    /// The API's: sees one tenant at a time.
    App,
    /// The relay's: looks routes up and writes records.
    Relay,
}

impl DatabaseRole {
    /// Its name in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::App => "maskline_app",
            Self::Relay => "maskline_relay",
        }
    }

    /// The password it logs in with.
    ///
    /// # Errors
    /// [`VaultError`] when the key store fails.
    pub fn password(self, keys: &dyn KeyStore) -> Result<Zeroizing<String>, VaultError> {
        let key = keys.derive_key(match self {
            Self::App => Purpose::AppRolePassword,
            Self::Relay => Purpose::RelayRolePassword,
        })?;
        Ok(Zeroizing::new(STANDARD.encode(key.as_bytes())))
    }

    /// What the server keeps of that password.
    ///
    /// # Errors
    /// [`VaultError`] when the key store fails.
    pub fn verifier(self, keys: &dyn KeyStore) -> Result<String, VaultError> {
        // A derived salt makes the same verifier at every start: setting it again changes nothing.
        let salt = keys.derive_key(match self {
            Self::App => Purpose::AppRoleSalt,
            Self::Relay => Purpose::RelayRoleSalt,
        })?;
        let salt = salt.as_bytes().first_chunk::<16>().ok_or(VaultError::Library)?;
        Ok(verifier(self.password(keys)?.as_bytes(), salt, ITERATIONS))
    }
}

fn verifier(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> String {
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, salted.as_mut());
    let key = hmac::Key::new(hmac::HMAC_SHA256, salted.as_ref());
    let stored = digest::digest(&digest::SHA256, hmac::sign(&key, b"Client Key").as_ref());
    let server = hmac::sign(&key, b"Server Key");
    format!(
        "SCRAM-SHA-256${iterations}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored),
        STANDARD.encode(server)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7677_gives_its_server_signature() {
        // RFC 7677 §3: user "user", password "pencil".
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let text = verifier(b"pencil", &salt, ITERATIONS);
        let server_key = STANDARD.decode(text.rsplit(':').next().expect("a key")).expect("base64");
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let auth_message = format!(
            "n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,\
             r={nonce}"
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, &server_key);
        let signature = STANDARD.encode(hmac::sign(&key, auth_message.as_bytes()));
        assert_eq!(signature, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }
}
