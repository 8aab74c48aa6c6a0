//! What every answer repeats of its request: Via, From, To, Call-ID, CSeq, byte for byte.

use std::net::SocketAddr;
use std::ops::Range;

use bytes::BytesMut;

use super::super::ids::Tag;
use super::super::overload::Control;
use super::super::status::reason_phrase;
use super::super::via::Via;
use super::{begin, put_decimal, put_ip};

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The address that answers go to.
    pub address: SocketAddr,
    /// What is asked of this peer, if it wants to know and may be told.
    pub control: Option<Control>,
}

/// A peer that is told nothing of our load.
impl From<SocketAddr> for Source {
    fn from(address: SocketAddr) -> Self {
        Self { address, control: None }
    }
}

/// The To tag of an answer.
#[derive(Clone, Copy)]
pub(crate) enum ToTag<'a> {
    /// As in the request.
    Keep,
    /// Ours is added.
    Add(&'a Tag),
}

/// The lines an answer begins with.
pub(crate) struct ReplyHead<'a, V> {
    pub(crate) status: u16,
    pub(crate) via: Via<'a>,
    pub(crate) more_vias: V,
    pub(crate) from: &'a [u8],
    pub(crate) to: &'a [u8],
    pub(crate) to_tag: ToTag<'a>,
    pub(crate) call_id: &'a [u8],
    pub(crate) cseq: &'a [u8],
}

impl<'a, V: Iterator<Item = &'a [u8]>> ReplyHead<'a, V> {
    /// Writes them; the request came from `source`.
    pub(crate) fn write(self, out: &mut BytesMut, source: Source) {
        begin(out);
        put_status_line(out, self.status);
        self.repeat(out, source);
    }

    /// Writes all but the status line. Returns where in it our control stands, if there is one, and
    /// our tag, with its `;tag=`.
    pub(crate) fn repeat(self, out: &mut BytesMut, source: Source) -> [Range<usize>; 2] {
        let start = out.len();
        out.extend_from_slice(b"Via: ");
        let control = source.control.filter(|_| Control::is_wanted(&self.via));
        put_top_via(out, &self.via, source.address, control.is_some());
        let control_at = out.len() - start;
        if let Some(control) = control {
            control.put(out);
        }
        let control_end = out.len() - start;
        for via in self.via.more.into_iter().chain(self.more_vias) {
            out.extend_from_slice(b"\r\nVia: ");
            out.extend_from_slice(super::super::lex::trim(via));
        }
        out.extend_from_slice(b"\r\nFrom: ");
        out.extend_from_slice(self.from);
        out.extend_from_slice(b"\r\nTo: ");
        out.extend_from_slice(self.to);
        let tag_at = out.len() - start;
        if let ToTag::Add(tag) = self.to_tag {
            out.extend_from_slice(b";tag=");
            out.extend_from_slice(tag.as_bytes());
        }
        let tag_end = out.len() - start;
        out.extend_from_slice(b"\r\nCall-ID: ");
        out.extend_from_slice(self.call_id);
        out.extend_from_slice(b"\r\nCSeq: ");
        out.extend_from_slice(self.cseq);
        out.extend_from_slice(b"\r\n");
        [control_at..control_end, tag_at..tag_end]
    }
}

/// The first line of an answer.
pub(crate) fn put_status_line(out: &mut BytesMut, status: u16) {
    out.extend_from_slice(b"SIP/2.0 ");
    put_decimal(out, u64::from(status));
    out.extend_from_slice(b" ");
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The value as it came, but for `rport`, which gets the source port where it was asked for, and
/// `received`, which is always ours; and for what a control of ours replaces.
fn put_top_via(out: &mut BytesMut, via: &Via<'_>, source: SocketAddr, is_controlled: bool) {
    let mut rest = via.raw;
    let [oc, algo, validity, seq] = if is_controlled { Control::marks(via) } else { [None; 4] };
    let mut marks = [via.rport, via.received, oc, algo, validity, seq];
    marks.sort_by_key(|mark| mark.map(|mark| mark.as_ptr() as usize));
    for mark in marks.into_iter().flatten() {
        let start = (mark.as_ptr() as usize).saturating_sub(rest.as_ptr() as usize);
        out.extend_from_slice(rest.get(..start).unwrap_or_default());
        rest = rest.get(start + mark.len()..).unwrap_or_default();
        if via.rport == Some(mark) {
            out.extend_from_slice(b";rport=");
            put_decimal(out, u64::from(source.port()));
        }
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(b";received=");
    put_ip(source.ip().to_canonical(), |text| out.extend_from_slice(text));
}
