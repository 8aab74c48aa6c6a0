//! What the brain has counted: read by the shell for metrics, never reset.

/// Monotonic counters of one core. None of them is keyed by anything that came from outside.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Datagrams that are no SIP message and could not be answered.
    pub unreadable: u64,
    /// Malformed requests answered by a 4xx or 5xx.
    pub malformed_answered: u64,
    /// Keep-alives: datagrams of nothing but line ends.
    pub keepalives: u64,
    /// Responses that belong to no transaction and no call.
    pub stray_responses: u64,
    /// ACKs that belong to no call.
    pub stray_acks: u64,
    /// Requests refused since they name no dialog of ours: 481.
    pub unknown_dialogs: u64,
    /// Requests inside a call refused since too many come there: 500.
    pub floods_inside: u64,
    /// Keys that came by INFO and went nowhere, since nobody types so fast.
    pub keys_dropped: u64,
    /// In-dialog messages from an address that is not the dialog's trunk: a possible attack.
    pub foreign_sources: u64,
    /// INVITEs that came back to us: 482.
    pub loops: u64,
    /// Copies of one request over several paths: 482.
    pub merged_requests: u64,
    /// Requests refused by method, extension or hop limit.
    pub unsupported_requests: u64,
    /// Attempts refused for lack of room, before a transaction existed.
    pub refused_overload: u64,
    /// Attempts refused since the recorder owes too many records.
    pub refused_recorder: u64,
    /// Attempts refused while draining.
    pub refused_draining: u64,
    /// Answers of the store, the media plane or an operator about a call that is gone.
    pub late_answers: u64,
    /// Attempts refused since their source sends too many of them.
    pub refused_source: u64,
    /// Messages that should not have been sent, and met silence since their source sends too many.
    pub silenced: u64,
    /// Attempts taken: each takes one credit and gives one record.
    pub attempts: u64,
    /// Calls that were bridged.
    pub answered: u64,
    /// Further trunks tried after one failed.
    pub failovers: u64,
    /// Challenges of trunks that were answered with their accounts.
    pub challenges_answered: u64,
    /// Challenges without an account, or to an answer that was wrong.
    pub challenges_unanswered: u64,
    /// Registrations at trunks that were refused or not answered.
    pub registrations_failed: u64,
    /// Attempts that were asked who they are: without a proof, or with an old one.
    pub unproved: u64,
    /// Wrong answers to challenges of ours.
    pub logins_failed: u64,
    /// Attempts and trunks passed over since a trunk has as much as it takes.
    pub trunks_full: u64,
    /// Trunks passed over since they have asked for less.
    pub hops_spared: u64,
    /// Own invariants found broken; each ended the call it was found in.
    pub invariants_broken: u64,
}

/// How much state is held right now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Occupancy {
    /// Attempts and calls that are not over.
    pub calls: usize,
    /// Calls that are over and wait for a last answer of a peer, or for the end of the time in
    /// which a fork may still answer.
    pub lingering: usize,
    /// Attempts that wait for their route.
    pub pending_routes: usize,
    /// SIP transactions of all kinds.
    pub transactions: usize,
    /// Timers that are set.
    pub timers: usize,
    /// Records that may still be taken.
    pub recorder_credits: u32,
}

impl Occupancy {
    /// Nothing is left of any call.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.calls == 0
            && self.lingering == 0
            && self.pending_routes == 0
            && self.transactions == 0
            && self.timers == 0
    }
}
