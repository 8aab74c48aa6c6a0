//! What must be kept of an INVITE of ours to read its answers.

use super::packed::Packed;
use super::{Dialog, NoDialog, as_request_uri, reversed, routes, state_of, target};
use crate::sip::header::HeaderId;
use crate::sip::ids::{SipCallId, Tag};
use crate::sip::message::Message;

/// What of an INVITE of ours tells which dialogs its answers open. Whom it was sent to is not in
/// here: an answer repeats that itself, so the INVITE need not be kept for it.
#[derive(Clone, Eq, PartialEq)]
pub struct Opening {
    /// See the constants below.
    texts: Packed<3>,
    cseq: u32,
}

const CALL_ID: usize = 0;
const FROM: usize = 1;
const TAG: usize = 2;

impl Opening {
    /// What an INVITE is written with.
    ///
    /// # Errors
    /// [`NoDialog`] when a value is too long.
    pub fn new(call_id: &SipCallId, from: &[u8], tag: &Tag, cseq: u32) -> Result<Self, NoDialog> {
        let texts = Packed::new([&[call_id.as_bytes()], &[from], &[tag.as_bytes()]])?;
        Ok(Self { texts, cseq })
    }

    /// The INVITE is sent again with this number.
    pub fn renumber(&mut self, cseq: u32) {
        self.cseq = cseq;
    }

    /// All texts in here.
    #[cfg(test)]
    pub(super) fn kept(&self) -> [&[u8]; 3] {
        [CALL_ID, FROM, TAG].map(|at| self.texts.get(at))
    }

    /// What a written INVITE says.
    ///
    /// # Errors
    /// [`NoDialog`] when a value is too long.
    pub fn of(invite: &Message) -> Result<Self, NoDialog> {
        let from = invite.from();
        let tag = from.tag.unwrap_or_default();
        let texts = Packed::new([&[invite.call_id()], &[from.raw], &[tag]])?;
        Ok(Self { texts, cseq: invite.cseq() })
    }

    /// The dialog that a response of 101 to 299 with a To tag opens.
    ///
    /// # Errors
    /// [`NoDialog`] when the response has no To tag, no usable Contact or too many routes.
    pub fn answered_by(&self, response: &Message) -> Result<Dialog, NoDialog> {
        let route_set = reversed(routes(response.values(HeaderId::RecordRoute))?);
        self.dialog(response, target(response)?, route_set)
    }

    /// The dialog of a 2xx that [`Self::answered_by`] refuses, good enough to ACK the 2xx and to
    /// end what it began: requests go to the URI in To, which is the Request-URI of the INVITE.
    ///
    /// # Errors
    /// [`NoDialog`] when the response has no To tag, or a To that cannot be asked for.
    pub fn answered_unusably_by(&self, response: &Message) -> Result<Dialog, NoDialog> {
        let target = as_request_uri(response.to().uri).ok_or(NoDialog)?;
        let route_set = routes(response.values(HeaderId::RecordRoute)).unwrap_or_default();
        self.dialog(response, target, reversed(route_set))
    }

    fn dialog(
        &self,
        response: &Message,
        remote_target: &[u8],
        route_set: Box<[Box<[u8]>]>,
    ) -> Result<Dialog, NoDialog> {
        let remote_tag = response.to().tag.ok_or(NoDialog)?;
        Ok(Dialog {
            texts: Packed::new([
                &[self.texts.get(CALL_ID)],
                &[self.texts.get(FROM)],
                &[response.to().raw],
                &[self.texts.get(TAG)],
                &[remote_tag],
                &[remote_target],
            ])?,
            local_cseq: self.cseq,
            invite_cseq: self.cseq,
            remote_cseq: None,
            route_set,
            state: state_of(response),
        })
    }
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opening({})", self.cseq)
    }
}
