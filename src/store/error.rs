//! What can go wrong with the store. No variant holds a value of a row or a parameter: it may be
//! logged as it is.

use std::fmt;
use std::io;

use sqlx::migrate::MigrateError;

use super::server::MAJOR_MIN;
use crate::vault::{DatabaseRole, VaultError};

/// The outcomes of talking to the store that are not answers.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The row clashes with the constraint of this name.
    #[error("the row clashes with {constraint}")]
    Conflict {
        /// A unique, foreign-key or check constraint of the migrations.
        constraint: String,
    },
    /// The database is away or too slow; the caller may try again.
    #[error("the database is unavailable: {0}")]
    Unavailable(Fault),
    /// No connection could be made for this login.
    #[error("{place}: {error}")]
    NotConnected {
        /// Which of the settings.
        login: Login,
        /// Host and port, or the socket; the rest of a URL may hold a password.
        place: String,
        /// Why.
        error: Box<Self>,
    },
    /// The database refused what we sent, or sent what we cannot read: our own fault.
    #[error("the store failed: {0}")]
    Internal(Fault),
    /// A stored word or number is none that this program knows.
    #[error("the column {column} holds something unknown")]
    Unreadable {
        /// Which column.
        column: &'static str,
    },
    /// A sealed value could not be made or opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What is sealed in it is sealed under another root key.
    #[error("this database belongs to another root key (keys.root_file)")]
    RootKeyForeign,
    /// The role has more rights than the program may have: row-level security would not hold.
    #[error("the database role {role} {excess}; use a role that is neither owner nor superuser")]
    RoleTooStrong {
        /// The role's name.
        role: &'static str,
        /// What is wrong with it.
        excess: &'static str,
    },
    /// The server is older than what our SQL is written for.
    #[error("PostgreSQL {found} is too old: maskline needs {MAJOR_MIN} or later")]
    ServerTooOld {
        /// Its major version.
        found: u32,
    },
    /// The database is not one this program can migrate.
    #[error("cannot migrate the database: {0}")]
    Migration(String),
}

/// Who connects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Login {
    /// The owner of the tables.
    Owner,
    /// A role of the program's own.
    Role(DatabaseRole),
}

/// What failed, in words that hold no values: an SQLSTATE with the server's own name for it, or a
/// kind of I/O error.
#[derive(Clone, Eq, PartialEq)]
pub struct Fault(String);

impl Fault {
    /// A fault described by the program itself; `what` must hold no values.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self(what.to_owned())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StoreError {
    /// The row clashes with the constraint of this name.
    #[must_use]
    pub fn conflict(constraint: &'static str) -> Self {
        Self::Conflict { constraint: constraint.to_owned() }
    }

    /// Whether the database is away or too slow.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::NotConnected { error, .. } => error.is_unavailable(),
            Self::Conflict { .. }
            | Self::Internal(_)
            | Self::Unreadable { .. }
            | Self::Vault(_)
            | Self::RootKeyForeign
            | Self::RoleTooStrong { .. }
            | Self::ServerTooOld { .. }
            | Self::Migration(_) => false,
        }
    }

    /// The name of the violated constraint, if that is what happened.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Conflict { constraint } => Some(constraint),
            Self::Unavailable(_)
            | Self::NotConnected { .. }
            | Self::Internal(_)
            | Self::Unreadable { .. }
            | Self::Vault(_)
            | Self::RootKeyForeign
            | Self::RoleTooStrong { .. }
            | Self::ServerTooOld { .. }
            | Self::Migration(_) => None,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "sqlx::Error is non-exhaustive")]
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(database) => {
                from_sqlstate(database.code().as_deref().unwrap_or("?????"), database.constraint())
            }
            sqlx::Error::Io(io) => Self::Unavailable(io_fault(&io)),
            sqlx::Error::Tls(_) => Self::Unavailable(Fault::new("TLS")),
            sqlx::Error::PoolTimedOut => {
                Self::Unavailable(Fault::new("no free connection in time"))
            }
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Unavailable(Fault::new("the pool is closed"))
            }
            sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => {
                Self::Unavailable(Fault::new("the connection broke"))
            }
            sqlx::Error::RowNotFound => Self::Internal(Fault::new("a row is missing")),
            // Only the column's name: the source of a decode error may quote the value.
            sqlx::Error::ColumnDecode { index, .. } => {
                Self::Internal(Fault(format!("cannot read column {index}")))
            }
            sqlx::Error::ColumnNotFound(name) => Self::Internal(Fault(format!("no column {name}"))),
            sqlx::Error::Configuration(_) => Self::Internal(Fault::new("configuration")),
            _ => Self::Internal(Fault::new("client library")),
        }
    }
}

impl From<MigrateError> for StoreError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "MigrateError is non-exhaustive")]
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) => error.into(),
            MigrateError::ExecuteMigration(error, version) => {
                Self::Migration(format!("{version:04}: {}", Self::from(error)))
            }
            MigrateError::VersionMissing(version) => Self::Migration(format!(
                "it has migration {version:04} of a later program; use that program"
            )),
            MigrateError::VersionMismatch(version) => Self::Migration(format!(
                "migration {version:04} was applied in another form; this is not our database"
            )),
            _ => Self::Migration("unexpected state".to_owned()),
        }
    }
}

/// The class of an SQLSTATE decides: integrity, away or busy, or our own fault.
fn from_sqlstate(code: &str, constraint: Option<&str>) -> StoreError {
    let fault = || Fault(format!("SQLSTATE {code}"));
    match (code.get(..2).unwrap_or_default(), constraint) {
        ("23", Some(constraint)) => StoreError::Conflict { constraint: constraint.to_owned() },
        // Connection, rollback (deadlock), resources, operator intervention (shutdown, timeout),
        // system errors.
        ("08" | "40" | "53" | "57" | "58", _) => StoreError::Unavailable(fault()),
        // Lock not available; read-only because it is a standby now.
        _ if matches!(code, "55P03" | "25006" | "25P03") => StoreError::Unavailable(fault()),
        _ => StoreError::Internal(fault()),
    }
}

fn io_fault(error: &io::Error) -> Fault {
    Fault(error.kind().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violated_constraint_is_named() {
        let error = from_sqlstate("23505", Some("binding_external_id"));
        assert_eq!(error.constraint(), Some("binding_external_id"));
    }

    #[test]
    fn a_busy_or_stopping_server_may_be_asked_again() {
        for code in ["57014", "57P01", "40P01", "53300", "55P03", "25006", "08006"] {
            let error = from_sqlstate(code, None);
            assert!(matches!(error, StoreError::Unavailable(_)), "{code}");
        }
        assert!(matches!(from_sqlstate("42501", None), StoreError::Internal(_)));
    }
}
