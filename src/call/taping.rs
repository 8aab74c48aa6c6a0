//! What becomes of the recording of a call whose purpose demands one. It is asked for with the
//! bridge; what the media plane says of it is written down and obeyed.

use super::call::Call;
use super::coupling::{Event, Stage};
use super::wires::Wires;
use crate::domain::cause::Cause;
use crate::domain::id::TenantId;
use crate::domain::now::Now;
use crate::domain::purpose::Purpose;
use crate::domain::recording::RecordingKey;
use crate::domain::route::{Callee, Route};
use crate::rtp::plane::{Command, RecordAs, TapeKey};
use crate::sdp::CodecSet;

/// The recording of a call whose callee is told of it.
#[derive(Debug)]
pub(super) struct Recording {
    tenant: TenantId,
    /// The call does not go on without it.
    is_required: bool,
    wanted: Wanted,
}

#[derive(Debug)]
enum Wanted {
    /// With the bridge; there may be no key for it.
    Later(Option<Box<RecordingKey>>),
    /// The media plane was asked.
    Asked,
}

impl Recording {
    /// Of a call that is announced; `None` where its purpose demands none.
    pub(super) fn of(wires: &Wires, route: &mut Route, purpose: Purpose) -> Option<Box<Self>> {
        let rules = &wires.config.recording;
        rules.purposes.contains(&purpose).then(|| {
            let is_required = rules.required.contains(&purpose);
            let wanted = Wanted::Later(route.recording.take());
            Box::new(Self { tenant: route.tenant, is_required, wanted })
        })
    }
}

/// A call that is said to be recorded speaks only what can be written down.
pub(super) fn limit_codecs(call: &mut Call, wires: &Wires, route: &Route, purpose: Purpose) {
    let is_recorded = wires.config.recording.purposes.contains(&purpose);
    if let Some(set_up) = &mut call.set_up
        && is_recorded
        && is_told(wires, route, purpose)
    {
        set_up.limit_to(CodecSet::g711());
    }
}

fn is_told(wires: &Wires, route: &Route, purpose: Purpose) -> bool {
    match route.callee {
        Callee::Subscriber(_) => wires.config.whisper.policy.mode(purpose).is_some(),
        Callee::Desk(_) => false,
    }
}

/// Whether a call would have to be ended as soon as it is bridged: nobody is called for that.
pub(super) fn cannot_be_recorded(wires: &Wires, route: &Route, purpose: Purpose) -> bool {
    let rules = &wires.config.recording;
    let is_required = rules.purposes.contains(&purpose) && rules.required.contains(&purpose);
    is_told(wires, route, purpose) && is_required && route.recording.is_none()
}

impl Call {
    /// The sides are joined: from now on everything is kept.
    pub(super) fn begin_recording(&mut self, wires: &mut Wires, now: Now) -> Option<Event> {
        let session = self.session();
        let recording = self.recording.as_mut()?;
        let Wanted::Later(key) = std::mem::replace(&mut recording.wanted, Wanted::Asked) else {
            return None;
        };
        let Some(key) = key else { return self.note_recording(false) };
        let recording = Box::new(RecordAs {
            recording: key.recording.as_u128(),
            tenant: recording.tenant.as_u128(),
            call: self.id.as_u128(),
            started_ms: now.unix_ms(),
            retention: wires.config.recording.retention.code(),
            key: TapeKey { key: (**key.key).into(), wrapped: key.wrapped },
        });
        self.order(wires, Command::Record { session, recording });
        None
    }

    /// The media plane tells what has become of the recording, now or later.
    pub(super) fn on_recording(&mut self, wires: &mut Wires, now: Now, begun: bool) {
        let end = self.note_recording(begun);
        if let Some(end) = end.filter(|_| self.stage() == Stage::Bridged) {
            self.happen(wires, now, end);
        }
    }

    fn note_recording(&mut self, begun: bool) -> Option<Event> {
        let is_required = self.recording.as_ref()?.is_required;
        if let Some(record) = &mut self.record {
            record.taped(begun);
        }
        (is_required && !begun).then_some(Event::Stopped(Cause::NotRecorded))
    }
}
