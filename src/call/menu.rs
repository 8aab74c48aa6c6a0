//! The self-service menu of a subscriber who has called X: what is said, which key means what, and
//! when it is over. Knows no bytes and no times; nothing is read out before a code was right.

use crate::domain::menu::{CODE_DIGITS, CallCode, MenuAnswer, MenuRequest, PastCall};

/// How often something is said before silence ends the call.
const SAID_MAX: u8 = 2;
/// Wrong codes of one call; the store counts those of all calls.
const TRIES_MAX: u8 = 3;
/// Choices of one call.
const TURNS_MAX: u8 = 20;
/// Keys of one call.
const KEYS_MAX: u16 = 200;

/// Whether calls are announced with a code. Without any, nobody can show one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Codes {
    Spoken,
    Unspoken,
}

/// What is said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Text {
    /// Nobody can take the call; a star opens the menu.
    Offer,
    /// What the keys do.
    Choices,
    /// That key does nothing.
    WrongKey,
    /// The code of a call is wanted.
    EnterCode,
    /// That was none; once more.
    EnterCodeAgain,
    /// These have called.
    Callers(Vec<PastCall>),
    /// There was no call that could be meant.
    NoCalls,
    /// No calls for a week.
    Paused,
    /// The last caller cannot call again.
    Blocked,
    /// The complaint is filed.
    Reported,
    /// The call of that code was this one.
    Real(PastCall),
    /// There was none of that code.
    NotReal,
    /// No more codes are looked at.
    TooManyTries,
    /// It did not work.
    Failed,
    /// Goodbye, since nothing was typed.
    NoChoice,
    /// Goodbye.
    Goodbye,
}

/// What happens to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Heard {
    /// The speech of this number is over.
    Said(u32),
    /// That is over too, but nobody was there to hear all of it.
    Unheard(u32),
    /// A key, as it stands in DTMF.
    Key(char),
    /// The store has answered the question of this number.
    Answer(u32, MenuAnswer),
    /// The time that was waited for has come.
    Elapsed,
}

/// What has to be done about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Act {
    /// Say this in the place of what is being said; by this number its end is told.
    Say(u32, Text),
    /// Say nothing more.
    Hush,
    /// Wait for so long.
    Wait(Patience),
    /// Ask the store this; by this number its answer is known.
    Ask(u32, MenuRequest),
    /// It is over: end the call.
    Close,
}

/// For what is waited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Patience {
    /// The end of what is being said, of which nobody may ever tell.
    Saying,
    /// A key.
    Key,
    /// The store.
    Store,
}

/// The menu of one call, from its answer to its end.
#[derive(Debug)]
pub(super) struct Menu {
    codes: Codes,
    state: State,
    is_saying: bool,
    /// How often the same was said.
    said: u8,
    /// A code was right in this call.
    is_proved: bool,
    tries: u8,
    turns: u8,
    keys: u16,
    last_play: u32,
    last_question: u32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum State {
    /// Nobody was reached: the menu is offered.
    Offering,
    /// What came of a choice is told; the choices follow, and may be made meanwhile.
    Telling,
    /// The choices are told.
    Choosing,
    /// A code is being typed.
    Typing(Wanted, Typed),
    /// The store is asked about a code.
    Checking(Wanted),
    /// The store is asked for this.
    Asking(MenuRequest),
    /// The subscriber hears goodbye.
    Parting,
    /// Nothing is changed by what comes now.
    Over,
}

/// What a code is typed for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wanted {
    /// To hear who has called.
    Callers,
    /// To hear whether a call was real.
    Truth,
}

/// Digits so far. `Debug` does not show them.
#[derive(Clone, Default, Eq, PartialEq)]
struct Typed(String);

impl Typed {
    /// One more than a code has tells that it is none.
    fn push(&mut self, digit: char) {
        if self.0.len() <= CODE_DIGITS {
            self.0.push(digit);
        }
    }
}

impl std::fmt::Debug for Typed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Typed({} digits)", self.0.len())
    }
}

impl Menu {
    /// It begins with the choices, or with an offer where nobody was reached.
    pub(super) fn begin(codes: Codes, is_offered: bool, acts: &mut Vec<Act>) -> Self {
        let mut menu = Self {
            codes,
            state: State::Choosing,
            is_saying: false,
            said: 0,
            is_proved: false,
            tries: 0,
            turns: 0,
            keys: 0,
            last_play: 0,
            last_question: 0,
        };
        if is_offered {
            menu.state = State::Offering;
            menu.say(Text::Offer, acts);
        } else {
            menu.say(Text::Choices, acts);
        }
        menu
    }

    /// Takes what has happened, and adds what has to be done, in order.
    pub(super) fn handle(&mut self, heard: Heard, acts: &mut Vec<Act>) {
        if self.state == State::Over {
            return;
        }
        match heard {
            Heard::Said(play) if play == self.last_play && self.is_saying => self.on_said(acts),
            Heard::Unheard(play) if play == self.last_play && self.is_saying => self.close(acts),
            Heard::Key(key) => self.on_key(key, acts),
            Heard::Answer(number, answer) if number == self.last_question => {
                self.on_answer(answer, acts);
            }
            Heard::Elapsed => self.on_elapsed(acts),
            // Late, or about what was interrupted.
            Heard::Said(_) | Heard::Unheard(_) | Heard::Answer(..) => {}
        }
    }

    fn on_said(&mut self, acts: &mut Vec<Act>) {
        self.is_saying = false;
        match self.state {
            State::Parting => self.close(acts),
            State::Telling => {
                self.state = State::Choosing;
                self.say(Text::Choices, acts);
            }
            State::Offering
            | State::Choosing
            | State::Typing(..)
            | State::Checking(_)
            | State::Asking(_)
            | State::Over => acts.push(Act::Wait(Patience::Key)),
        }
    }

    fn on_elapsed(&mut self, acts: &mut Vec<Act>) {
        match &self.state {
            State::Checking(_) | State::Asking(_) => self.tell(Text::Failed, acts),
            // Nobody has told of the end of it. It goes on as if it was said: should nobody hear
            // us, the silence that follows ends it.
            _ if self.is_saying => self.on_said(acts),
            State::Offering => self.part(Text::NoChoice, acts),
            State::Choosing if self.said < SAID_MAX => self.say(Text::Choices, acts),
            State::Typing(wanted, _) if self.said < SAID_MAX => {
                self.state = State::Typing(*wanted, Typed::default());
                self.say(Text::EnterCode, acts);
            }
            State::Choosing | State::Typing(..) => self.part(Text::NoChoice, acts),
            State::Telling | State::Parting | State::Over => self.close(acts),
        }
    }

    fn on_key(&mut self, key: char, acts: &mut Vec<Act>) {
        if matches!(self.state, State::Parting | State::Checking(_) | State::Asking(_)) {
            return;
        }
        self.keys += 1;
        if self.keys > KEYS_MAX {
            return self.part(Text::Goodbye, acts);
        }
        match std::mem::replace(&mut self.state, State::Choosing) {
            // Only the star is offered, and other keys do not open it.
            State::Offering if key != '*' => self.state = State::Offering,
            State::Offering => {
                self.said = 0;
                self.say(Text::Choices, acts);
            }
            State::Telling | State::Choosing => self.choose(key, acts),
            State::Typing(wanted, typed) => self.type_code(wanted, typed, key, acts),
            was @ (State::Checking(_) | State::Asking(_) | State::Parting | State::Over) => {
                self.state = was;
            }
        }
    }

    fn choose(&mut self, key: char, acts: &mut Vec<Act>) {
        self.said = 0;
        self.turns += 1;
        if key == '0' || self.turns > TURNS_MAX {
            return self.part(Text::Goodbye, acts);
        }
        let has_codes = self.codes == Codes::Spoken;
        match key {
            '1' if self.is_proved => self.ask(MenuRequest::Callers, acts),
            '1' if has_codes => self.want_code(Wanted::Callers, acts),
            '2' => self.ask(MenuRequest::Pause, acts),
            '3' => self.ask(MenuRequest::BlockLast, acts),
            '4' => self.ask(MenuRequest::ReportLast, acts),
            '5' if has_codes => self.want_code(Wanted::Truth, acts),
            '*' => self.say(Text::Choices, acts),
            _ => self.tell(Text::WrongKey, acts),
        }
    }

    fn want_code(&mut self, wanted: Wanted, acts: &mut Vec<Act>) {
        if self.tries >= TRIES_MAX {
            return self.tell(Text::TooManyTries, acts);
        }
        self.state = State::Typing(wanted, Typed::default());
        self.say(Text::EnterCode, acts);
    }

    fn type_code(&mut self, wanted: Wanted, typed: Typed, key: char, acts: &mut Vec<Act>) {
        let mut typed = typed;
        match key {
            '0'..='9' => typed.push(key),
            // Begin again.
            '*' => typed = Typed::default(),
            '#' => {
                return match CallCode::parse(&typed.0) {
                    Some(code) => {
                        self.put(MenuRequest::Check(code), acts);
                        self.state = State::Checking(wanted);
                    }
                    None => self.was_wrong(wanted, Text::NotReal, acts),
                };
            }
            _ => {}
        }
        self.state = State::Typing(wanted, typed);
        if std::mem::take(&mut self.is_saying) {
            acts.push(Act::Hush);
        }
        acts.push(Act::Wait(Patience::Key));
    }

    fn on_answer(&mut self, answer: MenuAnswer, acts: &mut Vec<Act>) {
        match (&self.state, answer) {
            (State::Checking(wanted), answer) => self.on_checked(*wanted, answer, acts),
            (State::Asking(request), answer) => {
                let text = self.outcome(*request, answer);
                self.tell(text, acts);
            }
            // Late.
            (
                State::Offering
                | State::Telling
                | State::Choosing
                | State::Typing(..)
                | State::Parting
                | State::Over,
                _,
            ) => {}
        }
    }

    fn on_checked(&mut self, wanted: Wanted, answer: MenuAnswer, acts: &mut Vec<Act>) {
        match (answer, wanted) {
            (MenuAnswer::Checked(Some(call)), wanted) => {
                self.is_proved = true;
                match wanted {
                    Wanted::Callers => self.ask(MenuRequest::Callers, acts),
                    Wanted::Truth => self.tell(Text::Real(call), acts),
                }
            }
            (MenuAnswer::Checked(None), wanted) => self.was_wrong(wanted, Text::NotReal, acts),
            (MenuAnswer::Uncertain, wanted) => self.was_wrong(wanted, Text::Failed, acts),
            (MenuAnswer::Locked, _) => {
                self.tries = TRIES_MAX;
                self.tell(Text::TooManyTries, acts);
            }
            (
                MenuAnswer::Callers(_)
                | MenuAnswer::Done
                | MenuAnswer::NoCalls
                | MenuAnswer::Failed,
                _,
            ) => self.tell(Text::Failed, acts),
        }
    }

    /// What is said of an answer. One that nobody has asked for is none.
    fn outcome(&self, request: MenuRequest, answer: MenuAnswer) -> Text {
        match (request, answer) {
            (MenuRequest::Callers, MenuAnswer::Callers(calls)) if self.is_proved => {
                if calls.is_empty() { Text::NoCalls } else { Text::Callers(calls) }
            }
            (MenuRequest::Pause, MenuAnswer::Done) => Text::Paused,
            (MenuRequest::BlockLast, MenuAnswer::Done) => Text::Blocked,
            (MenuRequest::ReportLast, MenuAnswer::Done) => Text::Reported,
            (MenuRequest::BlockLast | MenuRequest::ReportLast, MenuAnswer::NoCalls) => {
                Text::NoCalls
            }
            (
                MenuRequest::Check(_)
                | MenuRequest::Callers
                | MenuRequest::Pause
                | MenuRequest::BlockLast
                | MenuRequest::ReportLast,
                _,
            ) => Text::Failed,
        }
    }

    /// No call of that code is known: who asks whether there was one is told this.
    fn was_wrong(&mut self, wanted: Wanted, verdict: Text, acts: &mut Vec<Act>) {
        self.said = 0;
        self.tries += 1;
        match wanted {
            _ if self.tries >= TRIES_MAX => self.tell(Text::TooManyTries, acts),
            Wanted::Truth => self.tell(verdict, acts),
            Wanted::Callers => {
                self.state = State::Typing(wanted, Typed::default());
                self.say(Text::EnterCodeAgain, acts);
            }
        }
    }

    fn ask(&mut self, request: MenuRequest, acts: &mut Vec<Act>) {
        self.put(request, acts);
        self.state = State::Asking(request);
    }

    fn put(&mut self, request: MenuRequest, acts: &mut Vec<Act>) {
        if std::mem::take(&mut self.is_saying) {
            acts.push(Act::Hush);
        }
        self.last_question += 1;
        acts.extend([Act::Ask(self.last_question, request), Act::Wait(Patience::Store)]);
    }

    fn tell(&mut self, text: Text, acts: &mut Vec<Act>) {
        self.say(text, acts);
        self.state = State::Telling;
        // The choices that follow are said as often as in the beginning.
        self.said = 0;
    }

    fn part(&mut self, text: Text, acts: &mut Vec<Act>) {
        self.state = State::Parting;
        self.say(text, acts);
    }

    fn say(&mut self, text: Text, acts: &mut Vec<Act>) {
        self.said += 1;
        self.last_play += 1;
        self.is_saying = true;
        acts.extend([Act::Say(self.last_play, text), Act::Wait(Patience::Saying)]);
    }

    fn close(&mut self, acts: &mut Vec<Act>) {
        if std::mem::take(&mut self.is_saying) {
            acts.push(Act::Hush);
        }
        self.state = State::Over;
        acts.push(Act::Close);
    }
}

#[cfg(test)]
#[path = "menu_tests.rs"]
mod tests;
