//! Reads a session description (RFC 8866) with hard limits. Whatever a peer sends is at worst an
//! [`InvalidSdp`]; lines we have no use for are passed over unread.

use std::net::{IpAddr, SocketAddr};

use super::codec::{Codec, Payloads};
use super::session::{Direction, InvalidSdp, OtherLine, Session};

/// The longest body we read.
pub const SDP_BYTES_MAX: usize = 32 * 1024;
/// The most lines.
pub const LINES_MAX: usize = 256;
/// The most `m=` lines.
pub const MEDIA_LINES_MAX: usize = 20;
/// The most formats of an audio line.
pub const FORMATS_MAX: usize = 32;

/// Reads an offer or an answer. The first audio line that we can relay is the one that counts.
pub fn parse(body: &[u8]) -> Result<Session, InvalidSdp> {
    if body.len() > SDP_BYTES_MAX {
        return Err(InvalidSdp::TooLarge);
    }
    let mut scan = Scan::default();
    for (number, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if number == LINES_MAX {
            return Err(InvalidSdp::TooLarge);
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line {
            b"v=0" if number == 0 => {}
            _ if number == 0 => return Err(InvalidSdp::Malformed),
            [] => {}
            [kind, b'=', value @ ..] if kind.is_ascii_lowercase() => scan.line(*kind, value)?,
            _ => return Err(InvalidSdp::Malformed),
        }
    }
    scan.finish()
}

/// What has been read so far: the session level, then one section for each `m=` line.
#[derive(Default)]
struct Scan {
    connection: Option<Connection>,
    direction: Option<Direction>,
    sections: Vec<Section>,
}

impl Scan {
    fn line(&mut self, kind: u8, value: &[u8]) -> Result<(), InvalidSdp> {
        match kind {
            b'm' => {
                if self.sections.len() == MEDIA_LINES_MAX {
                    return Err(InvalidSdp::TooLarge);
                }
                self.sections.push(Section::parse(text(value)?)?);
            }
            b'c' => {
                let connection = Connection::parse(text(value)?)?;
                match self.sections.last_mut() {
                    // Several c= lines in one section are layered multicast; the first is the base
                    // layer.
                    Some(section) => _ = section.connection.get_or_insert(connection),
                    None => self.connection = Some(connection),
                }
            }
            b'a' => {
                let Ok(attribute) = str::from_utf8(value) else { return Ok(()) };
                if let Some(direction) = Direction::of_attribute(attribute) {
                    match self.sections.last_mut() {
                        Some(section) => section.direction = Some(direction),
                        None => self.direction = Some(direction),
                    }
                } else if let Some(section) = self.sections.last_mut() {
                    section.attribute(attribute)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Session, InvalidSdp> {
        let mut refusal = InvalidSdp::NoAudio;
        let mut chosen = None;
        for (at, section) in self.sections.iter().enumerate() {
            match section.session(self.connection, self.direction) {
                Ok(session) => {
                    chosen = Some((at, session));
                    break;
                }
                // A malformed line spoils the whole; of the other reasons the last one is told.
                Err(InvalidSdp::Malformed) => return Err(InvalidSdp::Malformed),
                Err(reason) => refusal = reason,
            }
        }
        let (audio_at, mut session) = chosen.ok_or(refusal)?;
        session.audio_at = audio_at;
        session.others = self
            .sections
            .into_iter()
            .enumerate()
            .filter(|(at, _)| *at != audio_at)
            .map(|(_, section)| section.line)
            .collect();
        Ok(session)
    }
}

/// One media line and the lines below it.
struct Section {
    line: OtherLine,
    /// Plain RTP audio that is not switched off; the rest is only refused.
    is_audio: bool,
    port: u16,
    /// Payload types in the side's order of preference.
    formats: Vec<(u8, Option<Codec>)>,
    connection: Option<Connection>,
    direction: Option<Direction>,
    rtcp: Option<(u16, Option<Connection>)>,
    ptime_ms: Option<u8>,
}

impl Section {
    /// `m=<media> <port>[/<number of ports>] <proto> <fmt> ...`
    fn parse(value: &str) -> Result<Self, InvalidSdp> {
        let mut words = value.split(' ').filter(|word| !word.is_empty());
        let kind = token(words.next())?;
        let port = words.next().ok_or(InvalidSdp::Malformed)?;
        let protocol = token(words.next())?;
        let mut formats = words.clone();
        let format = token(words.next())?;
        // More than one port is layered encoding, which nobody speaks.
        let (port, plural) = match port.split_once('/') {
            Some((port, "1")) => (port, false),
            Some((port, _)) => (port, true),
            None => (port, false),
        };
        let port: u16 = port.parse().map_err(|_| InvalidSdp::Malformed)?;
        let is_audio = kind == "audio" && protocol == "RTP/AVP" && port != 0 && !plural;
        let line =
            OtherLine { kind: kind.into(), protocol: protocol.into(), format: format.into() };
        let mut section = Self {
            line,
            is_audio,
            port,
            formats: Vec::new(),
            connection: None,
            direction: None,
            rtcp: None,
            ptime_ms: None,
        };
        if is_audio {
            section.formats = formats.by_ref().map(payload_type).collect::<Result<_, _>>()?;
        }
        if section.formats.len() > FORMATS_MAX {
            return Err(InvalidSdp::TooLarge);
        }
        Ok(section)
    }

    fn attribute(&mut self, attribute: &str) -> Result<(), InvalidSdp> {
        if !self.is_audio {
            return Ok(());
        }
        match attribute.split_once(':') {
            Some(("rtpmap", value)) => {
                let (number, encoding) = value.split_once(' ').ok_or(InvalidSdp::Malformed)?;
                let (number, _) = payload_type(number)?;
                let codec = Codec::of_rtpmap(encoding.trim());
                for (_, named) in self.formats.iter_mut().filter(|(format, _)| *format == number) {
                    *named = codec;
                }
            }
            Some(("rtcp", value)) => self.rtcp = Some(rtcp_address(value)?),
            Some(("ptime", value)) => {
                let asked: Option<u8> = value.trim().parse().ok();
                self.ptime_ms = asked.filter(|ms| PTIMES_MS.contains(ms));
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    fn session(
        &self,
        connection: Option<Connection>,
        direction: Option<Direction>,
    ) -> Result<Session, InvalidSdp> {
        if !self.is_audio {
            return Err(InvalidSdp::NoAudio);
        }
        let connection = self.connection.or(connection).ok_or(InvalidSdp::Malformed)?;
        let Connection::Unicast(address) = connection else { return Err(InvalidSdp::NoAudio) };
        let rtcp = match self.rtcp {
            None => SocketAddr::new(address, self.port.checked_add(1).ok_or(InvalidSdp::NoAudio)?),
            Some((port, None)) => SocketAddr::new(address, port),
            Some((port, Some(Connection::Unicast(other)))) => SocketAddr::new(other, port),
            Some((_, Some(Connection::Unusable))) => return Err(InvalidSdp::NoAudio),
        };
        let mut payloads = Payloads::default();
        for (number, codec) in &self.formats {
            if let Some(codec) = codec {
                payloads.add(*codec, *number);
            }
        }
        if !payloads.codecs().has_audio() {
            return Err(InvalidSdp::NoCodec);
        }
        let mut direction = self.direction.or(direction).unwrap_or_default();
        if address.is_unspecified() {
            direction = direction.and(Direction::SendOnly);
        }
        Ok(Session {
            rtp: SocketAddr::new(address, self.port),
            rtcp,
            payloads,
            direction,
            ptime_ms: self.ptime_ms,
            audio_at: 0,
            others: Vec::new(),
        })
    }
}

/// Where a side says it is.
#[derive(Clone, Copy)]
enum Connection {
    /// One host, or the unspecified address of an old-style hold.
    Unicast(IpAddr),
    /// A host name, which we do not look up, or a group.
    Unusable,
}

impl Connection {
    /// `IN IP4 192.0.2.1`
    fn parse(value: &str) -> Result<Self, InvalidSdp> {
        let mut words = value.split(' ').filter(|word| !word.is_empty());
        let (Some("IN"), Some(family), Some(address), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(InvalidSdp::Malformed);
        };
        let address = match family {
            "IP4" => address.parse().map(IpAddr::V4).ok(),
            "IP6" => address.parse().map(IpAddr::V6).ok(),
            _ => return Err(InvalidSdp::Malformed),
        };
        let unicast = address.filter(|address| match address {
            IpAddr::V4(v4) => !v4.is_multicast() && !v4.is_broadcast(),
            IpAddr::V6(v6) => !v6.is_multicast(),
        });
        Ok(unicast.map_or(Self::Unusable, Self::Unicast))
    }
}

/// `a=rtcp:<port> [IN IP4 <address>]`, RFC 3605.
fn rtcp_address(value: &str) -> Result<(u16, Option<Connection>), InvalidSdp> {
    let (port, connection) = match value.split_once(' ') {
        Some((port, rest)) => (port, Some(Connection::parse(rest)?)),
        None => (value, None),
    };
    let port = port.parse().ok().filter(|port| *port != 0).ok_or(InvalidSdp::Malformed)?;
    Ok((port, connection))
}

fn payload_type(word: &str) -> Result<(u8, Option<Codec>), InvalidSdp> {
    let number: u8 = word.parse().map_err(|_| InvalidSdp::Malformed)?;
    if number > PAYLOAD_TYPE_MAX {
        return Err(InvalidSdp::Malformed);
    }
    Ok((number, Codec::of_static(number)))
}

/// A word that may be written back to its sender: printable ASCII and short.
fn token(word: Option<&str>) -> Result<&str, InvalidSdp> {
    word.filter(|word| word.len() <= TOKEN_BYTES_MAX && word.bytes().all(|b| b.is_ascii_graphic()))
        .ok_or(InvalidSdp::Malformed)
}

fn text(value: &[u8]) -> Result<&str, InvalidSdp> {
    str::from_utf8(value).map_err(|_| InvalidSdp::Malformed)
}

const PAYLOAD_TYPE_MAX: u8 = 127;
const TOKEN_BYTES_MAX: usize = 64;
const PTIMES_MS: [u8; 5] = [10, 20, 30, 40, 60];
