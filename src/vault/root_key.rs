//! The root key in a file that only its owner may read, and the key store on top of it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::derive::Deriver;
use super::envelope::SealingKey;
use super::{Cell, KeyStore, Purpose, SecretKey, VaultError};

/// The first word of a root key file; after it come the version and the key in base64.
const FILE_LABEL: &str = "maskline-root-key";
/// A root key file is one short line.
const FILE_BYTES_MAX: u64 = 256;
/// Owner may read; nobody may write.
const FILE_MODE: u32 = 0o400;
/// Nobody but the owner may look into a folder made for it.
const FOLDER_MODE: u32 = 0o700;

/// The root key, in its derived forms only.
pub struct RootKey {
    version: u16,
    wrap: SealingKey,
    deriver: Deriver,
}

/// Why a root key file cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    /// A new key must never replace one that may still be needed.
    #[error("{} exists already; a root key is never overwritten", .0.display())]
    Exists(PathBuf),
    /// There is none.
    #[error("{} does not exist; make one with `maskline key init`", .0.display())]
    Missing(PathBuf),
    /// Others could read or change it.
    #[error(
        "{path} has mode {mode:04o} but must have 0400; run `chmod 0400 {path}`",
        path = path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds no root key of this program.
    #[error("{} is not a root key file of maskline", .0.display())]
    Malformed(PathBuf),
    /// The system refused.
    #[error("cannot use {}: {kind}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        kind: ErrorKind,
    },
    /// The crypto library failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl RootKey {
    /// Makes a new random root key in a new file of mode 0400, and makes sure that it is on the
    /// disk. Folders that are absent are made, open to their owner only.
    ///
    /// # Errors
    /// [`RootKeyError`], most of all when the file exists.
    pub fn create(path: &Path) -> Result<Self, RootKeyError> {
        let key = SecretKey::random()?;
        let version = 1;
        let encoded = Zeroizing::new(STANDARD.encode(key.as_bytes()));
        let line = Zeroizing::new(format!("{FILE_LABEL} {version} {}\n", encoded.as_str()));
        let io = |error| io_error(path, &error);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(io)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(path)
            .map_err(io)?;
        file.write_all(line.as_bytes()).map_err(io)?;
        file.sync_all().map_err(io)?;
        File::open(folder.unwrap_or(Path::new("."))).and_then(|f| f.sync_all()).map_err(io)?;
        Ok(Self::from_secret(&key, version)?)
    }

    /// Reads a root key file.
    ///
    /// # Errors
    /// [`RootKeyError`] when it is missing, open to others, or not ours.
    pub fn load(path: &Path) -> Result<Self, RootKeyError> {
        let io = |error: std::io::Error| {
            let missing = error.kind() == ErrorKind::NotFound;
            if missing { RootKeyError::Missing(path.to_owned()) } else { io_error(path, &error) }
        };
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        let malformed = || RootKeyError::Malformed(path.to_owned());
        if !metadata.is_file() {
            return Err(malformed());
        }
        let mode = metadata.mode() & 0o7777;
        if mode != FILE_MODE {
            return Err(RootKeyError::Mode { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|_| malformed())?;
        let (version, key) = parse(&text).ok_or_else(malformed)?;
        Ok(Self::from_secret(&key, version)?)
    }

    /// A root key that lives in memory only: for tests and throw-away demonstrations.
    ///
    /// # Errors
    /// [`VaultError::Library`] when the library fails.
    pub fn ephemeral() -> Result<Self, VaultError> {
        Self::from_secret(&SecretKey::random()?, 1)
    }

    fn from_secret(key: &SecretKey, version: u16) -> Result<Self, VaultError> {
        let deriver = Deriver::new(key);
        let wrap = SealingKey::new(&deriver.derive(Purpose::WrapTenantKeys)?, version)?;
        Ok(Self { version, wrap, deriver })
    }

    /// The version written beside everything this key wraps.
    #[must_use]
    pub const fn version(&self) -> u16 {
        self.version
    }
}

impl KeyStore for RootKey {
    fn wrap_key(&self, key: &SecretKey, cell: &Cell) -> Result<Vec<u8>, VaultError> {
        self.wrap.seal(cell, key.as_bytes())
    }

    fn open_key(&self, wrapped: &[u8], cell: &Cell) -> Result<SecretKey, VaultError> {
        SecretKey::from_bytes(&self.wrap.open(cell, wrapped)?)
    }

    fn derive_key(&self, purpose: Purpose) -> Result<SecretKey, VaultError> {
        self.deriver.derive(purpose)
    }
}

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootKey(***)")
    }
}

fn io_error(path: &Path, error: &std::io::Error) -> RootKeyError {
    let (path, kind) = (path.to_owned(), error.kind());
    if kind == ErrorKind::AlreadyExists {
        RootKeyError::Exists(path)
    } else {
        RootKeyError::Io { path, kind }
    }
}

fn parse(text: &str) -> Option<(u16, SecretKey)> {
    let mut words = text.split_ascii_whitespace();
    if words.next()? != FILE_LABEL {
        return None;
    }
    let version = words.next()?.parse().ok().filter(|version| *version > 0)?;
    let bytes = Zeroizing::new(STANDARD.decode(words.next()?).ok()?);
    let key = SecretKey::from_bytes(&bytes).ok()?;
    words.next().is_none().then_some((version, key))
}
