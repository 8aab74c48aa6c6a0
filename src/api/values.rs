//! Values inside bodies: identifiers, times, and the real number, which is parsed while it is read
//! so that no text of it stays behind.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{KnownFormat, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::error::{ApiError, Code};
use super::field_error::{FieldError, Rule};
use super::free_text::{holds_a_number, is_a_mobile_number};
use crate::domain::id;
use crate::domain::number::{InvalidNumber, RealNumber, VirtualNumber};

/// What the error text of a value of ours begins with; `extract` reads the rule after it.
pub(super) const RULE_MARK: &str = "rule:";

/// How a text looks, for the OpenAPI file.
pub(super) fn text_schema(pattern: &str, description: Option<&str>) -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    text.description(description).into()
}

/// An identifier of the domain with its prefix.
pub trait PublicId: Copy + fmt::Display + 'static {
    /// Reads the text form.
    fn find(text: &str) -> Option<Self>;
}

macro_rules! public_ids {
    ($($name:ident)+) => {$(
        impl PublicId for id::$name {
            fn find(text: &str) -> Option<Self> {
                Self::parse(text).ok()
            }
        }

        impl PartialSchema for id::$name {
            fn schema() -> RefOr<Schema> {
                text_schema(&format!("^{}_[0-9a-f]{{32}}$", Self::PREFIX), None)
            }
        }

        impl ToSchema for id::$name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    )+};
}

public_ids! {
    TenantId ApiKeyId AgentId TrunkId PoolId NumberId SubscriberId BindingId CallId IntentId
    RecordingId EventId WebhookId DeliveryId ImportId
}

/// An identifier in a body.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Id<T>(pub T);

impl<T: PublicId> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: PublicId> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(|text| T::find(text).map(Self).ok_or("invalid_id")))
    }
}

/// The first second of the year 9000, in Unix time: later moments are refused, so that a term
/// counted from one still ends within the calendar.
const TIME_END_S: i64 = 221_845_392_000;

/// A moment: RFC 3339 with an offset, kept to the microsecond as the store does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Time(pub SystemTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Timestamp::try_from(self.0) {
            Ok(timestamp) => serializer.collect_str(&timestamp),
            Err(_) => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(|text| {
            let timestamp: Timestamp = text.parse().map_err(|_| "invalid_time")?;
            if timestamp.as_second() >= TIME_END_S {
                return Err("invalid_time");
            }
            // The store keeps microseconds: what is read back must equal what was sent.
            let rounded = Timestamp::from_microsecond(timestamp.as_microsecond());
            Ok(Self(rounded.map_err(|_| "invalid_time")?.into()))
        }))
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Time {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Time")
    }
}

/// A real number in a body. It is parsed straight from the bytes of the body; there is never a
/// `String` of it, and an invalid one keeps only the broken rule. (The bytes are wiped by
/// `extract`.)
#[derive(Debug)]
pub struct RealNumberField(Result<RealNumber, InvalidNumber>);

impl RealNumberField {
    /// The number, or a field error at `pointer`.
    ///
    /// # Errors
    /// [`Code::ValidationFailed`] naming the rule.
    pub fn into_number(self, pointer: &str) -> Result<RealNumber, ApiError> {
        self.0.map_err(|rule| FieldError::new(pointer, Rule::Number(rule)).into())
    }
}

impl<'de> Deserialize<'de> for RealNumberField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(|text| Ok(Self(RealNumber::parse(text)))))
    }
}

impl PartialSchema for RealNumberField {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^\\+[1-9][0-9]{4,14}$"))
            .write_only(true)
            .description(Some("The subscriber's own number in E.164 form. Never given back."))
            .into()
    }
}

impl ToSchema for RealNumberField {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("RealNumber")
    }
}

/// A virtual number in a body.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct VirtualNumberField(pub VirtualNumber);

impl<'de> Deserialize<'de> for VirtualNumberField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(|text| {
            VirtualNumber::parse(text).map(Self).map_err(InvalidNumber::code)
        }))
    }
}

impl Serialize for VirtualNumberField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl PartialSchema for VirtualNumberField {
    fn schema() -> RefOr<Schema> {
        text_schema("^\\+?[0-9]{3,15}$", Some("The number that both sides see."))
    }
}

impl ToSchema for VirtualNumberField {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("VirtualNumber")
    }
}

/// Reads a text by a function that names the broken rule.
struct Text<T>(fn(&str) -> Result<T, &'static str>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(|rule| E::custom(format_args!("{RULE_MARK}{rule}")))
    }
}

/// A JSON object. serde would also read a list into a struct, field by field.
#[derive(Debug, Default)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// For fields of a PATCH that may be set to null: absent is `None`, null is `Some(None)`.
///
/// # Errors
/// Those of `T`.
pub fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Collects every broken rule of a body before anything is done.
#[derive(Debug, Default)]
pub struct Checks(Vec<FieldError>);

impl Checks {
    /// Adds a rule that does not hold.
    pub fn require(&mut self, holds: bool, pointer: &str, rule: Rule) {
        if !holds {
            self.0.push(FieldError::new(pointer, rule));
        }
    }

    /// What people write: from 1 to `chars_max` characters, none of them a control character, and
    /// no number in any spelling.
    pub fn text(&mut self, pointer: &str, text: &str, chars_max: usize) {
        self.key(pointer, text, chars_max);
        self.no_number(pointer, text);
    }

    /// A key of another system, which may look like anything but the number of a mobile phone: as
    /// long as [`Self::text`].
    pub fn key(&mut self, pointer: &str, text: &str, chars_max: usize) {
        let length = text.chars().count();
        self.require((1..=chars_max).contains(&length), pointer, Rule::Length(1, chars_max));
        self.require(!text.chars().any(char::is_control), pointer, Rule::Invalid);
        let is_number = RealNumber::parse(text.trim()).is_ok() || is_a_mobile_number(text);
        self.require(!is_number, pointer, Rule::RealNumberHere);
    }

    /// A real number may enter through its two fields only, whatever a client believes.
    pub fn no_number(&mut self, pointer: &str, text: &str) {
        let told = self.0.iter().any(|error| error.is(pointer, &Rule::RealNumberHere));
        self.require(told || !holds_a_number(text), pointer, Rule::RealNumberHere);
    }

    /// A value, or the rules it breaks.
    pub fn take<T>(&mut self, value: Result<T, ApiError>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.extend_from_slice(error.fields());
                None
            }
        }
    }

    /// [`Self::key`] where there is one.
    pub fn optional_key(&mut self, pointer: &str, text: Option<&str>, chars_max: usize) {
        if let Some(text) = text {
            self.key(pointer, text, chars_max);
        }
    }

    /// [`Self::text`] where there is one.
    pub fn optional_text(&mut self, pointer: &str, text: Option<&str>, chars_max: usize) {
        if let Some(text) = text {
            self.text(pointer, text, chars_max);
        }
    }

    /// Within bounds.
    pub fn range(&mut self, pointer: &str, value: i64, min: i64, max: i64) {
        self.require((min..=max).contains(&value), pointer, Rule::OutOfRange(min, max));
    }

    /// Nothing was broken, or everything that was.
    ///
    /// # Errors
    /// [`Code::ValidationFailed`] with all of it.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::invalid(self.0)) }
    }
}

/// What is designed but not built is told from what is wrong: refuses the first that is used.
pub(super) fn refuse_unsupported(used: &[(bool, &str)]) -> Result<(), ApiError> {
    match used.iter().find(|(is_used, _)| *is_used) {
        Some((_, pointer)) => {
            Err(problem_at(Code::NotSupportedYet, pointer, Rule::NotSupportedYet))
        }
        None => Ok(()),
    }
}

/// A problem of `code` at one pointer.
#[must_use]
pub fn problem_at(code: Code, pointer: &str, rule: Rule) -> ApiError {
    ApiError::at(code, FieldError::new(pointer, rule))
}
