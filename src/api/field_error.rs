//! One wrong place in a request: where, by which rule, and the rule in words. It never holds what
//! was there.

use std::borrow::Cow;

use super::error::{Language, ProblemField};
use crate::domain::number::InvalidNumber;

/// The longest name of a client's own field that a pointer repeats.
const SEGMENT_CHARS_MAX: usize = 40;

/// A broken rule. Bounds are ours and may be told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rule {
    /// The object has no such field.
    UnknownField,
    /// A field that must be there is not.
    Missing,
    /// Another JSON type is wanted.
    WrongType,
    /// The field comes twice.
    Duplicate,
    /// Not one of the values that are allowed, which are these.
    NotAllowed(Cow<'static, str>),
    /// The value breaks the rule of this kind of field.
    Invalid,
    /// Outside these bounds.
    OutOfRange(i64, i64),
    /// The text (or list) has not from this many to that many characters (or items).
    Length(usize, usize),
    /// Not a telephone number.
    Number(InvalidNumber),
    /// Not an identifier of this kind.
    InvalidId,
    /// Nothing that this key may see has this identifier.
    UnknownReference,
    /// Not an RFC 3339 time with an offset, or too far away.
    InvalidTime,
    /// The end is not after the start, or has passed.
    TimeOrder,
    /// Not an address, a network, or an address with a port.
    InvalidAddress,
    /// Designed, but not built yet.
    NotSupportedYet,
    /// Exactly one of several fields is wanted.
    ExactlyOne,
    /// The tenant does not take real numbers.
    RealNumberNotAccepted,
    /// One of our virtual numbers stands where a subscriber's own must.
    NumberVirtual,
    /// The value is taken by another.
    Taken,
    /// Not the URL of a receiver that deliveries may reach.
    ReceiverUrl,
    /// A real number stands where none may.
    RealNumberHere,
}

impl Rule {
    /// The stable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownField => "unknown_field",
            Self::Missing => "missing",
            Self::WrongType => "wrong_type",
            Self::Duplicate => "duplicate",
            Self::NotAllowed(_) => "not_allowed",
            Self::Invalid => "invalid",
            Self::OutOfRange(..) => "out_of_range",
            Self::Length(..) => "length",
            Self::Number(rule) => rule.code(),
            Self::InvalidId => "invalid_id",
            Self::UnknownReference => "unknown_reference",
            Self::InvalidTime => "invalid_time",
            Self::TimeOrder => "time_order",
            Self::InvalidAddress => "invalid_address",
            Self::NotSupportedYet => "not_supported_yet",
            Self::ExactlyOne => "exactly_one",
            Self::RealNumberNotAccepted => "real_number_not_accepted",
            Self::NumberVirtual => "number_virtual",
            Self::Taken => "taken",
            Self::ReceiverUrl => "receiver_url",
            Self::RealNumberHere => "real_number_here",
        }
    }

    fn english(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::UnknownField => "There is no such field.",
            Self::Missing => "The field is missing.",
            Self::WrongType => "The value has the wrong JSON type.",
            Self::Duplicate => "The field comes twice.",
            Self::NotAllowed(allowed) => return format!("Must be one of: {allowed}.").into(),
            Self::Invalid => "The value is invalid.",
            Self::OutOfRange(min, max) => return format!("Must be from {min} to {max}.").into(),
            Self::Length(min, max) => return format!("The length must be {min} to {max}.").into(),
            Self::Number(rule) => return format!("The number {rule}.").into(),
            Self::InvalidId => "This is no identifier of the wanted kind.",
            Self::UnknownReference => "Nothing is known by this identifier.",
            Self::InvalidTime => "Must be an RFC 3339 time with an offset, before the year 9000.",
            Self::TimeOrder => "Must be later than the start, and in the future.",
            Self::InvalidAddress => "Must be an IP address, a network or address:port.",
            Self::NotSupportedYet => "This version does not support that yet.",
            Self::ExactlyOne => "Exactly one of the alternatives must be given.",
            Self::RealNumberNotAccepted => "This tenant names subscribers by id only.",
            Self::NumberVirtual => "Must be the subscriber's own number, not a virtual one.",
            Self::Taken => "The value is taken.",
            Self::ReceiverUrl => "Must be https, a public host name, and port 443 or 8443.",
            Self::RealNumberHere => "A real number may not stand here.",
        })
    }

    fn chinese(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::UnknownField => "没有此字段。",
            Self::Missing => "缺少此字段。",
            Self::WrongType => "JSON 类型错误。",
            Self::Duplicate => "字段重复。",
            Self::NotAllowed(allowed) => return format!("必须是以下之一：{allowed}。").into(),
            Self::Invalid => "值无效。",
            Self::OutOfRange(min, max) => return format!("必须在 {min} 到 {max} 之间。").into(),
            Self::Length(min, max) => return format!("长度必须为 {min} 到 {max}。").into(),
            Self::Number(rule) => match rule {
                InvalidNumber::PlusMissing => "号码必须以 + 和国家代码开头。",
                InvalidNumber::TooShort => "号码位数过少。",
                InvalidNumber::TooLong => "号码超过 15 位。",
                InvalidNumber::NotADigit => "号码含有非数字字符。",
                InvalidNumber::LeadingZero => "+ 之后不能为 0。",
            },
            Self::InvalidId => "不是该类资源的编号。",
            Self::UnknownReference => "没有该编号对应的资源。",
            Self::InvalidTime => "必须是带时区且早于 9000 年的 RFC 3339 时间。",
            Self::TimeOrder => "必须晚于开始时间且在将来。",
            Self::InvalidAddress => "必须是 IP 地址、网段或 地址:端口。",
            Self::NotSupportedYet => "当前版本暂不支持。",
            Self::ExactlyOne => "必须且只能提供其中之一。",
            Self::RealNumberNotAccepted => "该租户只能以用户编号引用用户。",
            Self::NumberVirtual => "必须是用户本人的号码，不能是虚拟号码。",
            Self::Taken => "该值已被占用。",
            Self::ReceiverUrl => "必须是 https、公网域名，端口为 443 或 8443。",
            Self::RealNumberHere => "此处不能填写真实号码。",
        })
    }
}

/// A place and the rule it breaks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldError {
    pointer: String,
    rule: Rule,
}

impl FieldError {
    /// `pointer` is ours (a literal, or indices put into one): see [`FieldError::at_path`] for a
    /// client's.
    #[must_use]
    pub fn new(pointer: impl Into<String>, rule: Rule) -> Self {
        Self { pointer: pointer.into(), rule }
    }

    /// Builds the pointer from names that may be a client's own. It ends before the first one that
    /// is not plain lower case: a field name can hold somebody's number as well as a value can.
    #[must_use]
    pub fn at_path<'a>(segments: impl Iterator<Item = Segment<'a>>, rule: Rule) -> Self {
        let mut pointer = String::new();
        for segment in segments {
            match segment {
                Segment::Index(index) => pointer.push_str(&format!("/{index}")),
                Segment::Name(name) if is_plain(name) => {
                    pointer.push('/');
                    pointer.push_str(name);
                }
                Segment::Name(_) => break,
            }
        }
        Self { pointer, rule }
    }

    /// Puts `prefix` before the pointer.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.pointer.insert_str(0, prefix);
        self
    }

    /// This place breaks this rule.
    #[must_use]
    pub fn is(&self, pointer: &str, rule: &Rule) -> bool {
        self.pointer == pointer && self.rule == *rule
    }

    /// Where.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Which rule.
    #[must_use]
    pub const fn rule(&self) -> &Rule {
        &self.rule
    }

    /// As told to the client.
    #[must_use]
    pub fn body(&self, language: Language) -> ProblemField {
        let message = match language {
            Language::En => self.rule.english(),
            Language::Zh => self.rule.chinese(),
        };
        ProblemField {
            pointer: self.pointer.clone(),
            code: self.rule.code(),
            message: message.into_owned(),
        }
    }
}

/// One step of a JSON Pointer.
#[derive(Clone, Copy, Debug)]
pub enum Segment<'a> {
    /// Into an object.
    Name(&'a str),
    /// Into a list.
    Index(usize),
}

fn is_plain(name: &str) -> bool {
    (1..=SEGMENT_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_ends_before_a_name_that_could_be_a_number() {
        let segments =
            [Segment::Name("metadata"), Segment::Name("+8613800000000"), Segment::Index(1)];
        let error = FieldError::at_path(segments.into_iter(), Rule::WrongType);
        assert_eq!(error.pointer(), "/metadata");
    }
}
