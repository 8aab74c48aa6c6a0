//! The Via value on top: where an answer goes, and which transaction a message belongs to.

use std::fmt;
use std::net::SocketAddr;

use super::lex::{self, Cursor, InvalidValue};
use super::transport::{Hop, Transport};
use super::uri;

/// One Via value. `Debug` shows no text.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Via<'a> {
    /// The whole value, byte for byte, up to the comma or the end of the header.
    pub raw: &'a [u8],
    /// The transport as written; unknown ones are kept (an answer goes to the packet's source).
    pub transport: &'a [u8],
    /// The host of sent-by; IPv6 in brackets.
    pub host: &'a [u8],
    /// The port of sent-by, when one is written.
    pub port: Option<u16>,
    /// The branch, when there is one.
    pub branch: Option<&'a [u8]>,
    /// The parameter `received` from its `;`; never believed, only replaced.
    pub received: Option<&'a [u8]>,
    /// The parameter `rport` from its `;`: the sender asks for the source port (RFC 3581).
    pub rport: Option<&'a [u8]>,
    /// The parameter `oc` from its `;`: the sender takes part in overload control (RFC 7339).
    pub oc: Option<&'a [u8]>,
    /// What follows behind the comma, when the header holds several values.
    pub more: Option<&'a [u8]>,
}

impl<'a> Via<'a> {
    /// Reads the first value of a Via header.
    ///
    /// # Errors
    /// [`InvalidValue`] for anything the grammar does not allow, and for a repeated branch.
    pub fn parse(value: &'a [u8]) -> Result<Self, InvalidValue> {
        let text = lex::trim(value);
        Self::parse_usual(text).map_or_else(|| Self::parse_any(text), Ok)
    }

    fn bare(raw: &'a [u8], transport: &'a [u8], host: &'a [u8], port: Option<u16>) -> Self {
        let (branch, received, rport, oc, more) = (None, None, None, None, None);
        Self { raw, transport, host, port, branch, received, rport, oc, more }
    }

    /// One value as nearly all are written: without white space but that before the host. `None`
    /// is no verdict.
    fn parse_usual(text: &'a [u8]) -> Option<Self> {
        let (transport @ [_, ..], rest) = lex::TOKEN.split(text.strip_prefix(b"SIP/2.0/")?) else {
            return None;
        };
        let (host @ [_, ..], mut rest) = lex::HOST.split(rest.strip_prefix(b" ")?) else {
            return None;
        };
        let mut via = Self::bare(text, transport, host, None);
        if let [b':', behind @ ..] = rest {
            let (digits, behind) = lex::split_digits(behind);
            via.port = Some(u16::try_from(lex::decimal(digits, u64::from(u16::MAX))?).ok()?);
            rest = behind;
        }
        while let [b';', behind @ ..] = rest {
            let (name @ [_, ..], mut behind) = lex::TOKEN.split(behind) else { return None };
            let mut value = None;
            if let [b'=', b'"', text @ ..] = behind {
                // As all responses have it that bring our own offer of overload control back.
                let (_, [b'"', next @ ..]) = lex::TOKEN.split(text) else { return None };
                if name != b"oc-algo" {
                    return None;
                }
                behind = next;
            } else if let [b'=', text @ ..] = behind {
                let (text @ [_, ..], next) = lex::PARAM_VALUE.split(text) else { return None };
                (value, behind) = (Some(text), next);
            }
            via.note(name, value, rest.get(..rest.len() - behind.len())?).ok()?;
            rest = behind;
        }
        rest.is_empty().then_some(via)
    }

    fn parse_any(text: &'a [u8]) -> Result<Self, InvalidValue> {
        let mut cursor = Cursor::new(text);
        let transport = sent_protocol(&mut cursor)?;
        let (host, rest) = uri::split_host(cursor.rest())?;
        cursor = Cursor::new(rest);
        let mut via = Self::bare(text, transport, host, sent_port(&mut cursor)?);
        via.read_params(&mut cursor)?;
        let rest = cursor.rest();
        if let Some(more) = rest.strip_prefix(b",") {
            via.more = Some(more);
            via.raw = lex::trim(text.get(..text.len() - rest.len()).ok_or(InvalidValue)?);
        }
        Ok(via)
    }

    /// Where an answer goes. On a stream, back on its connection; should that be gone, to the port
    /// of sent-by at the same host (RFC 3261 §18.2.2). On UDP, always the packet's source address
    /// (RFC 3581 §4), and its port when asked, else the port of sent-by. Neither `maddr` nor a host
    /// in here is ever obeyed.
    #[must_use]
    pub fn reply_hop(&self, source: Hop) -> Hop {
        let port = self.port.unwrap_or(source.transport.default_port());
        match (source.transport, self.rport) {
            (Transport::Udp, Some(_)) => source,
            (Transport::Udp, None) => SocketAddr::new(source.address.ip(), port).into(),
            (Transport::Tcp | Transport::Tls, _) => Hop { port, ..source },
        }
    }

    /// Names, values and whole texts from their `;` of all parameters, in order.
    pub(crate) fn params(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>, &'a [u8])> {
        let host_at = (self.host.as_ptr() as usize).saturating_sub(self.raw.as_ptr() as usize);
        let mut cursor = Cursor::new(self.raw.get(host_at + self.host.len()..).unwrap_or_default());
        // It was read once without a fault.
        let is_read = sent_port(&mut cursor).is_ok();
        std::iter::from_fn(move || {
            cursor.skip_lws();
            let before = cursor.rest();
            let (name, value) = lex::next_param(&mut cursor).ok()??;
            let whole = before.get(..before.len() - cursor.rest().len())?;
            is_read.then(|| (name, value, lex::trim(whole)))
        })
    }

    fn read_params(&mut self, cursor: &mut Cursor<'a>) -> Result<(), InvalidValue> {
        loop {
            cursor.skip_lws();
            let before = cursor.rest();
            let Some((name, value)) = lex::next_param(cursor)? else { return Ok(()) };
            let whole = before.get(..before.len() - cursor.rest().len()).ok_or(InvalidValue)?;
            // White space was skipped behind the name, in case of an `=`.
            self.note(name, value, lex::trim(whole))?;
        }
    }

    /// Takes one parameter; `whole` is all of it from its `;`.
    #[inline]
    fn note(
        &mut self,
        name: &[u8],
        value: Option<&'a [u8]>,
        whole: &'a [u8],
    ) -> Result<(), InvalidValue> {
        let repeated = if is_named(name, b"branch") {
            self.branch.replace(value.ok_or(InvalidValue)?)
        } else if is_named(name, b"rport") {
            self.rport.replace(whole)
        } else if is_named(name, b"received") {
            self.received.replace(whole)
        } else if is_named(name, b"oc") {
            self.oc.replace(whole)
        } else {
            None
        };
        if repeated.is_some() { Err(InvalidValue) } else { Ok(()) }
    }
}

/// Names of parameters are the same in any case, and nearly all are written in this one.
fn is_named<const N: usize>(name: &[u8], usual: &[u8; N]) -> bool {
    name.len() == N && (name == usual || name.eq_ignore_ascii_case(usual))
}

/// The port that a Via of this transport means when it writes none.
#[must_use]
pub fn default_port_of(transport: &[u8]) -> u16 {
    let named = |it: &Transport| transport.eq_ignore_ascii_case(it.name().as_bytes());
    Transport::ALL.into_iter().find(named).unwrap_or(Transport::Udp).default_port()
}

impl fmt::Debug for Via<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Via(***)")
    }
}

/// `SIP/2.0/UDP` and the white space behind it; white space round the slashes is legal and rare.
fn sent_protocol<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], InvalidValue> {
    if !cursor.eat_text(b"SIP/2.0/") {
        // Name and version are any tokens: a request of another version still gets its 505.
        for _name_and_version in 0..2 {
            cursor.token()?;
            cursor.skip_lws();
            if !cursor.eat(b'/') {
                return Err(InvalidValue);
            }
            cursor.skip_lws();
        }
    }
    cursor.skip_lws();
    let transport = cursor.token()?;
    if !cursor.peek().is_some_and(|byte| lex::LWS.has(byte)) {
        return Err(InvalidValue);
    }
    cursor.skip_lws();
    Ok(transport)
}

fn sent_port(cursor: &mut Cursor<'_>) -> Result<Option<u16>, InvalidValue> {
    cursor.skip_lws();
    if !cursor.eat(b':') {
        return Ok(None);
    }
    cursor.skip_lws();
    let (digits, rest) = lex::split_digits(cursor.rest());
    *cursor = Cursor::new(rest);
    let port = lex::decimal(digits, u64::from(u16::MAX)).ok_or(InvalidValue)?;
    Ok(u16::try_from(port).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_reads_what_the_long_way_reads() {
        let rests =
            ["", ":", ":5060", ":65536", ":5060;rport", ";branch=a;branch=b", ";branch", ",x"];
        let more =
            [";rport=1;x;received=[::1];BRANCH=z", ";rport;rport", ";a=\"b\"", ";a=", ";", " "];
        let (mut short, mut refused) = (0, 0);
        for (start, rest) in ["SIP/2.0/UDP h", "SIP/2.0/UDP  h", "SIP/2.0/ h", "SIP/2.0/UDP [::1]"]
            .iter()
            .flat_map(|start| rests.iter().chain(&more).map(move |rest| (start, rest)))
        {
            let text = format!("{start}{rest}");
            let any = Via::parse_any(text.as_bytes());
            match Via::parse_usual(text.as_bytes()) {
                Some(usual) => {
                    assert!(any == Ok(usual), "{text}");
                    short += 1;
                }
                None => refused += usize::from(any.is_err()),
            }
            assert!(Via::parse(text.as_bytes()).is_ok() == any.is_ok(), "{text}");
        }
        assert_eq!((short, refused), (4, 35));
    }

    #[test]
    fn what_all_responses_bring_back_of_ours_is_read_the_short_way() {
        let ours = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx;rport=5060;oc;oc-algo=\"loss\"";
        assert_eq!(Via::parse_usual(ours.as_bytes()), Via::parse_any(ours.as_bytes()).ok());
        for odd in ["=\"rate,loss\"", "=\"\"", "=\"a\\\"b\"", "=\"loss", "=\"loss\"x", "\"loss\""] {
            let text = format!("SIP/2.0/UDP h;oc;oc-algo{odd};branch=z9hG4bKx");
            if let Some(via) = Via::parse_usual(text.as_bytes()) {
                assert_eq!(Via::parse_any(text.as_bytes()), Ok(via), "{odd}");
            }
        }
        assert_eq!(Via::parse_usual(b"SIP/2.0/UDP h;branch=\"z9hG4bKx\""), None);
    }

    #[test]
    fn usual_and_odd_spellings_are_read() {
        let via = Via::parse(b"SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKx;rport").expect("valid");
        assert_eq!((via.host, via.port), (&b"192.0.2.1"[..], Some(5070)));
        assert_eq!((via.branch, via.rport), (Some(&b"z9hG4bKx"[..]), Some(&b";rport"[..])));
        let odd =
            b"SIP  / 2.0\r\n /TCP   spindle.example.com   ;\r\n branch =  z9hG4bK9 , SIP/2.0/UDP b";
        let via = Via::parse(odd).expect("valid");
        assert_eq!((via.transport, via.branch), (&b"TCP"[..], Some(&b"z9hG4bK9"[..])));
        assert_eq!(via.more, Some(&b" SIP/2.0/UDP b"[..]));
        assert!(via.raw.ends_with(b"z9hG4bK9"));
    }

    #[test]
    fn received_with_and_without_brackets_is_read() {
        for received in ["[2001:db8::9:255]", "2001:db8::9:255"] {
            let text = format!("SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z9hG4bKas3");
            let via = Via::parse(text.as_bytes()).expect("valid");
            assert_eq!(via.received, Some(format!(";received={received}").as_bytes()));
            assert_eq!((via.host, via.port), (&b"[2001:db8::9:1]"[..], None));
        }
    }

    #[test]
    fn faults_are_refused() {
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0/UDP h;;,;,,",
            "SIP/UDP h",
            "SIP/2.0/UDP h:x",
            "SIP/2.0/UDP h:70000",
            "SIP/2.0/UDP h;branch=1;branch=2",
            "SIP/2.0/UDP h;branch",
            "h;branch=1",
            "SIP/2.0/UDP [::g]",
        ] {
            assert!(Via::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn white_space_behind_a_parameter_is_no_part_of_it() {
        let via = Via::parse(b"SIP/2.0/UDP h;received\n ,SIP/2.0/UDP i").expect("a Via");
        assert_eq!(
            (via.received, via.raw),
            (Some(&b";received"[..]), &b"SIP/2.0/UDP h;received"[..])
        );
    }
}
