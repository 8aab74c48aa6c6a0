//! The announcement of a call to the subscriber who has answered it: what is said, which key means
//! what, and when it is over. Knows no bytes and no times, so that every path is one line of a
//! table.

use crate::domain::whisper::{OnSilence, WhisperMode, WhisperResult};

/// How often it is said before silence counts.
const SAID_MAX: u8 = 2;

/// What the subscriber says with a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reply {
    /// 1: connect me.
    Accept,
    /// 2: not now.
    Later,
    /// 3: no more calls of this kind.
    NoMore,
    /// 8: I am somebody else.
    WrongPerson,
    /// 9: I complain.
    Report,
}

impl Reply {
    /// The meaning of a key, as it stands in DTMF; `None` for keys that mean nothing.
    pub(super) const fn of_key(sign: char) -> Option<Self> {
        match sign {
            '1' => Some(Self::Accept),
            '2' => Some(Self::Later),
            '3' => Some(Self::NoMore),
            '8' => Some(Self::WrongPerson),
            '9' => Some(Self::Report),
            _ => None,
        }
    }

    const fn result(self) -> WhisperResult {
        match self {
            Self::Accept => WhisperResult::Accepted,
            Self::Later => WhisperResult::Later,
            Self::NoMore => WhisperResult::Refused,
            Self::WrongPerson => WhisperResult::WrongPerson,
            Self::Report => WhisperResult::Reported,
        }
    }
}

/// What is said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Speech {
    /// Who calls, and what for: for this time.
    WhoCalls(u8),
    /// What was understood, before the call ends.
    Farewell(WhisperResult),
}

impl Speech {
    /// By this number its end is told.
    pub(super) const fn play(self) -> u32 {
        match self {
            Self::WhoCalls(nth) => nth as u32,
            Self::Farewell(_) => SAID_MAX as u32 + 1,
        }
    }
}

/// What happens to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Heard {
    /// The speech of this number is over.
    Said(u32),
    /// That is over too, but not all of it has reached the subscriber.
    Unheard(u32),
    /// A key that means something.
    Key(Reply),
    /// The time that was waited for has come.
    Elapsed,
    /// The subscriber has hung up.
    HungUp,
    /// The caller gave up, or the relay ends the call.
    GivenUp,
}

/// What has to be done about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Act {
    /// Say this, in the place of what is being said.
    Say(Speech),
    /// Say nothing more.
    Hush,
    /// Wait for so long.
    Wait(Patience),
    /// It is over: bridge the call or end it.
    Close(WhisperResult),
}

/// For what is waited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Patience {
    /// The end of what is being said, of which nobody may ever tell.
    Saying,
    /// A key.
    Key,
}

/// One announcement, from the subscriber's answer to its end.
#[derive(Debug)]
pub(super) struct Whisper {
    mode: WhisperMode,
    on_silence: OnSilence,
    state: State,
    /// It was heard to its end, or a key was typed.
    was_heard: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Who calls is being said, for this time.
    Saying(u8),
    /// That was said so often, and a key is waited for.
    Listening(u8),
    /// It is decided, and the subscriber hears what was understood.
    Parting(WhisperResult),
    /// Nothing is changed by what comes now.
    Over(WhisperResult),
}

impl Whisper {
    /// It begins, and this is to be done.
    pub(super) const fn begin(mode: WhisperMode, on_silence: OnSilence) -> (Self, [Act; 2]) {
        let whisper = Self { mode, on_silence, state: State::Saying(1), was_heard: false };
        (whisper, [Act::Say(Speech::WhoCalls(1)), Act::Wait(Patience::Saying)])
    }

    /// What came of it, as soon as that is decided.
    pub(super) const fn result(&self) -> Option<WhisperResult> {
        match self.state {
            State::Parting(result) | State::Over(result) => Some(result),
            State::Saying(_) | State::Listening(_) => None,
        }
    }

    /// Whether the subscriber has heard it once, as far as anybody can know.
    pub(super) const fn was_heard(&self) -> bool {
        self.was_heard
    }

    /// Takes what has happened, and adds what has to be done, in order.
    pub(super) fn handle(&mut self, heard: Heard, acts: &mut Vec<Act>) {
        match (self.state, heard) {
            (State::Over(_), _) => {}
            (State::Parting(result), heard) => self.handle_parting(result, heard, acts),
            (_, Heard::HungUp) => self.close(WhisperResult::HungUp, acts),
            (_, Heard::GivenUp) => self.close(WhisperResult::GivenUp, acts),
            (_, Heard::Key(reply)) => {
                self.was_heard = true;
                self.decide(reply.result(), acts);
            }
            (State::Saying(nth), Heard::Said(play)) if play == u32::from(nth) => {
                self.was_heard = true;
                self.state = State::Listening(nth);
                match self.mode {
                    WhisperMode::Announce => self.decide(WhisperResult::Announced, acts),
                    WhisperMode::Accept => acts.push(Act::Wait(Patience::Key)),
                }
            }
            // Nobody has told of the end of it. A key still says that it was heard; without one
            // nobody is connected.
            (State::Saying(nth), Heard::Elapsed) if self.mode == WhisperMode::Accept => {
                self.state = State::Listening(nth);
                acts.push(Act::Wait(Patience::Key));
            }
            (State::Saying(_), Heard::Elapsed) => self.close(WhisperResult::TimedOut, acts),
            (State::Saying(nth), Heard::Unheard(play)) if play == u32::from(nth) => {
                self.close(WhisperResult::TimedOut, acts);
            }
            (State::Listening(nth), Heard::Elapsed) if nth < SAID_MAX => {
                self.state = State::Saying(nth + 1);
                acts.extend([Act::Say(Speech::WhoCalls(nth + 1)), Act::Wait(Patience::Saying)]);
            }
            (State::Listening(_), Heard::Elapsed) => self.decide(self.after_silence(), acts),
            // It was said, and that is told late.
            (State::Listening(nth), Heard::Said(play)) if play == u32::from(nth) => {
                self.was_heard = true;
            }
            // Late, or about what was interrupted.
            (State::Saying(_) | State::Listening(_), Heard::Said(_) | Heard::Unheard(_)) => {}
        }
    }

    /// The farewell ends when it is said, or when anybody is tired of it.
    fn handle_parting(&mut self, result: WhisperResult, heard: Heard, acts: &mut Vec<Act>) {
        let is_over = match heard {
            Heard::Said(play) | Heard::Unheard(play) => play == Speech::Farewell(result).play(),
            Heard::Elapsed | Heard::HungUp | Heard::GivenUp => true,
            Heard::Key(_) => false,
        };
        if is_over {
            self.close(result, acts);
        }
    }

    const fn after_silence(&self) -> WhisperResult {
        match self.on_silence {
            OnSilence::Connect if self.was_heard => WhisperResult::Announced,
            OnSilence::Connect | OnSilence::Refuse => WhisperResult::TimedOut,
        }
    }

    fn decide(&mut self, result: WhisperResult, acts: &mut Vec<Act>) {
        if result.admits() {
            return self.close(result, acts);
        }
        self.state = State::Parting(result);
        acts.extend([Act::Say(Speech::Farewell(result)), Act::Wait(Patience::Saying)]);
    }

    fn close(&mut self, result: WhisperResult, acts: &mut Vec<Act>) {
        if matches!(self.state, State::Saying(_)) {
            acts.push(Act::Hush);
        }
        self.state = State::Over(result);
        acts.push(Act::Close(result));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMITTED: WhisperResult = WhisperResult::Accepted;
    const REFUSALS: [(char, WhisperResult); 4] = [
        ('2', WhisperResult::Later),
        ('3', WhisperResult::Refused),
        ('8', WhisperResult::WrongPerson),
        ('9', WhisperResult::Reported),
    ];
    const MODES: [WhisperMode; 2] = [WhisperMode::Announce, WhisperMode::Accept];
    const FAREWELL: Heard = Heard::Said(3);
    const SILENCE: [Heard; 4] = [Heard::Said(1), Heard::Elapsed, Heard::Said(2), Heard::Elapsed];

    fn key(key: char) -> Heard {
        Heard::Key(Reply::of_key(key).expect("a key that means something"))
    }

    fn say(nth: u8) -> [Act; 2] {
        [Act::Say(Speech::WhoCalls(nth)), Act::Wait(Patience::Saying)]
    }

    fn part(result: WhisperResult) -> [Act; 2] {
        [Act::Say(Speech::Farewell(result)), Act::Wait(Patience::Saying)]
    }

    /// Feeds all in order; what the last one asked for.
    fn after(mode: WhisperMode, on_silence: OnSilence, events: &[Heard]) -> (Whisper, Vec<Act>) {
        let (mut whisper, first) = Whisper::begin(mode, on_silence);
        let mut acts = first.to_vec();
        for event in events {
            acts.clear();
            whisper.handle(*event, &mut acts);
        }
        (whisper, acts)
    }

    fn accept(events: &[Heard]) -> Vec<Act> {
        after(WhisperMode::Accept, OnSilence::Refuse, events).1
    }

    #[test]
    fn it_begins_by_saying_who_calls() {
        for mode in MODES {
            assert_eq!(after(mode, OnSilence::Refuse, &[]).1, say(1));
        }
    }

    #[test]
    fn what_is_only_announced_is_connected_when_all_is_said() {
        let (whisper, acts) = after(WhisperMode::Announce, OnSilence::Refuse, &[Heard::Said(1)]);
        assert_eq!(acts, [Act::Close(WhisperResult::Announced)]);
        assert!(whisper.was_heard());
    }

    #[test]
    fn where_a_yes_is_needed_the_end_of_the_words_is_none() {
        assert_eq!(accept(&[Heard::Said(1)]), [Act::Wait(Patience::Key)]);
    }

    #[test]
    fn one_connects_at_once_and_interrupts_what_is_said() {
        for mode in MODES {
            let (whisper, acts) = after(mode, OnSilence::Refuse, &[key('1')]);
            assert_eq!(acts, [Act::Hush, Act::Close(ADMITTED)]);
            assert_eq!((whisper.result(), whisper.was_heard()), (Some(ADMITTED), true));
        }
        let second = [Heard::Said(1), Heard::Elapsed, Heard::Said(2), key('1')];
        for events in [&[Heard::Said(1), key('1')][..], &second] {
            assert_eq!(accept(events), [Act::Close(ADMITTED)]);
        }
    }

    #[test]
    fn each_no_is_decided_at_once_and_the_call_ends_when_that_was_confirmed() {
        for mode in MODES {
            for (typed, result) in REFUSALS {
                let (whisper, acts) = after(mode, OnSilence::Refuse, &[key(typed)]);
                assert_eq!(acts, part(result), "{mode:?} {typed}");
                assert_eq!((whisper.result(), whisper.was_heard()), (Some(result), true));
                let (_, acts) = after(mode, OnSilence::Refuse, &[key(typed), FAREWELL]);
                assert_eq!(acts, [Act::Close(result)]);
            }
        }
    }

    #[test]
    fn each_no_counts_after_the_words_too_the_first_time_and_the_second() {
        for (typed, result) in REFUSALS {
            assert_eq!(accept(&[Heard::Said(1), key(typed)]), part(result));
            let second = [Heard::Said(1), Heard::Elapsed, Heard::Said(2), key(typed)];
            assert_eq!(accept(&second), part(result));
        }
    }

    #[test]
    fn what_is_decided_stays_so_whatever_is_typed_and_whoever_leaves_meanwhile() {
        for (typed, result) in REFUSALS {
            assert_eq!(accept(&[key(typed), key('1')]), []);
            for end in [Heard::Elapsed, Heard::HungUp, Heard::GivenUp] {
                let close = [Act::Close(result)];
                assert_eq!(accept(&[key(typed), end]), close);
                assert_eq!(accept(&[Heard::Said(1), key(typed), key('1'), end]), close);
            }
            assert_eq!(accept(&[key(typed), Heard::Said(1)]), [], "of what was interrupted");
        }
    }

    #[test]
    fn other_keys_mean_nothing() {
        for typed in "04567*#ABCD".chars() {
            assert_eq!(Reply::of_key(typed), None);
        }
    }

    #[test]
    fn it_is_said_once_more_and_then_silence_is_a_no() {
        assert_eq!(accept(&SILENCE[..2]), say(2));
        assert_eq!(accept(&SILENCE[..3]), [Act::Wait(Patience::Key)]);
        assert_eq!(accept(&SILENCE), part(WhisperResult::TimedOut));
    }

    #[test]
    fn silence_connects_only_where_that_is_set() {
        let (_, acts) = after(WhisperMode::Accept, OnSilence::Connect, &SILENCE);
        assert_eq!(acts, [Act::Close(WhisperResult::Announced)]);
    }

    #[test]
    fn nobody_is_connected_who_heard_nothing() {
        for mode in MODES {
            let (whisper, acts) = after(mode, OnSilence::Connect, &[Heard::Unheard(1)]);
            assert_eq!(acts, [Act::Hush, Act::Close(WhisperResult::TimedOut)]);
            assert!(!whisper.was_heard());
        }
        let (_, acts) = after(WhisperMode::Announce, OnSilence::Connect, &[Heard::Elapsed]);
        assert_eq!(acts, [Act::Hush, Act::Close(WhisperResult::TimedOut)]);
    }

    #[test]
    fn where_nobody_tells_of_the_end_of_the_words_a_key_connects_and_silence_never() {
        let untold = [Heard::Elapsed; 4];
        assert_eq!(accept(&untold[..1]), [Act::Wait(Patience::Key)]);
        assert_eq!(accept(&untold[..2]), say(2));
        assert_eq!(accept(&[Heard::Elapsed, key('1')]), [Act::Close(ADMITTED)]);
        assert_eq!(accept(&[Heard::Elapsed, key('3')]), part(WhisperResult::Refused));
        let (whisper, acts) = after(WhisperMode::Accept, OnSilence::Connect, &untold);
        assert_eq!(acts, part(WhisperResult::TimedOut));
        assert!(!whisper.was_heard());
        let late = [Heard::Elapsed, Heard::Said(1), Heard::Elapsed, Heard::Elapsed, Heard::Elapsed];
        let (whisper, acts) = after(WhisperMode::Accept, OnSilence::Connect, &late);
        assert_eq!(acts, [Act::Close(WhisperResult::Announced)]);
        assert!(whisper.was_heard());
    }

    #[test]
    fn the_end_of_what_was_said_before_is_not_the_end_of_what_is_said_now() {
        assert_eq!(accept(&[Heard::Said(1), Heard::Elapsed, Heard::Said(1)]), []);
        assert_eq!(accept(&[Heard::Said(2)]), []);
    }

    #[test]
    fn whoever_leaves_ends_it_while_it_is_said_and_while_a_key_is_waited_for() {
        let leaving =
            [(Heard::HungUp, WhisperResult::HungUp), (Heard::GivenUp, WhisperResult::GivenUp)];
        for (event, result) in leaving {
            for mode in MODES {
                let (_, acts) = after(mode, OnSilence::Connect, &[event]);
                assert_eq!(acts, [Act::Hush, Act::Close(result)]);
            }
            assert_eq!(accept(&[Heard::Said(1), event]), [Act::Close(result)]);
        }
    }

    /// Any order of events at all: one result, nothing afterwards, and none connected unheard.
    #[test]
    fn whatever_happens_in_whatever_order_there_is_one_result() {
        use rand_core::{Rng, SeedableRng};
        const EVENTS: [Heard; 14] = [
            Heard::Said(1),
            Heard::Said(2),
            FAREWELL,
            Heard::Unheard(1),
            Heard::Unheard(2),
            Heard::Elapsed,
            Heard::Elapsed,
            Heard::Key(Reply::Accept),
            Heard::Key(Reply::Later),
            Heard::Key(Reply::NoMore),
            Heard::Key(Reply::WrongPerson),
            Heard::Key(Reply::Report),
            Heard::HungUp,
            Heard::GivenUp,
        ];
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        for run in 0..20_000 {
            let mode = MODES[run % 2];
            let on_silence = [OnSilence::Refuse, OnSilence::Connect][run / 2 % 2];
            let (mut whisper, first) = Whisper::begin(mode, on_silence);
            let mut acts = first.to_vec();
            let mut decided = None;
            for _ in 0..8 {
                whisper.handle(EVENTS[rng.next_u32() as usize % EVENTS.len()], &mut acts);
                assert!(decided.is_none() || decided == whisper.result(), "decided once");
                decided = whisper.result();
            }
            whisper.handle(Heard::GivenUp, &mut acts);
            let closed = acts.iter().filter(|act| matches!(act, Act::Close(_))).count();
            let result = whisper.result().expect("it is over");
            assert_eq!((closed, acts.last()), (1, Some(&Act::Close(result))));
            assert!(!result.admits() || whisper.was_heard());
            let said = acts.iter().filter(|act| matches!(act, Act::Say(_))).count();
            assert!((1..=usize::from(SAID_MAX) + 1).contains(&said));
        }
    }
}
