//! The overload control of Via (RFC 7339, loss-based): what a server asks of those who send to it,
//! from hop to hop. Whether somebody may ask anything is decided above.

use bytes::BytesMut;

use super::lex;
use super::via::Via;
use super::write::put_decimal;

/// What our Via says to peers that may ask us to send less.
pub const OFFER: &str = ";oc;oc-algo=\"loss\"";

/// How long a control holds that does not say so (§4.3).
const VALIDITY_USUAL_MS: u32 = 500;
/// The one algorithm that we know, and that all know who know any.
const LOSS: &[u8] = b"loss";
/// The parameters of a Via value that belong to it.
const NAMES: [&[u8]; 4] = [b"oc", b"oc-algo", b"oc-validity", b"oc-seq"];
/// Digits of an `oc-seq` (§9).
const SEQ_DIGITS_MAX: usize = 12;
const FRACTION_DIGITS_MAX: usize = 5;
/// Of 10^-5 in one.
const STEPS: u32 = 100_000;

/// What a server asks: so many of a hundred new requests are not to be sent to it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Control {
    /// Of a hundred; 0 to 100.
    pub loss_percent: u8,
    /// For how long. Zero: nothing is asked any more.
    pub validity_ms: u32,
    /// Later ones are higher; an older control that arrives behind a newer one does not count.
    pub seq: Seq,
}

/// The place of a control among all of one server: a time, for most.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Seq {
    whole: u64,
    /// In steps of 10^-5.
    fraction: u32,
}

impl Seq {
    /// A time as milliseconds.
    #[must_use]
    pub const fn of_ms(ms: u64) -> Self {
        Self { whole: ms / 1_000 % 10_u64.pow(12), fraction: (ms % 1_000 * 100) as u32 }
    }

    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.fraction + 1 {
            STEPS.. => Self { whole: self.whole + 1, fraction: 0 },
            fraction => Self { fraction, ..self },
        }
    }

    fn read(text: &[u8]) -> Option<Self> {
        let (whole, rest) = lex::split_digits(text);
        let fraction = match rest {
            [] => &b"0"[..],
            [b'.', fraction @ ..] => fraction,
            [_, ..] => return None,
        };
        if whole.len() > SEQ_DIGITS_MAX || fraction.len() > FRACTION_DIGITS_MAX {
            return None;
        }
        let steps = u32::try_from(lex::decimal(fraction, u64::from(u32::MAX))?).ok()?;
        let scale = 10_u32.pow((FRACTION_DIGITS_MAX - fraction.len()) as u32);
        Some(Self { whole: lex::decimal(whole, u64::MAX)?, fraction: steps * scale })
    }
}

impl Control {
    /// What a response asks of us; `None` where it asks nothing that counts: no value, more than
    /// all, another algorithm than the one we have offered, no place in an order.
    #[must_use]
    pub fn read(via: &Via<'_>) -> Option<Self> {
        // Nearly all responses bring our own offer back, which has no value.
        via.oc.filter(|whole| whole.contains(&b'='))?;
        let (mut loss, mut seq, mut validity_ms) = (None, None, VALIDITY_USUAL_MS);
        for (name, value, _) in via.params() {
            match place_of(name) {
                Some(0) => loss = Some(lex::decimal(value?, 100)?),
                Some(1) if !names_loss(value?) => return None,
                Some(2) => validity_ms = read_ms(value?)?,
                Some(3) => seq = Some(Seq::read(value?)?),
                Some(_) | None => {}
            }
        }
        Some(Self { loss_percent: u8::try_from(loss?).ok()?, validity_ms, seq: seq? })
    }

    /// Whether who sends a request with this Via on top wants to know (§5.2).
    #[must_use]
    pub fn is_wanted(via: &Via<'_>) -> bool {
        via.oc.is_some()
            && via
                .params()
                .all(|(name, value, _)| place_of(name) != Some(1) || value.is_some_and(names_loss))
    }

    /// The parameters of a Via value in whose place a control is written.
    pub(super) fn marks<'a>(via: &Via<'a>) -> [Option<&'a [u8]>; NAMES.len()] {
        let mut marks = [None; NAMES.len()];
        for (name, _, whole) in via.params() {
            if let Some(mark) = place_of(name).and_then(|place| marks.get_mut(place)) {
                *mark = Some(whole);
            }
        }
        marks
    }

    /// Writes it, as parameters of a Via value.
    pub(super) fn put(self, out: &mut BytesMut) {
        out.extend_from_slice(b";oc=");
        put_decimal(out, u64::from(self.loss_percent));
        out.extend_from_slice(b";oc-algo=\"loss\";oc-validity=");
        put_decimal(out, u64::from(self.validity_ms));
        out.extend_from_slice(b";oc-seq=");
        put_decimal(out, self.seq.whole);
        out.extend_from_slice(format!(".{:05}", self.seq.fraction).as_bytes());
    }
}

fn place_of(name: &[u8]) -> Option<usize> {
    NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))
}

/// More than fits is for ever as far as we care.
fn read_ms(text: &[u8]) -> Option<u32> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| lex::decimal(text, u64::from(u32::MAX)).map_or(u32::MAX, |ms| ms as u32))
}

/// A list of algorithms in quotes.
fn names_loss(value: &[u8]) -> bool {
    let list = value.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
    let mut words = list.unwrap_or(value).split(|byte| *byte == b',').map(lex::trim);
    words.any(|word| word.eq_ignore_ascii_case(LOSS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(params: &str) -> String {
        format!("SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKx{params}")
    }

    fn read(params: &str) -> Option<(u8, u32)> {
        let control = Control::read(&Via::parse(via(params).as_bytes()).expect("a Via"))?;
        Some((control.loss_percent, control.validity_ms))
    }

    #[test]
    fn a_control_is_read_as_the_rfc_writes_it_and_nothing_else_is_one() {
        let usual = ";oc=20;oc-algo=\"loss\";oc-validity=500;oc-seq=1282321615.782";
        assert_eq!(read(usual), Some((20, 500)));
        assert_eq!(read(";OC=0;oc-validity=0;oc-seq=1.0;rport=1"), Some((0, 0)));
        assert_eq!(read("; oc = 100 ;oc-seq=7"), Some((100, 500)), "the usual validity");
        assert_eq!(read(";oc=1;oc-validity=99999999999;oc-seq=1.1"), Some((1, u32::MAX)));
        for nothing in [
            "",
            ";oc;oc-algo=\"loss\"",
            ";oc=101;oc-seq=1.0",
            ";oc=x;oc-seq=1.0",
            ";oc=20",
            ";oc=20;oc-seq=1.x",
            ";oc=20;oc-seq=1234567890123.0",
            ";oc=20;oc-seq=1.123456",
            ";oc=20;oc-algo=\"rate\";oc-seq=1.0",
            ";oc=20;oc-validity;oc-seq=1.0",
            ";oc=20;oc-validity=-1;oc-seq=1.0",
            ";oc-validity=500;oc-seq=1.0",
        ] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn who_names_another_algorithm_alone_wants_no_control_of_ours() {
        let wants =
            |params: &str| Control::is_wanted(&Via::parse(via(params).as_bytes()).expect("a Via"));
        assert!(wants(";oc") && wants(OFFER) && wants(";oc;oc-algo=\"rate, loss\""));
        assert!(!wants("") && !wants(";oc;oc-algo=\"rate\"") && !wants(";oc-algo=\"loss\""));
    }

    #[test]
    fn what_is_written_is_read_back_and_later_ones_are_higher() {
        let mut out = BytesMut::new();
        let seq = Seq::of_ms(1_800_000_000_007);
        let control = Control { loss_percent: 37, validity_ms: 500, seq };
        control.put(&mut out);
        let text = via(std::str::from_utf8(&out).expect("text"));
        assert_eq!(Control::read(&Via::parse(text.as_bytes()).expect("a Via")), Some(control));
        assert!(text.ends_with(";oc-seq=1800000000.00700"), "{text}");
        assert!(Seq::of_ms(1_800_000_000_008) > seq && Seq::read(b"1800000000.1") > Some(seq));
        assert!(Seq::read(b"1800000000.00699") < Some(seq));
    }
}
