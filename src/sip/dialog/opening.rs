//! What must be kept of an INVITE of ours to read its answers.

use super::{Dialog, NoDialog, as_request_uri, bounded, reversed, routes, state_of, target};
use crate::sip::header::HeaderId;
use crate::sip::ids::{SipCallId, Tag};
use crate::sip::message::Message;

/// What of an INVITE of ours tells which dialogs its answers open. Whom it was sent to is not in
/// here: an answer repeats that itself, so the INVITE need not be kept for it.
#[derive(Clone, Eq, PartialEq)]
pub struct Opening {
    pub(super) call_id: Box<[u8]>,
    pub(super) from: Box<[u8]>,
    pub(super) tag: Box<[u8]>,
    pub(super) cseq: u32,
}

impl Opening {
    /// What an INVITE is written with.
    #[must_use]
    pub fn new(call_id: &SipCallId, from: &str, tag: &Tag, cseq: u32) -> Self {
        Self {
            call_id: call_id.as_bytes().into(),
            from: from.as_bytes().into(),
            tag: tag.as_bytes().into(),
            cseq,
        }
    }

    /// What a written INVITE says.
    ///
    /// # Errors
    /// [`NoDialog`] when a value is too long.
    pub fn of(invite: &Message) -> Result<Self, NoDialog> {
        Ok(Self {
            call_id: bounded(invite.call_id())?,
            from: bounded(invite.from().raw)?,
            tag: bounded(invite.from().tag.unwrap_or_default())?,
            cseq: invite.cseq(),
        })
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
        let target = bounded(as_request_uri(response.to().uri).ok_or(NoDialog)?)?;
        let route_set = routes(response.values(HeaderId::RecordRoute)).unwrap_or_default();
        self.dialog(response, target, reversed(route_set))
    }

    fn dialog(
        &self,
        response: &Message,
        remote_target: Box<[u8]>,
        route_set: Box<[Box<[u8]>]>,
    ) -> Result<Dialog, NoDialog> {
        let remote_tag = response.to().tag.ok_or(NoDialog)?;
        Ok(Dialog {
            call_id: self.call_id.clone(),
            local: self.from.clone(),
            remote: bounded(response.to().raw)?,
            local_tag: self.tag.clone(),
            remote_tag: bounded(remote_tag)?,
            local_cseq: self.cseq,
            invite_cseq: self.cseq,
            remote_cseq: None,
            remote_target,
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
