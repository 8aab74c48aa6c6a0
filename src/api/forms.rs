//! How the texts of requests look, for the OpenAPI file: no value has these types. What no form
//! can say (that a time zone is known, that a text holds no telephone number) the handlers check.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::roles::OPERATIONS;
use super::values::text_schema;
use crate::domain::event::EventKind;
use crate::domain::purpose::Purpose;

macro_rules! forms {
    ($($(#[$doc:meta])+ $name:ident = $pattern:expr, $text:literal;)+) => {$(
        $(#[$doc])+
        #[derive(Debug)]
        pub(super) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                text_schema($pattern, Some($text))
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    )+};
}

/// Characters that people write; control characters are none (Unicode category Cc).
macro_rules! written {
    ($max:literal) => {
        concat!("^[^\\u0000-\\u001f\\u007f-\\u009f]{1,", $max, "}$")
    };
}

forms! {
    /// What something is called.
    Name = written!(200), "What people call it, without a telephone number.";
    /// A word of the client's own.
    Word = written!(64), "A word of the client's own, without a telephone number.";
    /// A name that another system gave.
    Key = written!(128), "A name of the client's own; not a telephone number.";
    /// An extension behind a PBX.
    CallerNumber = "^[A-Za-z0-9_.+-]{1,32}$", "The user part of From, as a PBX writes it.";
    /// Where a tenant's callers are sent.
    DeskUser = "^[A-Za-z0-9_.!~*'()+-]{1,64}$", "The user part of a SIP URI.";
    /// A time zone of the IANA data base.
    TimeZone = "^[A-Za-z0-9_+/-]{1,64}$", "Of the IANA time zone data base: `Asia/Shanghai`.";
    /// A country's calling code.
    CountryCode = "^[1-9][0-9]{0,2}$", "A calling code without a plus: `86`.";
    /// The SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` prints it.
    FingerprintText = "^[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}$",
        "64 hexadecimal digits, with or without a colon between two of them.";
    /// An address or a network.
    NetworkText = "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$", "An IP address, or a network: `192.0.2.0/24`.";
    /// Where calls are sent.
    PlaceText = "^[0-9A-Za-z:.\\[\\]_-]{1,262}$", "`address:port`, `name` or `name:port`.";
    /// Where a receiver listens.
    ReceiverUrl = "^https?://[^\\u0000-\\u0020\\u007f-\\u009f]{1,992}$",
        "`https`, a public host name, port 443 or 8443.";
    /// The name of an account.
    Username = "^[!#-\\[\\]-~]{1,128}$", "Visible characters but quotes and backslashes.";
    /// What HMAC-SHA-256 gives.
    HexDigest = "^[0-9a-f]{64}$", "64 hexadecimal digits.";
    /// A password of an account.
    Password = "^[\\s\\S]{1,128}$", "What the peer has given.";
}

/// What a call may be said to be for.
#[derive(Debug)]
pub(super) struct PurposeWord;

impl PartialSchema for PurposeWord {
    fn schema() -> RefOr<Schema> {
        one_of(Purpose::ALL.iter().map(|purpose| purpose.label()))
    }
}

impl ToSchema for PurposeWord {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("PurposeWord")
    }
}

/// All purposes that can be named, for whoever has named another.
pub(super) fn purposes() -> String {
    Purpose::ALL.iter().map(|purpose| purpose.label()).collect::<Vec<_>>().join(", ")
}

/// An operation that a key may use.
#[derive(Debug)]
pub(super) struct Scope;

impl PartialSchema for Scope {
    fn schema() -> RefOr<Schema> {
        let mut scopes: Vec<_> = OPERATIONS.iter().map(|row| row.scope).collect();
        scopes.sort_unstable();
        scopes.dedup();
        one_of(scopes)
    }
}

impl ToSchema for Scope {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Scope")
    }
}

impl PartialSchema for EventKind {
    fn schema() -> RefOr<Schema> {
        one_of(Self::ALL.iter().map(|kind| kind.label()))
    }
}

impl ToSchema for EventKind {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("EventKind")
    }
}

/// One of these words.
pub(super) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
}
