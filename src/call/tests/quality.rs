//! How a call sounded, in its record.

#[cfg(test)]
use super::harness::*;
use super::whisper::session;
use crate::call::io::Input;
use crate::domain::cdr::MediaCounts;
use crate::rtp::plane::{Report, Side, SideCounts};

#[test]
fn the_record_says_how_each_side_sounded_and_who_was_not_heard() {
    let mut h = Harness::new();
    let up = h.bridged();
    let session = session(&h);
    h.input(Input::Media(Report::Latched { session, side: Side::A }));
    h.input(Input::Media(Report::OneWay { session, side: Side::B }));
    // The last word comes a little later.
    h.has_media = false;
    h.from(pbx(), up.caller.bye());
    assert_eq!(h.lines(pbx()), ["200 BYE"], "nothing of it ends the call");
    h.confirm(carrier(), "BYE");
    let heard = SideCounts {
        packets: 500,
        lost: 3,
        dropped: 1,
        jitter_us: 250,
        round_trip_us: 40_000,
        mos_centi: 438,
    };
    h.input(Input::Media(Report::Closed { session, counts: [heard, SideCounts::NOTHING] }));
    let caller = MediaCounts {
        packets: 500,
        lost: 3,
        dropped: 1,
        jitter_us: 250,
        round_trip_us: 40_000,
        mos_centi: 438,
        one_way: false,
        latched: true,
    };
    let callee = MediaCounts { one_way: true, ..MediaCounts::default() };
    assert_eq!(h.cdr().media, Some([caller, callee]));
    h.check_nothing_is_left();
}
