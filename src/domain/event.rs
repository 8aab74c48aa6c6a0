//! What tenants are told: the closed list of event kinds. A kind that is not here cannot be
//! emitted.

macro_rules! event_kinds {
    ($($name:ident $label:literal $says:literal;)+) => {
        /// What has happened.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        #[expect(missing_docs, reason = "each says it in `says`")]
        pub enum EventKind {
            $($name,)+
        }

        impl EventKind {
            /// Every kind there is, by their words.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The stable word in the store, the API and webhooks.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// One sentence for whoever receives it.
            #[must_use]
            pub const fn says(self) -> &'static str {
                match self { $(Self::$name => $says,)+ }
            }
        }
    };
}

event_kinds! {
    BindingCreated "binding.created" "A virtual number was bound to a subscriber.";
    BindingExpired "binding.expired" "A binding's time was over.";
    BindingExpiring "binding.expiring" "A binding ends soon, unless it is renewed.";
    BindingReleased "binding.released" "A binding was ended by a request.";
    BindingResumed "binding.resumed" "A suspended binding connects calls again.";
    BindingSuspended "binding.suspended" "A binding connects no calls until it is resumed.";
    BindingUpdated "binding.updated" "A binding's terms were changed, or it was renewed.";
    BlockCreated "block.created" "A subscriber shut out an agent.";
    CallCompleted "call.completed" "A call that had reached the callee's side is over.";
    CallRefused "call.refused" "A call was refused; its cause says why.";
    CapReached "cap.reached" "A cap against fraud refused an attempt or ended a call.";
    ComplaintOpened "complaint.opened" "A subscriber reported a call, by a key or in the menu.";
    NumberPoolLow "number.pool_low"
        "Few numbers are left in a pool that the tenant has numbers of.";
    NumberStateChanged "number.state_changed" "A virtual number in use has another state.";
    SubscriberPaused "subscriber.paused" "A subscriber wants no calls until the time it says.";
    TenantResumed "tenant.resumed" "The tenant's calls are connected again.";
    TenantSuspended "tenant.suspended" "The tenant's calls are refused.";
    WebhookEndpointDisabled "webhook.endpoint_disabled"
        "An endpoint answered 410, or failed for five days, and is told nothing more.";
    WebhookPing "webhook.ping" "Somebody asked for a trial of one endpoint.";
    WhisperAccepted "whisper.accepted" "A subscriber heard who calls, and took the call.";
    WhisperLater "whisper.later" "A subscriber heard who calls, and wants it another time.";
    WhisperRefused "whisper.refused" "A subscriber heard who calls, and wants no such calls.";
    WhisperReported "whisper.reported" "A subscriber heard who calls, and reported the call.";
    WhisperTimedOut "whisper.timed_out" "A subscriber heard who calls, and was silent.";
    WhisperWrongPerson "whisper.wrong_person"
        "Whoever heard who calls is not the one who is meant.";
}

impl EventKind {
    /// Reads a word back.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.label() == label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_the_form_that_the_store_takes_and_is_there_once() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::find_label(kind.label()), Some(*kind));
            let parts: Vec<&str> = kind.label().split('.').collect();
            let lower = |part: &&str| part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(parts.len() == 2 && parts.iter().all(lower), "{}", kind.label());
            assert!(kind.says().ends_with('.'), "{}", kind.label());
        }
        assert!(EventKind::ALL.is_sorted_by_key(|kind| kind.label()));
        assert_eq!(EventKind::find_label("binding.nothing"), None);
    }

    #[test]
    fn the_table_in_the_documents_is_this_one() {
        let document = include_str!("../../docs/webhooks.md");
        let written: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
        let row = |kind: &EventKind| format!("| `{}` | {} |", kind.label(), kind.says());
        let wanted: Vec<String> = EventKind::ALL.iter().map(row).collect();
        assert_eq!(
            written.get(..wanted.len()),
            Some(&*wanted.iter().map(|row| &**row).collect::<Vec<_>>())
        );
    }
}
