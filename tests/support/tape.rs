//! The order to record a call, as the brain gives it to the media plane.

use maskline::domain::recording::Retention;
use maskline::rtp::plane::{RecordAs, TapeKey};

pub(crate) fn as_recording() -> Box<RecordAs> {
    Box::new(RecordAs {
        recording: 7,
        tenant: 1,
        call: 2,
        started_ms: 1_800_000_000_000,
        retention: Retention::TenYears.code(),
        key: TapeKey { key: [5; 32].into(), wrapped: [9; 40].into() },
    })
}
