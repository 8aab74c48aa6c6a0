//! Session timers: RFC 4028. A session ends unless one side refreshes it in time; who does so is
//! agreed in each INVITE and UPDATE anew.

use std::time::{Duration, Instant};

use super::header::HeaderId;
use super::lex;
use super::message::Message;
use super::method::Method;
use super::reliable::lists_option;

/// The option tag.
pub const OPTION: &str = "timer";
/// The least interval that anybody may ask for, in seconds (§5).
pub const MIN_SE_S: u32 = 90;
/// So long before the end at the latest it is given up (§10).
const MARGIN_S_MAX: u32 = 32;

/// Who refreshes, by its role in the transaction that agreed on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refresher {
    /// Who has sent the request.
    Uac,
    /// Who has answered it.
    Uas,
}

/// The interval of a session and who refreshes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    /// In seconds.
    pub interval_s: u32,
    /// Who refreshes.
    pub refresher: Refresher,
}

impl Terms {
    /// As in Session-Expires.
    #[must_use]
    pub fn value(self) -> String {
        let refresher = match self.refresher {
            Refresher::Uac => "uac",
            Refresher::Uas => "uas",
        };
        format!("{};refresher={refresher}", self.interval_s)
    }
}

/// How a request that may begin or refresh a session is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// 422.
    TooSmall,
    /// Without a timer.
    Off,
    /// With these terms in the 2xx.
    On(Terms),
}

/// Decides on a request by table 2 of §9. `usual_s` is asked of a peer that only supports it, and
/// is the longest interval beside what a peer must have.
#[must_use]
pub fn decide(request: &Message, usual_s: u32) -> Decision {
    let supports = lists_option(request, HeaderId::Supported, OPTION)
        || lists_option(request, HeaderId::Require, OPTION);
    let least = find_min_se(request).unwrap_or(MIN_SE_S).max(MIN_SE_S);
    let most = usual_s.max(least);
    match read_session_expires(request) {
        // Somebody on the way asks for what the peer itself cannot be told.
        Some((interval_s, _)) if interval_s < MIN_SE_S && !supports => Decision::Off,
        Some((interval_s, _)) if interval_s < MIN_SE_S => Decision::TooSmall,
        Some((interval_s, refresher)) => Decision::On(Terms {
            interval_s: interval_s.min(most),
            refresher: match refresher {
                Some(refresher) if supports => refresher,
                None if supports => Refresher::Uac,
                Some(_) | None => Refresher::Uas,
            },
        }),
        None if supports => Decision::On(Terms { interval_s: most, refresher: Refresher::Uas }),
        None => Decision::Off,
    }
}

/// What a 2xx to a request of ours says; `None` when there is no timer.
#[must_use]
pub fn agreed(response: &Message) -> Option<Terms> {
    let (interval_s, refresher) = read_session_expires(response)?;
    let refresher = refresher.unwrap_or(Refresher::Uac);
    Some(Terms { interval_s: interval_s.max(MIN_SE_S), refresher })
}

/// The least interval that a 422 or a request demands.
#[must_use]
pub fn find_min_se(message: &Message) -> Option<u32> {
    let value = message.header(HeaderId::MinSe)?;
    read_seconds(value.split(|byte| *byte == b';').next()?)
}

/// Whether a peer says that it takes UPDATE.
#[must_use]
pub fn takes_update(message: &Message) -> bool {
    lists_option(message, HeaderId::Allow, Method::Update.name())
}

fn read_session_expires(message: &Message) -> Option<(u32, Option<Refresher>)> {
    let mut parts = message.header(HeaderId::SessionExpires)?.split(|byte| *byte == b';');
    let interval_s = read_seconds(parts.next()?)?;
    let refresher = parts.find_map(|part| {
        let mut sides = part.splitn(2, |byte| *byte == b'=').map(lex::trim);
        sides.next().filter(|name| name.eq_ignore_ascii_case(b"refresher"))?;
        match sides.next()? {
            value if value.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
            value if value.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
            _ => None,
        }
    });
    Some((interval_s, refresher))
}

fn read_seconds(text: &[u8]) -> Option<u32> {
    let text = lex::trim(text);
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

/// The timer of one dialog as it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Clock {
    /// In seconds.
    pub interval_s: u32,
    /// We refresh, and not the peer.
    pub is_ours: bool,
    /// When we do so next.
    pub refresh_at: Instant,
    /// When it is given up.
    pub ends_at: Instant,
}

impl Clock {
    /// Agreed on just now.
    #[must_use]
    pub fn new(now: Instant, interval_s: u32, is_ours: bool) -> Self {
        let seconds = |count: u32| Duration::from_secs(u64::from(count));
        let margin_s = MARGIN_S_MAX.min(interval_s / 3);
        Self {
            interval_s,
            is_ours,
            refresh_at: now + seconds(interval_s / 2),
            ends_at: now + seconds(interval_s - margin_s),
        }
    }

    /// When something has to happen.
    #[must_use]
    pub fn due_at(&self) -> Instant {
        if self.is_ours { self.refresh_at.min(self.ends_at) } else { self.ends_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message(lines: &str) -> Message {
        let text = format!(
            "INVITE sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\n\
             From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{lines}\r\n"
        );
        Message::parse(Bytes::from(text)).expect("a valid message")
    }

    fn on(interval_s: u32, refresher: Refresher) -> Decision {
        Decision::On(Terms { interval_s, refresher })
    }

    #[test]
    fn each_request_is_answered_as_the_table_of_the_rfc_says() {
        let supports = "Supported: 100rel, Timer\r\n";
        let rows = [
            ("".to_owned(), Decision::Off),
            (supports.into(), on(1_800, Refresher::Uas)),
            (format!("{supports}Min-SE: 3600\r\n"), on(3_600, Refresher::Uas)),
            (format!("{supports}Session-Expires: 600\r\n"), on(600, Refresher::Uac)),
            (format!("{supports}x: 600 ; refresher = UAS\r\n"), on(600, Refresher::Uas)),
            (format!("{supports}x: 600;refresher=uac\r\n"), on(600, Refresher::Uac)),
            (format!("{supports}x: 600;refresher=me\r\n"), on(600, Refresher::Uac)),
            ("x: 600;refresher=uac\r\n".into(), on(600, Refresher::Uas)),
            (format!("{supports}x: 9999\r\n"), on(1_800, Refresher::Uac)),
            (format!("{supports}x: 9999\r\nMin-SE: 2000\r\n"), on(2_000, Refresher::Uac)),
            (format!("{supports}x: 89\r\n"), Decision::TooSmall),
            ("x: 89\r\n".into(), Decision::Off),
            (format!("{supports}x: +600\r\n"), on(1_800, Refresher::Uas)),
            ("Require: timer\r\nx: 600\r\n".into(), on(600, Refresher::Uac)),
        ];
        for (lines, decision) in rows {
            assert_eq!(decide(&message(&lines), 1_800), decision, "{lines}");
        }
    }

    #[test]
    fn a_session_is_refreshed_at_its_half_and_given_up_shortly_before_its_end() {
        let now = crate::sip::tests::epoch();
        let after = |at: Instant| (at - now).as_secs();
        let clock = Clock::new(now, 1_800, true);
        assert_eq!((after(clock.due_at()), after(clock.ends_at)), (900, 1_768));
        assert_eq!(after(Clock::new(now, 90, false).due_at()), 60);
    }

    #[test]
    fn too_short_an_interval_in_an_answer_is_no_reason_to_hurry() {
        let terms = agreed(&message("Session-Expires: 1;refresher=uas\r\n"));
        assert_eq!(terms, Some(Terms { interval_s: 90, refresher: Refresher::Uas }));
        assert_eq!(agreed(&message("")), None);
    }
}
