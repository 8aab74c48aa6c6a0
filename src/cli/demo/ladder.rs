//! The SIP ladder of one call: what both phones sent and received, in order of time, with every
//! number but X masked.

use std::io::{self, Write};
use std::time::Duration;

use crate::domain::number::RealNumber;

/// The outer columns; maskline stands between them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Column {
    /// The insurer's side.
    Agent,
    /// The public network's side.
    Subscriber,
}

/// One message as a phone saw it.
#[derive(Clone, Debug)]
pub struct Rung {
    /// Since the first message.
    pub at: Duration,
    /// Between maskline and whom.
    pub column: Column,
    /// Towards maskline, or from it.
    pub towards_relay: bool,
    /// All of the message.
    pub text: String,
}

const ARROW_CHARS: usize = 34;

/// Writes the ladder.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut impl Write, rungs: &[Rung], virtual_number: &str) -> io::Result<()> {
    let gap = " ".repeat(ARROW_CHARS);
    let head = format!("{:<w$}maskline{:>w$}", "agent", "subscriber", w = ARROW_CHARS - 2);
    writeln!(out, "       ms  {head}")?;
    for rung in rungs {
        let arrow = arrow(&label(&rung.text, virtual_number), points_right(rung));
        let line = match rung.column {
            Column::Agent => format!("|{arrow}|{gap}|"),
            Column::Subscriber => format!("|{gap}|{arrow}|"),
        };
        writeln!(out, "{:>9.1}  {line}", rung.at.as_secs_f64() * 1_000.0)?;
    }
    Ok(())
}

fn points_right(rung: &Rung) -> bool {
    match rung.column {
        Column::Agent => rung.towards_relay,
        Column::Subscriber => !rung.towards_relay,
    }
}

fn arrow(label: &str, right: bool) -> String {
    let line = "-".repeat(ARROW_CHARS.saturating_sub(label.chars().count() + 4));
    if right { format!("- {label} {line}>") } else { format!("<- {label} {line}") }
}

/// Method and dialled user, or status and whose answer it is.
fn label(message: &str, virtual_number: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default();
    if method == "SIP/2.0" {
        let status = words.next().unwrap_or_default();
        let of = header(message, "CSeq").split(' ').next_back().unwrap_or_default().trim();
        return format!("{status} ({of})");
    }
    let uri = words.next().unwrap_or_default();
    let user = uri.strip_prefix("sip:").and_then(|rest| rest.split_once('@'));
    match user {
        Some((user, _)) => format!("{method} {}", shown(user, virtual_number)),
        None => method.to_owned(),
    }
}

/// X is shown; a number that could be somebody's is masked; anything else is only named by kind.
fn shown(user: &str, virtual_number: &str) -> String {
    if user.trim_start_matches('+') == virtual_number {
        return user.to_owned();
    }
    RealNumber::parse_dialled(user, "86").map_or_else(|_| "(contact)".to_owned(), |n| n.masked())
}

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let found = message.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value)
    });
    found.unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(column: Column, towards_relay: bool, text: &str) -> Rung {
        Rung { at: Duration::from_millis(12), column, towards_relay, text: text.to_owned() }
    }

    fn written(rungs: &[Rung]) -> String {
        let mut out = Vec::new();
        write(&mut out, rungs, "17000000001").expect("a vector takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_real_number_is_masked_and_x_is_not() {
        let text = written(&[
            rung(Column::Agent, true, "INVITE sip:17000000001@a SIP/2.0\r\n\r\n"),
            rung(Column::Subscriber, false, "INVITE sip:+8613800001234@b SIP/2.0\r\n\r\n"),
        ]);
        assert!(text.contains("|- INVITE 17000000001 -"), "{text}");
        assert!(text.contains("|- INVITE 138****1234 -"), "{text}");
        assert!(!text.contains("13800001234"), "{text}");
    }

    #[test]
    fn every_rung_is_equally_wide() {
        let text = written(&[
            rung(Column::Agent, false, "SIP/2.0 180 Ringing\r\nCSeq: 1 INVITE\r\n\r\n"),
            rung(Column::Subscriber, true, "BYE sip:m@a SIP/2.0\r\n\r\n"),
        ]);
        let widths: Vec<usize> = text.lines().skip(1).map(str::len).collect();
        assert_eq!(widths, [82, 82], "{text}");
        assert!(text.contains("|<- 180 (INVITE) -"), "{text}");
    }
}
