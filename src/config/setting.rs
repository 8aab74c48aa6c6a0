//! How one value is read from TOML or the environment, and shown again.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::{
    Advertised, Listener, Listeners, LogFormat, PerSubject, PortRange, Purposes, Secret,
    SoftphoneDigest, Softphones,
};
use crate::domain::cap::CapSubject;
use crate::domain::network::Transport;
use crate::domain::purpose::Purpose;
use crate::domain::recording::Retention;
use crate::domain::ring::RingTone;
use crate::domain::whisper::{OnSilence, WhisperPolicy};

/// A value as found.
pub(super) enum Raw<'a> {
    /// In a file, with its type.
    Toml(&'a DeValue<'a>),
    /// In the environment: always text.
    Text(&'a str),
}

impl Raw<'_> {
    fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Toml(DeValue::String(text)) => Ok(text),
            Self::Toml(other) => Err(format!("expected text in quotes, found {}", kind(other))),
        }
    }

    fn whole_number(&self) -> Result<u64, String> {
        let (digits, radix) = match self {
            Self::Text(text) => (*text, 10),
            Self::Toml(DeValue::Integer(integer)) => (integer.as_str(), integer.radix()),
            Self::Toml(other) => {
                return Err(format!("expected a whole number, found {}", kind(other)));
            }
        };
        u64::from_str_radix(digits, radix)
            .map_err(|_| "expected a whole number that is not negative".to_owned())
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// A type of setting.
pub(super) trait Setting: Sized {
    /// Reads a value, or says what was expected.
    fn read(raw: &Raw<'_>) -> Result<Self, String>;
    /// As TOML.
    fn show(&self) -> String;
}

/// Text in TOML quotes.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Setting for String {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        raw.text().map(str::to_owned)
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

impl Setting for PathBuf {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        match raw.text()? {
            "" => Err("expected a path".to_owned()),
            path => Ok(Self::from(path)),
        }
    }

    fn show(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl Setting for Secret {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        raw.text().map(Self::new)
    }

    fn show(&self) -> String {
        quoted("***")
    }
}

impl Setting for SocketAddr {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        raw.text()?.parse().map_err(|_| "expected address:port, such as 127.0.0.1:8080".to_owned())
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for Listener {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let text = raw.text()?.trim();
        let (transport, address) = match text.split_once(':') {
            Some((word, rest)) => match Transport::find_label(word) {
                Some(transport) => (transport, rest),
                None => (Transport::Udp, text),
            },
            None => (Transport::Udp, text),
        };
        let address = address.parse().map_err(|_| {
            "expected address:port behind udp:, tcp: or tls:, such as tcp:0.0.0.0:5060".to_owned()
        })?;
        Ok(Self { transport, address })
    }

    /// UDP goes without saying.
    fn show(&self) -> String {
        match self.transport {
            Transport::Udp => self.address.show(),
            Transport::Tcp | Transport::Tls => {
                quoted(&format!("{}:{}", self.transport.label(), self.address))
            }
        }
    }
}

/// One listener, or a list; in the environment parted by commas.
impl Setting for Listeners {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let listeners: Result<Vec<_>, _> = match raw {
            Raw::Toml(DeValue::Array(items)) => {
                items.iter().map(|item| Listener::read(&Raw::Toml(item.get_ref()))).collect()
            }
            Raw::Toml(_) => Listener::read(raw).map(|one| vec![one]),
            Raw::Text(text) => text.split(',').map(|one| Listener::read(&Raw::Text(one))).collect(),
        };
        listeners.map(Self)
    }

    fn show(&self) -> String {
        match self.0.as_slice() {
            [one] => one.show(),
            all => format!("[{}]", all.iter().map(Setting::show).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Setting for Advertised {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let text = raw.text()?;
        let bare = |_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 0));
        let expected = |_| "expected an address, such as 192.0.2.1 or 192.0.2.1:5060".to_owned();
        text.parse().or_else(bare).map(Self).map_err(expected)
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

impl Setting for IpAddr {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        raw.text()?.parse().map_err(|_| "expected an IP address, such as 192.0.2.1".to_owned())
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

/// Empty text means absent.
impl<T: Setting> Setting for Option<T> {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        match raw.text()? {
            "" => Ok(None),
            _ => T::read(raw).map(Some),
        }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| quoted(""), T::show)
    }
}

impl Setting for usize {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        raw.whole_number()?.try_into().map_err(|_| "the number is too large".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for bool {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        match raw {
            Raw::Text("true") | Raw::Toml(DeValue::Boolean(true)) => Ok(true),
            Raw::Text("false") | Raw::Toml(DeValue::Boolean(false)) => Ok(false),
            Raw::Text(_) | Raw::Toml(_) => Err("expected true or false".to_owned()),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for u32 {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        raw.whole_number()?.try_into().map_err(|_| "the number is too large".to_owned())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Units of durations, largest first, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Setting for Duration {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let expected = || "expected a duration, such as \"500ms\", \"60s\", \"5m\"".to_owned();
        let text = raw.text()?;
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?;
        let (digits, unit) = text.split_at(unit_at);
        let (_, unit_ms) =
            UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(expected)?;
        let count: u64 = digits.parse().map_err(|_| expected())?;
        count.checked_mul(unit_ms).map(Self::from_millis).ok_or_else(expected)
    }

    fn show(&self) -> String {
        let ms = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        // Minutes are read but not written: people compare seconds more easily.
        let mut shown = UNITS.into_iter().filter(|(unit, _)| *unit != "m");
        let whole = shown.find(|(_, unit_ms)| ms >= *unit_ms && ms % unit_ms == 0);
        let (unit, unit_ms) = whole.unwrap_or(("s", 1_000));
        quoted(&format!("{}{unit}", ms / unit_ms))
    }
}

impl Setting for PortRange {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let expected = || "expected two ports, such as \"20000-29999\"".to_owned();
        let (first, last) = raw.text()?.split_once('-').ok_or_else(expected)?;
        let port = |text: &str| text.trim().parse().map_err(|_| expected());
        Ok(Self { first: port(first)?, last: port(last)? })
    }

    fn show(&self) -> String {
        quoted(&format!("{}-{}", self.first, self.last))
    }
}

impl Setting for Softphones {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        match raw.text()? {
            "off" => Ok(Self::Off),
            "tls" => Ok(Self::Tls),
            "streams" => Ok(Self::Streams),
            _ => Err("expected \"off\", \"tls\" or \"streams\"".to_owned()),
        }
    }

    fn show(&self) -> String {
        quoted(match self {
            Self::Off => "off",
            Self::Tls => "tls",
            Self::Streams => "streams",
        })
    }
}

impl Setting for SoftphoneDigest {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        match raw.text()? {
            "all" => Ok(Self::All),
            "sha-256" => Ok(Self::Sha256),
            "md5" => Ok(Self::Md5),
            _ => Err("expected \"all\", \"sha-256\" or \"md5\"".to_owned()),
        }
    }

    fn show(&self) -> String {
        quoted(match self {
            Self::All => "all",
            Self::Sha256 => "sha-256",
            Self::Md5 => "md5",
        })
    }
}

impl Setting for RingTone {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let expected = || "expected \"relay\" or \"phone\"".to_owned();
        Self::find_label(raw.text()?).ok_or_else(expected)
    }

    fn show(&self) -> String {
        quoted(self.label())
    }
}

impl Setting for WhisperPolicy {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let expected = || "expected \"by_purpose\", \"announce\" or \"off\"".to_owned();
        Self::find_label(raw.text()?).ok_or_else(expected)
    }

    fn show(&self) -> String {
        quoted(self.label())
    }
}

impl Setting for Purposes {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let text = raw.text()?.trim();
        let expected = || "expected \"all\", or purposes parted by commas".to_owned();
        match text {
            "" => Ok(Self::default()),
            "all" => {
                Ok(Self(Purpose::ALL.iter().chain(&[Purpose::Unspecified]).copied().collect()))
            }
            text => {
                let words = text.split(',').map(|word| Purpose::find_label(word.trim()));
                let mut purposes: Vec<_> = words.collect::<Option<_>>().ok_or_else(expected)?;
                purposes.sort();
                purposes.dedup();
                Ok(Self(purposes))
            }
        }
    }

    fn show(&self) -> String {
        match self.0.len() {
            all if all > Purpose::ALL.len() => quoted("all"),
            _ => quoted(&self.0.iter().map(|it| it.label()).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Setting for PerSubject {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let expected = || {
            "expected numbers of number, agent, tenant, subscriber, such as \"number 2, agent 1\""
                .to_owned()
        };
        let mut limits = [None; CapSubject::COUNTED.len()];
        for part in raw.text()?.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (word, count) = part.split_once(' ').ok_or_else(expected)?;
            let mut known = CapSubject::COUNTED.iter().zip(&mut limits);
            let (_, limit) = known.find(|(it, _)| it.label() == word).ok_or_else(expected)?;
            let count = count.trim().parse().map_err(|_| expected())?;
            if limit.replace(count).is_some() {
                return Err(expected());
            }
        }
        Ok(Self(limits))
    }

    fn show(&self) -> String {
        let limits = CapSubject::COUNTED.iter().zip(self.0);
        let limits = limits.filter_map(|(it, limit)| Some(format!("{} {}", it.label(), limit?)));
        quoted(&limits.collect::<Vec<_>>().join(", "))
    }
}

impl Setting for Retention {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let expected = || "expected \"six_months\", \"five_years\" or \"ten_years\"".to_owned();
        Self::find_label(raw.text()?).ok_or_else(expected)
    }

    fn show(&self) -> String {
        quoted(self.label())
    }
}

impl Setting for OnSilence {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let expected = || "expected \"refuse\" or \"connect\"".to_owned();
        Self::find_label(raw.text()?).ok_or_else(expected)
    }

    fn show(&self) -> String {
        quoted(self.label())
    }
}

impl Setting for LogFormat {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        match raw.text()? {
            "json" => Ok(Self::Json),
            "pretty" => Ok(Self::Pretty),
            _ => Err("expected \"json\" or \"pretty\"".to_owned()),
        }
    }

    fn show(&self) -> String {
        quoted(match self {
            Self::Json => "json",
            Self::Pretty => "pretty",
        })
    }
}
