//! What a phone does in one call: steps in order, each begun when the one before is over.

use std::collections::VecDeque;
use std::time::Duration;

use super::speech::Voice;

/// The most steps of one script.
pub const STEPS_MAX: usize = 64;

/// One thing that the person at the phone, or the phone itself, does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing happens for this long.
    Wait(Duration),
    /// Waits until the callee's phone rings. Callers only.
    AwaitRinging,
    /// Waits until the call is up: a caller for the 200, a callee for the ACK.
    AwaitAnswer,
    /// Sends a provisional response from one of several phones behind one number: each `fork` has
    /// its own To tag.
    Ring {
        /// 101 to 199.
        status: u16,
        /// Which phone.
        fork: u8,
    },
    /// Sends a 200 from one of several phones behind one number.
    Answer {
        /// Which phone.
        fork: u8,
    },
    /// Refuses the call with this status.
    Reject {
        /// 300 to 699.
        status: u16,
    },
    /// Begins to send 20 ms frames, one every `every`.
    Speak {
        /// What is in the frames.
        voice: Voice,
        /// [`super::speech::FRAME`] for real speech; longer for less work in simulations.
        every: Duration,
    },
    /// Stops to send frames.
    Hush,
    /// Presses a key, told by telephone events (RFC 4733).
    Press {
        /// Its event: 0 to 9, 10 for `*`, 11 for `#`.
        event: u8,
    },
    /// Presses a key, told by an INFO.
    TellKey {
        /// Its event, as above.
        event: u8,
    },
    /// Ends the call as far as it has come: CANCEL, BYE, or a refusal. A callee that has not
    /// waited for the ACK sends its BYE too early, on purpose.
    HangUp,
    /// Forgets to send the next ACKs.
    LoseAcks {
        /// How many.
        times: u8,
    },
    /// Offers new media within the call.
    Reinvite,
    /// Asks for an offer within the call, and answers it with the ACK.
    AskForOffer,
    /// Dials without an offer, and answers that of the 200 with the ACK. As all that is about
    /// dialling only at the beginning of the script.
    DialWithoutOffer,
    /// Demands that ringing is told reliably, and confirms it by PRACK.
    DialReliably,
    /// Asks for the shortest session timer, which this phone has to refresh.
    DialWithTimer,
    /// Refreshes the session by UPDATE.
    Refresh,
    /// The battery is empty: from here on nothing is sent, nothing is answered.
    Vanish,
}

/// The steps of one call. Steps beyond [`STEPS_MAX`] are left out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Script {
    steps: VecDeque<Step>,
}

impl Script {
    /// Nothing happens at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one step.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.push(step);
        self
    }

    /// Adds one step in place.
    pub fn push(&mut self, step: Step) {
        if self.steps.len() < STEPS_MAX {
            self.steps.push_back(step);
        }
    }

    /// Waits.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        self.then(Step::Wait(wait))
    }

    /// Sends 180.
    #[must_use]
    pub fn ring(self) -> Self {
        self.then(Step::Ring { status: 180, fork: 0 })
    }

    /// Sends 200.
    #[must_use]
    pub fn answer(self) -> Self {
        self.then(Step::Answer { fork: 0 })
    }

    /// Refuses.
    #[must_use]
    pub fn reject(self, status: u16) -> Self {
        self.then(Step::Reject { status })
    }

    /// Waits until the call is up.
    #[must_use]
    pub fn once_answered(self) -> Self {
        self.then(Step::AwaitAnswer)
    }

    /// Sends frames as fast as speech does.
    #[must_use]
    pub fn speak(self, voice: Voice) -> Self {
        self.then(Step::Speak { voice, every: super::speech::FRAME })
    }

    /// Presses a key.
    #[must_use]
    pub fn press(self, event: u8) -> Self {
        self.then(Step::Press { event })
    }

    /// Ends the call.
    #[must_use]
    pub fn hang_up(self) -> Self {
        self.then(Step::HangUp)
    }

    /// Goes silent for ever.
    #[must_use]
    pub fn vanish(self) -> Self {
        self.then(Step::Vanish)
    }

    pub(super) fn next_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// Whether this is the first step, which is left out then.
    pub(super) fn begins_with(&mut self, step: Step) -> bool {
        let begins = self.peek() == Some(step);
        if begins {
            self.steps.pop_front();
        }
        begins
    }

    pub(super) fn peek(&self) -> Option<Step> {
        self.steps.front().copied()
    }
}
