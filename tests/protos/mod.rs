//! Broken INVITEs in the manner of PROTOS c07-sip: one valid message, of which one field at a time
//! is replaced by each anomaly. The same number always makes the same message.

mod anomalies;
mod fields;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use anomalies::{Anomaly, anomalies};
use fields::{FIELDS, Part};

/// The longest payload of a UDP datagram over IPv4.
pub(crate) const DATAGRAM_MAX: usize = 65_507;
/// Chance in anomalies comes from here and from the number of the case.
const SEED: u64 = 0x0c07;

/// One message that is wrong in one place.
pub(crate) struct Case {
    pub(crate) number: usize,
    pub(crate) field: &'static str,
    pub(crate) anomaly: String,
    pub(crate) bytes: Vec<u8>,
    may_be_silent: bool,
}

/// Who sends the messages, and whom they call.
pub(crate) struct Setting<'a> {
    pub(crate) local: &'a str,
    pub(crate) agent: &'a str,
    pub(crate) virtual_number: &'a str,
}

impl Case {
    /// For a failure: what was sent.
    pub(crate) fn name(&self) -> String {
        format!("case {}: {} with {}", self.number, self.field, self.anomaly)
    }

    /// Whether Via, From, To, Call-ID and CSeq are as they should be, so that it must be answered.
    pub(crate) fn must_be_answered(&self) -> bool {
        !self.may_be_silent
    }
}

fn call_id(number: usize) -> String {
    format!("case-{number}-end")
}

/// The message without any anomaly.
pub(crate) fn valid(setting: &Setting<'_>, number: usize) -> Vec<u8> {
    render(setting, number, usize::MAX, &Anomaly::behind(b"")).0
}

/// All cases, made one by one.
pub(crate) fn cases<'a>(setting: &'a Setting<'a>) -> impl Iterator<Item = Case> + 'a {
    let changed = FIELDS.iter().enumerate().filter(|(_, (name, _))| !name.is_empty());
    let pairs = changed.flat_map(|(at, (field, _))| {
        anomalies().into_iter().map(move |anomaly| (at, *field, anomaly))
    });
    pairs.enumerate().map(|(number, (at, field, anomaly))| {
        let (bytes, breaks_lines) = render(setting, number, at, &anomaly);
        let ties = ["via", "from", "to ", "call-id", "cseq", "line"];
        let may_be_silent = breaks_lines || ties.iter().any(|tie| field.starts_with(tie));
        Case { number, field, anomaly: anomaly.name, bytes, may_be_silent }
    })
}

/// The message whose part at `broken` is changed, and whether that may end a line.
fn render(
    setting: &Setting<'_>,
    number: usize,
    broken: usize,
    anomaly: &Anomaly,
) -> (Vec<u8>, bool) {
    let fill = |text: &str| {
        text.replace("{x}", setting.virtual_number)
            .replace("{local}", setting.local)
            .replace("{agent}", setting.agent)
            .replace("{call-id}", &call_id(number))
            .replace("{n}", &number.to_string())
            .into_bytes()
    };
    let mut texts: Vec<Vec<u8>> = FIELDS.iter().map(|(_, part)| fill(part.text())).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(SEED + number as u64);
    let mut breaks_lines = false;
    if let Some(text) = texts.get_mut(broken) {
        *text = anomaly.apply(text, &mut rng);
        breaks_lines = text.contains(&b'\r') || text.contains(&b'\n');
    }
    let rest: usize = texts.iter().map(Vec::len).sum::<usize>() + 5;
    if let Some(text) = texts.get_mut(broken) {
        // The longest anomalies grow as long as a datagram lets them.
        text.truncate(text.len().saturating_sub(rest.saturating_sub(DATAGRAM_MAX)));
    }
    let is_body = |part: &Part| matches!(part, Part::Body(_));
    let with_parts = || FIELDS.iter().map(|(_, part)| part).zip(&texts);
    let body: usize = with_parts().filter(|(part, _)| is_body(part)).map(|(_, it)| it.len()).sum();
    let mut bytes = vec![];
    for (at, (part, text)) in with_parts().enumerate() {
        match part {
            Part::Length(_) if at != broken => bytes.extend(body.to_string().into_bytes()),
            Part::Length(_) | Part::Head(_) | Part::Body(_) => bytes.extend_from_slice(text),
        }
    }
    (bytes, breaks_lines)
}
