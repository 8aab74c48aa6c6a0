//! Dialogs: RFC 3261 §12. Who talks to whom, the numbers of their requests, and their route.

mod early;
mod opening;
mod packed;
mod reinvite;

use bytes::BytesMut;

use super::address::Address;
use super::header::HeaderId;
use super::ids::{Branch, Tag};
use super::lex;
use super::limits::{DIALOG_VALUE_MAX, ROUTE_SET_MAX};
use super::message::Message;
use super::method::Method;
use super::timers::MAX_FORWARDS;
use super::uri::{Parts, Scheme, Uri};
use super::write::{RequestHead, RequestWriter};

pub use early::EarlyDialogs;
pub use opening::Opening;
use packed::Packed;

/// One dialog, early or confirmed, from our side. Outside values are kept compact and bounded.
#[derive(Clone)]
pub struct Dialog {
    /// See the constants below.
    texts: Packed<6>,
    /// The number of our last request.
    local_cseq: u32,
    /// The number of the INVITE that opened it: the ACK to its 2xx repeats it.
    invite_cseq: u32,
    /// The number of the peer's last request.
    remote_cseq: Option<u32>,
    route_set: Box<[Box<[u8]>]>,
    state: State,
}

const CALL_ID: usize = 0;
/// From of our requests, with our tag.
const LOCAL: usize = 1;
/// To of our requests, with the peer's tag.
const REMOTE: usize = 2;
const LOCAL_TAG: usize = 3;
/// Empty for a peer of RFC 2543 (§12.1.1 wants that taken).
const REMOTE_TAG: usize = 4;
/// The URI our requests are written to.
const REMOTE_TARGET: usize = 5;

/// How far a dialog is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Opened by a provisional response.
    Early,
    /// Opened or confirmed by a 2xx.
    Confirmed,
}

/// The message cannot open a dialog: no tag, no callable Contact, too many or too long routes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoDialog;

/// Where a request of the peer stands in the order of its requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// After all before it; gaps are no error.
    Next,
    /// Lower than one before it, or the same number again: answer 500. (A true repeat is absorbed
    /// by its transaction and never comes here.)
    Old,
}

impl Dialog {
    /// The dialog that our answer with `local_tag` to `invite` opens.
    ///
    /// # Errors
    /// [`NoDialog`] when the INVITE's Contact is unusable or it has too many routes.
    pub fn from_invite(invite: &Message, local_tag: &Tag, state: State) -> Result<Self, NoDialog> {
        let to = invite.to();
        let added: [&[u8]; 2] = match to.tag {
            Some(_) => [b"", b""],
            None => [b";tag=", local_tag.as_bytes()],
        };
        Ok(Self {
            texts: Packed::new([
                &[invite.call_id()],
                &[to.raw, added[0], added[1]],
                &[invite.from().raw],
                &[local_tag.as_bytes()],
                &[invite.from().tag.unwrap_or_default()],
                &[caller_target(invite)?],
            ])?,
            local_cseq: 0,
            invite_cseq: invite.cseq(),
            remote_cseq: Some(invite.cseq()),
            route_set: routes(invite.values(HeaderId::RecordRoute))?,
            state,
        })
    }

    /// The dialog that a response of 101 to 299 with a To tag to our `invite` opens.
    ///
    /// # Errors
    /// [`NoDialog`] when the response has no To tag, no usable Contact or too many routes.
    pub fn from_response(invite: &Message, response: &Message) -> Result<Self, NoDialog> {
        Opening::of(invite)?.answered_by(response)
    }

    /// A 2xx to the INVITE has come or gone: the dialog is confirmed. As the caller, give the 2xx:
    /// its Contact and Record-Route replace those of the provisional response (§13.2.2.4).
    ///
    /// # Errors
    /// [`NoDialog`] when the 2xx has no usable Contact or too many routes; the dialog is confirmed
    /// all the same, so that it can be ended with what is known.
    pub fn confirm(&mut self, success: Option<&Message>) -> Result<(), NoDialog> {
        self.state = State::Confirmed;
        let Some(success) = success else { return Ok(()) };
        self.route_set = reversed(routes(success.values(HeaderId::RecordRoute))?);
        self.texts.replace(REMOTE_TARGET, target(success)?)
    }

    /// Takes a request of the peer inside this dialog. An ACK repeats an old number by right.
    pub fn receive(&mut self, request: &Message) -> Order {
        let number = request.cseq();
        match self.remote_cseq {
            _ if request.method() == Method::Ack => Order::Next,
            Some(last) if number <= last => Order::Old,
            Some(_) | None => {
                self.remote_cseq = Some(number);
                Order::Next
            }
        }
    }

    /// A re-INVITE, an UPDATE or the 2xx to ours moves the peer's target; one without a Contact, or
    /// with a broken one, does not.
    pub fn refresh_target(&mut self, message: &Message) {
        if let Ok(target) = target(message) {
            // One that is too long does not either.
            let _ = self.texts.replace(REMOTE_TARGET, target);
        }
    }

    /// Whether a request of the peer belongs to this dialog.
    #[must_use]
    pub fn matches_request(&self, request: &Message) -> bool {
        request.call_id() == self.call_id()
            && request.to().tag.unwrap_or_default() == self.local_tag()
            && request.from().tag.unwrap_or_default() == self.remote_tag()
    }

    /// Whether a response to a request of ours belongs to this dialog.
    #[must_use]
    pub fn matches_response(&self, response: &Message) -> bool {
        response.call_id() == self.call_id()
            && response.from().tag.unwrap_or_default() == self.local_tag()
            && response.to().tag.unwrap_or_default() == self.remote_tag()
    }

    /// Begins the next request of ours inside this dialog. Use [`Self::ack`] for an ACK.
    pub fn request<'o>(
        &mut self,
        out: &'o mut BytesMut,
        method: Method,
        sent_by: &str,
        branch: Branch,
    ) -> RequestWriter<'o> {
        let cseq = self.next_cseq();
        self.start(out, method, cseq, sent_by, branch)
    }

    /// The number for a request that is sent again as another one.
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.saturating_add(1);
        self.local_cseq
    }

    /// Begins the ACK to the 2xx of the INVITE: a new branch, the route set of the dialog.
    pub fn ack<'o>(
        &self,
        out: &'o mut BytesMut,
        sent_by: &str,
        branch: Branch,
    ) -> RequestWriter<'o> {
        self.start(out, Method::Ack, self.invite_cseq, sent_by, branch)
    }

    fn start<'o>(
        &self,
        out: &'o mut BytesMut,
        method: Method,
        cseq: u32,
        sent_by: &str,
        branch: Branch,
    ) -> RequestWriter<'o> {
        let mut head = RequestHead {
            method,
            uri: self.remote_target(),
            sent_by,
            branch,
            max_forwards: MAX_FORWARDS,
            routes: &self.route_set,
            from: self.texts.get(LOCAL),
            to: self.texts.get(REMOTE),
            call_id: self.call_id(),
            cseq,
        };
        // A first route without `lr` is a strict router (§12.2.1.1): it wants to be the
        // Request-URI, and the target at the end of the route.
        let Some(strict) = self.route_set.first().and_then(|route| strict_router(route)) else {
            return RequestWriter::start(out, &head);
        };
        let mut routes: Vec<Box<[u8]>> = self.route_set.iter().skip(1).cloned().collect();
        routes.push([b"<", self.remote_target(), b">"].concat().into());
        head.uri = strict;
        head.routes = &routes;
        RequestWriter::start(out, &head)
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &[u8] {
        self.texts.get(CALL_ID)
    }

    /// Our tag.
    #[must_use]
    pub fn local_tag(&self) -> &[u8] {
        self.texts.get(LOCAL_TAG)
    }

    /// The peer's tag; empty for a peer of RFC 2543.
    #[must_use]
    pub fn remote_tag(&self) -> &[u8] {
        self.texts.get(REMOTE_TAG)
    }

    /// The number of the INVITE that opened it.
    #[must_use]
    pub fn invite_cseq(&self) -> u32 {
        self.invite_cseq
    }

    /// The URI our requests are written to.
    #[must_use]
    pub fn remote_target(&self) -> &[u8] {
        self.texts.get(REMOTE_TARGET)
    }

    /// The Route values of our requests, in order.
    #[must_use]
    pub fn route_set(&self) -> &[Box<[u8]>] {
        &self.route_set
    }
}

impl std::fmt::Debug for Dialog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dialog({:?}, {} routes)", self.state, self.route_set.len())
    }
}

fn bounded(value: &[u8]) -> Result<Box<[u8]>, NoDialog> {
    if value.len() > DIALOG_VALUE_MAX { Err(NoDialog) } else { Ok(value.into()) }
}

/// As [`target`], of an INVITE. A caller of RFC 2543 may leave Contact out: From stands for it.
fn caller_target(invite: &Message) -> Result<&[u8], NoDialog> {
    match invite.contact() {
        Ok(None) => as_request_uri(invite.from().uri).ok_or(NoDialog),
        Ok(Some(contact)) => as_request_uri(contact.uri).ok_or(NoDialog),
        Err(_) => Err(NoDialog),
    }
}

fn target(message: &Message) -> Result<&[u8], NoDialog> {
    let contact = message.contact().map_err(|_| NoDialog)?.ok_or(NoDialog)?;
    as_request_uri(contact.uri).ok_or(NoDialog)
}

/// What of a URI may stand in a request line: never the headers behind its `?` (§19.1.1).
fn as_request_uri(text: &[u8]) -> Option<&[u8]> {
    match Parts::parse(text).ok()?.scheme {
        Scheme::Sip | Scheme::Sips | Scheme::Tel => {}
        Scheme::Other => return None,
    }
    // A `?` in a user part is no end of the URI: look behind the `@`.
    let host = lex::find(b'@', text).unwrap_or(0);
    let end = lex::find(b'?', text.get(host..)?).map_or(text.len(), |at| host + at);
    text.get(..end)
}

fn routes<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<Box<[Box<[u8]>]>, NoDialog> {
    let mut routes = Vec::new();
    for value in values {
        if routes.len() == ROUTE_SET_MAX {
            return Err(NoDialog);
        }
        Address::parse(value).map_err(|_| NoDialog)?;
        routes.push(bounded(value)?);
    }
    Ok(routes.into())
}

fn reversed(mut routes: Box<[Box<[u8]>]>) -> Box<[Box<[u8]>]> {
    routes.reverse();
    routes
}

/// The URI of a route without `lr`.
fn strict_router(route: &[u8]) -> Option<&[u8]> {
    let address = Address::parse(route).ok()?;
    let uri = Uri::parse(address.uri).ok()?;
    if uri.param("lr").is_some() { None } else { as_request_uri(address.uri) }
}

fn state_of(response: &Message) -> State {
    match response.status() {
        Some(200..300) => State::Confirmed,
        Some(_) | None => State::Early,
    }
}

#[cfg(test)]
mod tests;
