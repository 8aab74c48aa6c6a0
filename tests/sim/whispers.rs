//! What is said before a call is bridged, as an outside observer knows it: who was told, which keys
//! were pressed, and what may follow from that.

use std::sync::Arc;
use std::time::Duration;

use maskline::call::io::Control;
use maskline::domain::cdr::{Cdr, Direction};
use maskline::domain::purpose::Purpose;
use maskline::domain::whisper::{Dislike, Unwanted, WhisperMode, WhisperPolicy, WhisperResult};
use maskline::phone::speech::EVENT_TYPE;
use maskline::prompt::{Clip, Voice};
use maskline::rtp::sound::Sounds;

use crate::invariants::{Verdict, demand};
use crate::witness::Attempt;
use crate::world::{Event, World};

/// Each clip is half a second of silence.
pub(crate) fn sounds() -> Sounds {
    let silence: Arc<[u8]> = vec![0xd5; 4_000].into();
    let mut sounds = Sounds::default();
    for voice in Voice::ALL {
        for clip in Clip::ALL {
            sounds.insert(clip.id(voice), Arc::clone(&silence));
        }
    }
    sounds
}

/// The event of a key in an INFO, or in a packet of telephone events.
pub(crate) fn key_in_info(bytes: &[u8]) -> Option<u8> {
    if !bytes.starts_with(b"INFO ") {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    text.split_once("Signal=")?.1.split("\r\n").next()?.parse().ok()
}

pub(crate) fn key_in_packet(bytes: &[u8]) -> Option<u8> {
    let is_event = bytes.get(1).is_some_and(|kind| kind & 0x7f == EVENT_TYPE);
    bytes.get(12).copied().filter(|_| is_event)
}

/// How calls of agents are announced in this world; none of them names a purpose.
fn mode(world: &World) -> Option<WhisperMode> {
    world.config.whisper.policy.mode(Purpose::Unspecified)
}

/// The caller is sent a 2xx.
pub(crate) fn caller_is_answered(world: &World, attempt: &Attempt) -> Verdict {
    let is_agents = attempt.dialler.tenant().is_some();
    let accepted = attempt.keys.contains(&1);
    match mode(world).filter(|_| is_agents) {
        None => Ok(()),
        Some(WhisperMode::Accept) => demand(accepted, 11, || {
            format!("{} is answered after the keys {:?}", attempt.dialler.name, attempt.keys)
        }),
        Some(WhisperMode::Announce) => demand(attempt.was_told || accepted, 11, || {
            format!("{} is answered and the callee was told nothing", attempt.dialler.name)
        }),
    }
}

/// A record is written: each call that was announced has one result, and it fits the rest.
pub(crate) fn record_fits(world: &World, attempt: &Attempt, cdr: &Cdr) -> Verdict {
    let is_announced = mode(world).is_some() && cdr.direction == Direction::ToSubscriber;
    let was_heard = cdr.callee_answered_at.is_some();
    demand(cdr.whisper.is_some() == (is_announced && was_heard), 12, || format!("{cdr:?}"))?;
    let Some(whisper) = &cdr.whisper else { return Ok(()) };
    let was_answered = cdr.answered_at.is_some();
    demand(whisper.result.admits() == was_answered, 12, || format!("{cdr:?}"))?;
    demand(was_answered || cdr.sip_status != 200, 12, || format!("{cdr:?}"))?;
    let key = match whisper.result {
        WhisperResult::Accepted => Some(1),
        WhisperResult::Later => Some(2),
        WhisperResult::Refused => Some(3),
        WhisperResult::WrongPerson => Some(8),
        WhisperResult::Reported => Some(9),
        WhisperResult::Announced
        | WhisperResult::TimedOut
        | WhisperResult::HungUp
        | WhisperResult::GivenUp => None,
    };
    demand(key.is_none_or(|key| attempt.keys.contains(&key)), 12, || {
        format!("{:?} came of the keys {:?}", whisper.result, attempt.keys)
    })
}

impl World {
    /// Subscribers hear who calls, and must accept or need not.
    pub(crate) fn whispering(
        policy: WhisperPolicy,
    ) -> impl FnOnce(&mut maskline::call::config::CallConfig) {
        move |config| config.whisper.policy = policy
    }

    /// A callee has said that it wants no more such calls: that is in force, and the store learns
    /// of it in time.
    pub(crate) fn note_unwanted(&mut self, unwanted: Unwanted) {
        let party = self.store.find_binding_of(Some(unwanted.binding));
        if let Some(party) = party.filter(|_| unwanted.what == Dislike::Kind) {
            self.commit(|facts| _ = facts.unwanted.insert(party));
        }
        self.queue_in(WRITTEN_AFTER, Event::Unwanted(unwanted));
    }

    pub(crate) fn write_unwanted(&mut self, unwanted: Unwanted) {
        let party = self.store.find_binding_of(Some(unwanted.binding));
        // A report forbids nothing.
        let party = party.filter(|_| unwanted.what == Dislike::Kind);
        if party.is_some_and(|party| !self.store.write_unwanted(party)) {
            return self.queue_in(WRITTEN_AFTER, Event::Unwanted(unwanted));
        }
        self.store.invalidate();
        self.order(Control::UnwantedStored(unwanted));
    }
}

/// The store is slow; the second try may find it back.
const WRITTEN_AFTER: Duration = Duration::from_secs(2);
