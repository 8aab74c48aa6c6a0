//! Between the domain's types and those of the wire. Times are kept to the microsecond, as
//! PostgreSQL keeps them.

use std::time::{Duration, SystemTime};

use jiff_sqlx::{Timestamp, ToSqlx as _};
use uuid::Uuid;

use super::error::{Fault, StoreError};

pub use crate::domain::now::unix_ms;

/// A moment as a parameter.
///
/// # Errors
/// [`StoreError::Internal`] for a clock outside the calendar.
pub fn to_sql(at: SystemTime) -> Result<Timestamp, StoreError> {
    Ok(to_jiff(at)?.to_sqlx())
}

/// A moment that may be absent, as a parameter.
///
/// # Errors
/// [`StoreError::Internal`] for a clock outside the calendar.
pub fn to_sql_maybe(at: Option<SystemTime>) -> Result<Option<Timestamp>, StoreError> {
    at.map(to_sql).transpose()
}

/// A stored moment.
#[must_use]
pub fn from_sql(at: Timestamp) -> SystemTime {
    at.to_jiff().into()
}

/// A moment for a JSON parameter.
pub(super) fn to_jiff(at: SystemTime) -> Result<jiff::Timestamp, StoreError> {
    jiff::Timestamp::try_from(at)
        .map_err(|_| StoreError::Internal(Fault::new("a time outside the calendar")))
}

/// The moment as it will be read back.
#[must_use]
pub fn to_stored_precision(at: SystemTime) -> SystemTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

/// An identifier's bits as a parameter.
#[must_use]
pub const fn uuid(bits: u128) -> Uuid {
    Uuid::from_u128(bits)
}

/// A stored label, read by its domain type.
///
/// # Errors
/// [`StoreError::Unreadable`] when the label is unknown.
pub fn label<T>(
    column: &'static str,
    text: &str,
    find: impl FnOnce(&str) -> Option<T>,
) -> Result<T, StoreError> {
    find(text).ok_or(StoreError::Unreadable { column })
}
