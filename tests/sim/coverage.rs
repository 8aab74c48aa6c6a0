//! Whether everything that can happen has happened: causes of calls, and edges between statuses.

use std::cell::RefCell;
use std::collections::BTreeSet;

use maskline::domain::cause::Cause;

use crate::stories;
use crate::witness::{CallStage, Witness};

/// An edge of the status diagram; it begins with nothing.
pub(crate) type Edge = (Option<CallStage>, CallStage);

thread_local! {
    static SEEN: RefCell<(BTreeSet<Cause>, BTreeSet<Edge>)> =
        const { RefCell::new((BTreeSet::new(), BTreeSet::new())) };
}

/// Remembers what this world has shown.
pub(crate) fn note(witness: &Witness) {
    SEEN.with_borrow_mut(|(causes, edges)| {
        causes.extend(&witness.causes);
        edges.extend(&witness.edges);
    });
}

/// Causes of later issues: of rules and menus that do not exist yet; and our own faults.
const NOT_YET: [Cause; 9] = [
    Cause::QuietHours,
    Cause::FrequencyCap,
    Cause::PlatformBudget,
    Cause::NoConsent,
    Cause::AgentNotFiled,
    Cause::IntentRequired,
    Cause::DirectionNotAllowed,
    Cause::ExtensionWrong,
    Cause::SharedList,
];

/// Refused without a record, or never.
const WITHOUT_RECORD: [Cause; 2] = [Cause::Overload, Cause::Internal];

#[test]
fn every_reachable_cause_and_every_status_edge_is_seen() {
    for story in stories::all() {
        story();
    }
    SEEN.with_borrow(|(causes, edges)| {
        for row in maskline::domain::cause::CAUSES {
            let later = NOT_YET.contains(&row.cause) || WITHOUT_RECORD.contains(&row.cause);
            assert_eq!(causes.contains(&row.cause), !later, "{}", row.label);
        }
        use CallStage::{Answered, Calling, Ended, Ringing};
        let all = [
            (None, Calling),
            (Some(Calling), Ringing),
            (Some(Calling), Answered),
            (Some(Calling), Ended),
            (Some(Ringing), Answered),
            (Some(Ringing), Ended),
            (Some(Answered), Ended),
        ];
        assert_eq!(edges, &BTreeSet::from(all));
    });
}
