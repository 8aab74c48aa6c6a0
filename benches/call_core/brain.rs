//! The real brain in virtual time between two peers made of text, and the counts of what it does.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use maskline::call::config::CallConfig;
use maskline::call::core::CallCore;
use maskline::call::io::{Input, Output, Peer};
use maskline::domain::now::Now;
use maskline::domain::whisper::WhisperPolicy;
use maskline::rtp::plane::{Command, Report, SideCounts};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::peers::{self, Call, Said};

/// The brain, and a clock that stands still while it works.
pub(crate) struct Brain {
    pub(crate) core: CallCore,
    pub(crate) now: Now,
    inputs: VecDeque<Input>,
    said: Vec<Said>,
    /// The time that it has taken itself.
    pub(crate) spent: Duration,
    /// Calls whose records it has given.
    pub(crate) finished: u64,
}

impl Brain {
    pub(crate) fn new() -> Self {
        let mut config = CallConfig::new(peers::us());
        // A proxy announces nothing either.
        config.whisper.policy = WhisperPolicy::Off;
        config.recorder_credits = u32::MAX / 2;
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let now = Now { monotonic: clock(), wall };
        Self {
            core: CallCore::new(config, ChaCha20Rng::seed_from_u64(1)),
            now,
            inputs: VecDeque::new(),
            said: Vec::new(),
            spent: Duration::ZERO,
            finished: 0,
        }
    }

    /// One input, the full drain, and whatever store, media plane and recorder answer to it.
    fn input(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            let began = clock();
            self.core.handle_input(self.now, input);
            self.spent += began.elapsed();
            loop {
                let began = clock();
                let output = self.core.poll_output();
                self.spent += began.elapsed();
                let Some(output) = output else { break };
                self.carry_out(output);
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Transmit { to, bytes } => self.said.push(Said { to: to.address, bytes }),
            Output::FindRoute { call, query } => {
                let answer = peers::find_route(query);
                self.inputs.push_back(Input::Route { call, answer });
            }
            Output::Media(Command::Open { session }) => {
                let local = peers::local_media();
                self.inputs.push_back(Input::Media(Report::Opened { session, local }));
            }
            Output::Media(Command::Close { session }) => {
                let counts = [SideCounts::default(); 2];
                self.inputs.push_back(Input::Media(Report::Closed { session, counts }));
            }
            Output::Media(
                Command::Update { .. }
                | Command::Bridge { .. }
                | Command::Hold { .. }
                | Command::Record { .. }
                | Command::Play { .. }
                | Command::Stop { .. }
                | Command::Keys { .. },
            )
            | Output::Status(_)
            | Output::TrunkStatus(_)
            | Output::FindLogin { .. }
            | Output::AskMenu(_)
            | Output::Proved { .. }
            | Output::Security(_)
            | Output::Unwanted(_) => {}
            Output::Finished(_) => {
                self.finished += 1;
                self.inputs.push_back(Input::RecorderCredit(1));
            }
        }
    }

    fn says(&mut self, peer: Peer, text: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.input(Input::Datagram { peer, bytes });
    }

    /// The first half of a call: up to the ACK of the caller.
    pub(crate) fn begin(&mut self, number: u64) -> Call {
        let mut call = Call::new(number);
        self.says(peers::pbx(), &call.invite());
        call.hear_invite(&std::mem::take(&mut self.said));
        self.says(peers::carrier(), &call.answer(180));
        self.said.clear();
        self.says(peers::carrier(), &call.answer(200));
        call.hear_answer(&std::mem::take(&mut self.said));
        self.says(peers::pbx(), &call.caller_request("ACK", 1));
        self.said.clear();
        call
    }

    /// The second half: the caller hangs up.
    pub(crate) fn end(&mut self, call: &Call) {
        self.says(peers::pbx(), &call.caller_request("BYE", 2));
        let bye = std::mem::take(&mut self.said);
        self.says(peers::carrier(), &peers::agree(&bye));
        self.said.clear();
    }

    /// Lets time pass, timers at their time.
    pub(crate) fn sleep(&mut self, until: Instant) {
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= until) {
            self.set_clock(due);
            self.input(Input::Timeout);
            self.said.clear();
        }
        self.set_clock(until);
    }

    fn set_clock(&mut self, at: Instant) {
        let at = at.max(self.now.monotonic);
        self.now.wall += at - self.now.monotonic;
        self.now.monotonic = at;
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}
