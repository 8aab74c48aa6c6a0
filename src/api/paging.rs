//! Lists in pages: newest first, continued by an opaque cursor.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer};
use serde::{Serialize, de};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::values::{RULE_MARK, text_schema};
use crate::store::{Page, PageRequest};

/// The most rows of one page.
pub const LIMIT_MAX: u16 = crate::store::page::PAGE_ITEMS_MAX;
/// The rows of a page when the request does not say.
pub const LIMIT_DEFAULT: u16 = 50;

/// The first byte of a cursor: which encoding follows.
const CURSOR_VERSION: u8 = 1;

/// Rows of a page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit(u16);

impl Limit {
    /// How many.
    #[must_use]
    pub const fn rows(self) -> u16 {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(LIMIT_DEFAULT)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.map(Self).ok_or_else(|| de::Error::custom(format_args!("{RULE_MARK}limit")))
    }
}

/// The place where the next page begins: after the row of this id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cursor(u128);

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (version, id) = bytes.split_first()?;
        let id = <[u8; 16]>::try_from(id).ok()?;
        (*version == CURSOR_VERSION).then(|| Self(u128::from_be_bytes(id)))
    }

    fn write(self) -> String {
        let mut bytes = vec![CURSOR_VERSION];
        bytes.extend_from_slice(&self.0.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format_args!("{RULE_MARK}cursor")))
    }
}

impl PartialSchema for Cursor {
    fn schema() -> RefOr<Schema> {
        let text = "Where a page begins: the `next_cursor` of the page before.";
        text_schema("^A[Q-Za-f][A-Za-z0-9_-]{20}[AEIMQUYcgkosw048]$", Some(text))
    }
}

impl ToSchema for Cursor {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Cursor")
    }
}

/// Which rows the store is asked for.
#[must_use]
pub fn request(limit: Option<Limit>, cursor: Option<Cursor>) -> PageRequest {
    PageRequest::new(limit.unwrap_or_default().rows(), cursor.map(|cursor| cursor.0))
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListBody<T> {
    /// The rows.
    pub data: Vec<T>,
    /// There are more rows after these.
    pub has_more: bool,
    /// Where they begin.
    pub next_cursor: Option<String>,
}

impl<T> ListBody<T> {
    /// What the store found, as told to the client.
    pub fn new<R>(page: Page<R>, body: impl FnMut(R) -> T) -> axum::Json<Self> {
        axum::Json(Self {
            data: page.items.into_iter().map(body).collect(),
            has_more: page.next.is_some(),
            next_cursor: page.next.map(|id| Cursor(id).write()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_leads_to_the_row_after_the_page() {
        let list = ListBody::new(Page { items: vec![9_u128, 7], next: Some(7) }, |id| id).0;
        assert!(list.has_more);
        let cursor = Cursor::parse(&list.next_cursor.expect("there is more"));
        assert_eq!(cursor, Some(Cursor(7)));
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let list = ListBody::new(Page { items: vec![9_u128], next: None }, |id| id).0;
        assert_eq!((list.has_more, list.next_cursor), (false, None));
    }

    #[test]
    fn a_made_up_cursor_is_refused() {
        for text in ["", "AQ", "!", "AgAAAAAAAAAAAAAAAAAAAAA", "1; drop table"] {
            assert_eq!(Cursor::parse(text), None);
        }
    }
}
