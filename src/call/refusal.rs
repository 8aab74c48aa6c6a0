//! Tells a caller why it is refused before it gets the final status: in early media, and never as
//! an answer. What connects nobody sounds and lasts the same, whatever the reason.

use std::time::{Duration, Instant};

use super::call::Call;
use super::coupling::{Event, Stage};
use super::io::{Output, PeerRole};
use super::negotiation::{leg_keys, remote_media};
use super::set_up::Offer;
use super::speech;
use super::timers::Timer;
use super::wires::Wires;
use crate::domain::cause::Cause;
use crate::domain::now::Now;
use crate::rtp::plane::{Command, Side};
use crate::rtp::sound::Sound;
use crate::sdp::{Codec, CodecSet, Direction, Session, Wish};
use crate::sip::transport::Transport;

/// Refusals that are told at one time by one core; beyond it the status comes at once. Whoever
/// tries many numbers shall not take the ports of calls.
pub(super) const REFUSALS_MAX: usize = 200;
/// No refusal takes longer, whatever the media plane says.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(20);
/// The number of what is played: there is only one.
const PLAY: u32 = 1;

impl Call {
    /// How an attempt is refused before anybody is called: told first where there is something to
    /// say and a way to say it.
    pub(super) fn refused(&mut self, wires: &Wires, cause: Cause) -> Event {
        let offer = self.set_up.as_ref().map(|set_up| &set_up.offer);
        let can_hear = matches!(offer, Some(Offer::Made(offer))
            if codec_of(offer).is_some() && self.may_be_spoken_to(wires, offer));
        let is_told = wires.config.announce_refusals
            && wires.refusals < REFUSALS_MAX
            && can_hear
            && speech::refusal(cause).is_some();
        if is_told { Event::RefusedAloud(cause) } else { Event::Refused(cause) }
    }

    /// A datagram can be forged. A caller that has proved nothing hears us only where its datagrams
    /// came from: nobody has us send to somebody else what lasts for seconds.
    fn may_be_spoken_to(&self, wires: &Wires, offer: &Session) -> bool {
        let peer = self.leg_a.peer();
        let has_proved = wires.accounts.login(peer.trunk).is_some()
            || matches!(peer.role, PeerRole::Agent { .. });
        peer.transport != Transport::Udp
            || has_proved
            || [offer.rtp, offer.rtcp].iter().all(|media| media.ip() == peer.address.ip())
    }

    /// Our ports are open: the caller hears why.
    pub(super) fn speak_refusal(&mut self, wires: &mut Wires, at: Instant, cause: Cause) {
        let session = self.session();
        let Some(mut ours) = self.ours_of_caller(wires) else { return };
        let until = at + REFUSAL_TIME_MAX;
        wires.timers.arm(at, self.serial, Timer::Speech, until);
        let learning = self.trunk_media(wires, Side::A).learning;
        let Some(set_up) = &self.set_up else { return };
        let Offer::Made(offer) = &set_up.offer else { return };
        let (Some(codec), Some(text)) = (codec_of(offer), speech::refusal(cause)) else { return };
        let codecs = CodecSet::from_iter([codec]);
        let direction = Direction::SendRecv;
        let answer = ours.answer(offer, Wish { direction, ptime_ms: None, codecs });
        let remote = remote_media(offer, ours.payloads(codecs), codecs, direction);
        let remote = remote.learning(learning);
        let keys = leg_keys(&ours);
        let (side, sound) = (Side::A, Sound::Prompt(text));
        self.leg_a.tell_early(wires, at, 183, &answer);
        wires.outputs.extend([
            Output::Media(Command::Update { session, side, remote, keys }),
            Output::Media(Command::Play { session, side, play: PLAY, sound, until_key: false }),
        ]);
    }

    /// Refuses the caller, and writes down what it was told.
    pub(super) fn refuse_caller(&mut self, wires: &mut Wires, at: Instant, cause: Cause) {
        self.leg_a.refuse(wires, at, cause);
        if let Some(record) = &mut self.record {
            record.refused_with(cause.sip_status());
        }
    }

    /// Something was played to the caller to its end.
    pub(super) fn refusal_is_told(&mut self, wires: &mut Wires, now: Now) {
        if matches!(self.stage(), Stage::Refusing(_)) {
            self.happen(wires, now, Event::Told);
        }
    }
}

/// The one codec in which a caller is spoken to.
pub(super) fn codec_of(offer: &Session) -> Option<Codec> {
    [Codec::Pcma, Codec::Pcmu].into_iter().find(|codec| offer.codecs().contains(*codec))
}
