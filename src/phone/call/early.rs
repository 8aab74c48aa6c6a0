//! What a phone does before the answer, and to keep a call alive: PRACK and session timers.

use super::super::leg::LegState;
use super::super::line::{Line, with_extras};
use super::super::script::{Script, Step};
use super::Call;
use crate::domain::now::Now;
use crate::sip::dialog::Dialog;
use crate::sip::message::Message;
use crate::sip::method::Method;
use crate::sip::reliable::{RAck, find_rseq};
use crate::sip::write::RequestWriter;

/// How a call is dialled: the first steps of its script.
#[derive(Clone, Copy, Default)]
pub(super) struct Manner {
    pub(super) without_offer: bool,
    reliably: bool,
    with_timer: bool,
}

impl Manner {
    /// Takes the steps that are about dialling.
    pub(super) fn of(script: &mut Script) -> Self {
        let mut manner = Self::default();
        loop {
            if script.begins_with(Step::DialWithoutOffer) {
                manner.without_offer = true;
            } else if script.begins_with(Step::DialReliably) {
                manner.reliably = true;
            } else if script.begins_with(Step::DialWithTimer) {
                manner.with_timer = true;
            } else {
                return manner;
            }
        }
    }

    /// What the INVITE says of it.
    pub(super) fn write<'o>(self, mut writer: RequestWriter<'o>) -> RequestWriter<'o> {
        if self.reliably {
            writer = writer.header("Require", "100rel");
        }
        if self.with_timer {
            writer = with_timer(writer);
        }
        writer
    }
}

/// The shortest timer there may be; this phone refreshes, or forgets to.
fn with_timer(writer: RequestWriter<'_>) -> RequestWriter<'_> {
    writer.header("Supported", "timer").header("Session-Expires", "90;refresher=uac")
}

impl Call {
    /// A provisional response to our INVITE that wants a PRACK. An offer in it is answered there.
    pub(super) fn confirm_ringing(&mut self, now: Now, line: &mut Line, response: &Message) {
        let Some(rseq) = find_rseq(response) else { return };
        if self.early.is_none() {
            self.early = Dialog::from_response(&self.invite, response).ok();
        }
        let Some(dialog) = &mut self.early else { return };
        let rack = RAck { rseq, cseq: response.cseq() };
        let answer = (!response.body().is_empty()).then(|| line.sdp(self.record.media, 1));
        let branch = line.new_branch();
        let writer = dialog.request(&mut line.scratch, Method::Prack, &line.sent_by, branch);
        let writer = with_extras(writer, &line.config).header("RAck", rack.value());
        let prack = match answer {
            Some(sdp) => {
                self.remote = crate::sdp::parse(response.body()).ok().map(|session| session.rtp);
                writer.body("application/sdp", sdp.as_bytes())
            }
            None => writer.finish(),
        };
        // Without room the ringing comes again.
        let _ = line.transactions.request(now.monotonic, prack, line.config.relay, self.owner);
    }

    /// Tells the far end that we are still there.
    pub(super) fn refresh(&mut self, now: Now, line: &mut Line) {
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.state == LegState::Up) else { return };
        let branch = line.new_branch();
        let writer = leg.dialog.request(&mut line.scratch, Method::Update, &line.sent_by, branch);
        let update = with_timer(with_extras(writer, &line.config)).finish();
        let _ = line.transactions.request(now.monotonic, update, line.config.relay, self.owner);
    }
}
