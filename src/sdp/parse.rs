//! Reads a session description (RFC 8866) with hard limits. Whatever a peer sends is at worst an
//! [`InvalidSdp`]; lines we have no use for are passed over unread.

use std::net::{IpAddr, SocketAddr};

use super::codec::{Codec, Payloads};
use super::crypto::{Crypto, Srtp};
use super::session::{Direction, InvalidSdp, OtherLine, Profile, Session};
use super::words::{Words, ipv4, is_text, number, split_at_byte, trimmed};

/// The longest body we read.
pub const SDP_BYTES_MAX: usize = 32 * 1024;
/// The most lines.
pub const LINES_MAX: usize = 256;
/// The most `m=` lines.
pub const MEDIA_LINES_MAX: usize = 20;
/// The most formats of an audio line.
pub const FORMATS_MAX: usize = 32;

/// Reads an offer or an answer of a leg without encryption. The first audio line that we can relay
/// is the one that counts.
pub fn parse(body: &[u8]) -> Result<Session, InvalidSdp> {
    parse_with(body, Srtp::Off)
}

/// The same, of a leg that may have encryption.
pub fn parse_with(body: &[u8], srtp: Srtp) -> Result<Session, InvalidSdp> {
    if body.len() > SDP_BYTES_MAX {
        return Err(InvalidSdp::TooLarge);
    }
    let mut scan = Scan { srtp, ..Scan::default() };
    let mut rest = Some(body);
    let mut number = 0;
    while let Some(text) = rest {
        if number == LINES_MAX {
            return Err(InvalidSdp::TooLarge);
        }
        let line_end = memchr::memchr(b'\n', text).unwrap_or(text.len());
        rest = text.get(line_end + 1..);
        let line = text.get(..line_end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line {
            b"v=0" if number == 0 => {}
            _ if number == 0 => return Err(InvalidSdp::Malformed),
            [] => {}
            [kind, b'=', value @ ..] if kind.is_ascii_lowercase() => scan.line(*kind, value)?,
            _ => return Err(InvalidSdp::Malformed),
        }
        number += 1;
    }
    scan.finish()
}

/// What has been read so far: the session level, then one section for each `m=` line.
#[derive(Default)]
struct Scan<'a> {
    srtp: Srtp,
    connection: Option<Connection>,
    direction: Option<Direction>,
    sections: Vec<Section<'a>>,
}

impl<'a> Scan<'a> {
    fn line(&mut self, kind: u8, value: &'a [u8]) -> Result<(), InvalidSdp> {
        match kind {
            b'm' => {
                if self.sections.len() == MEDIA_LINES_MAX {
                    return Err(InvalidSdp::TooLarge);
                }
                let section = Section::parse(value, self.srtp)?;
                if self.sections.is_empty() {
                    // One audio line is the usual case.
                    self.sections.reserve_exact(1);
                }
                self.sections.push(section);
            }
            b'c' => {
                if !is_text(value) {
                    return Err(InvalidSdp::Malformed);
                }
                let connection = Connection::parse(value)?;
                match self.sections.last_mut() {
                    // Several c= lines in one section are layered multicast; the first is the base
                    // layer.
                    Some(section) => _ = section.connection.get_or_insert(connection),
                    None => self.connection = Some(connection),
                }
            }
            b'a' => {
                if let Some(direction) = Direction::of_attribute(value) {
                    match self.sections.last_mut() {
                        Some(section) => section.direction = Some(direction),
                        None => self.direction = Some(direction),
                    }
                } else if let Some(section) = self.sections.last_mut() {
                    section.attribute(value)?;
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
            match section.session(self.connection, self.direction, self.srtp) {
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
            .map(|(_, section)| section.line())
            .collect();
        Ok(session)
    }
}

/// One media line and the lines below it.
struct Section<'a> {
    kind: &'a [u8],
    protocol: &'a [u8],
    /// The first format.
    format: &'a [u8],
    /// RTP audio that is not switched off, and not encrypted where that may not be; the rest is
    /// only refused.
    audio: Option<Profile>,
    /// The first key that we understand.
    crypto: Option<Crypto>,
    reads_keys: bool,
    port: u16,
    /// Payload types in the side's order of preference.
    formats: Formats,
    connection: Option<Connection>,
    direction: Option<Direction>,
    rtcp: Option<(u16, Option<Connection>)>,
    ptime_ms: Option<u8>,
}

impl<'a> Section<'a> {
    /// `m=<media> <port>[/<number of ports>] <proto> <fmt> ...`
    fn parse(value: &'a [u8], srtp: Srtp) -> Result<Self, InvalidSdp> {
        if !is_text(value) {
            return Err(InvalidSdp::Malformed);
        }
        let mut words = Words(value);
        let kind = token(words.next())?;
        let port = words.next().ok_or(InvalidSdp::Malformed)?;
        let protocol = token(words.next())?;
        let formats = words.clone();
        let format = token(words.next())?;
        // More than one port is layered encoding, which nobody speaks.
        let (port, ports) = split_at_byte(port, b'/');
        let plural = ports.is_some_and(|ports| ports != b"1");
        let port = number(port, u16::MAX).ok_or(InvalidSdp::Malformed)?;
        let reads_keys = srtp != Srtp::Off;
        let profile = Profile::of_name(protocol).filter(|it| reads_keys || !it.is_encrypted());
        let audio = profile.filter(|_| kind == b"audio" && port != 0 && !plural);
        let mut section = Self {
            kind,
            protocol,
            format,
            audio,
            crypto: None,
            reads_keys,
            port,
            formats: Formats::default(),
            connection: None,
            direction: None,
            rtcp: None,
            ptime_ms: None,
        };
        if audio.is_some() {
            for word in formats {
                section.formats.add(payload_type(word)?)?;
            }
        }
        Ok(section)
    }

    /// As our answer writes it back where we do not take part in it.
    fn line(&self) -> OtherLine {
        let text = |token| str::from_utf8(token).unwrap_or_default().into();
        let Self { kind, protocol, format, .. } = *self;
        OtherLine { kind: text(kind), protocol: text(protocol), format: text(format) }
    }

    fn attribute(&mut self, attribute: &[u8]) -> Result<(), InvalidSdp> {
        if self.audio.is_none() {
            return Ok(());
        }
        // A value that is no text says nothing.
        if let Some(value) = attribute.strip_prefix(b"rtpmap:").filter(|it| is_text(it)) {
            let (number, encoding) = split_at_byte(value, b' ');
            let (number, _) = payload_type(number)?;
            let encoding = encoding.and_then(trimmed).ok_or(InvalidSdp::Malformed)?;
            let codec = Codec::of_rtpmap(encoding);
            for (_, named) in self.formats.iter_mut().filter(|(format, _)| *format == number) {
                *named = codec;
            }
        } else if let Some(value) = attribute.strip_prefix(b"ptime:").and_then(trimmed) {
            let asked = number(value, 255).and_then(|ms| u8::try_from(ms).ok());
            self.ptime_ms = asked.filter(|ms| PTIMES_MS.contains(ms));
        } else if let Some(value) = attribute.strip_prefix(b"rtcp:").filter(|it| is_text(it)) {
            self.rtcp = Some(rtcp_address(value)?);
        } else if let Some(value) = attribute.strip_prefix(b"crypto:").filter(|_| self.reads_keys) {
            self.crypto = self.crypto.take().or_else(|| Crypto::parse(value));
        }
        Ok(())
    }

    fn session(
        &self,
        connection: Option<Connection>,
        direction: Option<Direction>,
        srtp: Srtp,
    ) -> Result<Session, InvalidSdp> {
        let profile = self.audio.ok_or(InvalidSdp::NoAudio)?;
        let needs_key = profile.is_encrypted() || srtp == Srtp::Required;
        if needs_key && self.crypto.is_none() {
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
        for (number, codec) in self.formats.iter() {
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
            profile,
            crypto: self.crypto.clone(),
            audio_at: 0,
            others: Vec::new(),
        })
    }
}

/// The formats of an audio line in order, without memory of their own.
#[derive(Default)]
struct Formats {
    all: [(u8, Option<Codec>); FORMATS_MAX],
    count: usize,
}

impl Formats {
    fn add(&mut self, format: (u8, Option<Codec>)) -> Result<(), InvalidSdp> {
        *self.all.get_mut(self.count).ok_or(InvalidSdp::TooLarge)? = format;
        self.count += 1;
        Ok(())
    }

    fn iter(&self) -> impl Iterator<Item = &(u8, Option<Codec>)> {
        self.all.iter().take(self.count)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut (u8, Option<Codec>)> {
        self.all.iter_mut().take(self.count)
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
    fn parse(value: &[u8]) -> Result<Self, InvalidSdp> {
        let mut words = Words(value);
        let (Some(b"IN"), Some(family), Some(address), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(InvalidSdp::Malformed);
        };
        let address = match family {
            b"IP4" => ipv4(address).map(IpAddr::V4),
            b"IP6" => str::from_utf8(address).ok().and_then(|it| it.parse().map(IpAddr::V6).ok()),
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
fn rtcp_address(value: &[u8]) -> Result<(u16, Option<Connection>), InvalidSdp> {
    let (port, connection) = split_at_byte(value, b' ');
    let connection = connection.map(Connection::parse).transpose()?;
    let port = number(port, u16::MAX).filter(|port| *port != 0).ok_or(InvalidSdp::Malformed)?;
    Ok((port, connection))
}

fn payload_type(word: &[u8]) -> Result<(u8, Option<Codec>), InvalidSdp> {
    let number = number(word, PAYLOAD_TYPE_MAX).and_then(|number| u8::try_from(number).ok());
    let number = number.ok_or(InvalidSdp::Malformed)?;
    Ok((number, Codec::of_static(number)))
}

/// A word that may be written back to its sender: printable ASCII and short.
fn token(word: Option<&[u8]>) -> Result<&[u8], InvalidSdp> {
    word.filter(|word| word.len() <= TOKEN_BYTES_MAX && word.iter().all(u8::is_ascii_graphic))
        .ok_or(InvalidSdp::Malformed)
}

const PAYLOAD_TYPE_MAX: u16 = 127;
const TOKEN_BYTES_MAX: usize = 64;
const PTIMES_MS: [u8; 5] = [10, 20, 30, 40, 60];
