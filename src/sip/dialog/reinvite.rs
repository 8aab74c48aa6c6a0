//! What an INVITE inside a dialog needs beside the first one: an ACK with its own number.

use bytes::BytesMut;

use super::Dialog;
use crate::sip::ids::Branch;
use crate::sip::method::Method;
use crate::sip::write::RequestWriter;

impl Dialog {
    /// Begins the ACK to the 2xx of the INVITE with this number, which came after the first one.
    pub fn ack_number<'o>(
        &self,
        out: &'o mut BytesMut,
        cseq: u32,
        sent_by: &str,
        branch: Branch,
    ) -> RequestWriter<'o> {
        self.start(out, Method::Ack, cseq, sent_by, branch)
    }
}
