//! Every path through the self-service menu, and that any keys at all come to an end.

use super::*;
use crate::domain::purpose::Purpose;

const CALL: PastCall = PastCall { purpose: Purpose::Claim, days_ago: 1 };
const REAL: MenuAnswer = MenuAnswer::Checked(Some(CALL));
const UNKNOWN: MenuAnswer = MenuAnswer::Checked(None);
const UNCERTAIN: MenuAnswer = MenuAnswer::Uncertain;

/// A menu and what it wants done.
struct Bench {
    menu: Menu,
    acts: Vec<Act>,
}

impl Bench {
    fn begin(codes: Codes, is_offered: bool) -> Self {
        let mut acts = Vec::new();
        let menu = Menu::begin(codes, is_offered, &mut acts);
        Self { menu, acts }
    }

    fn new() -> Self {
        Self::begin(Codes::Spoken, false)
    }

    /// What this asks for.
    fn hear(&mut self, heard: Heard) -> &[Act] {
        self.acts.clear();
        self.menu.handle(heard, &mut self.acts);
        &self.acts
    }

    fn types(&mut self, keys: &str) -> &mut Self {
        for key in keys.chars() {
            self.hear(Heard::Key(key));
        }
        self
    }

    /// What is being said is heard to its end.
    fn listens(&mut self) -> &mut Self {
        let play = self.menu.last_play;
        self.hear(Heard::Said(play));
        self
    }

    fn waits(&mut self) -> &mut Self {
        self.hear(Heard::Elapsed);
        self
    }

    fn answers(&mut self, answer: MenuAnswer) -> &mut Self {
        let question = self.menu.last_question;
        self.hear(Heard::Answer(question, answer));
        self
    }

    fn said(&self) -> Option<&Text> {
        self.acts.iter().find_map(|act| if let Act::Say(_, text) = act { Some(text) } else { None })
    }

    fn asked(&self) -> Option<MenuRequest> {
        let asked = |act: &Act| if let Act::Ask(_, it) = act { Some(*it) } else { None };
        self.acts.iter().find_map(asked)
    }

    fn says(&self, text: &Text) {
        assert_eq!(self.said(), Some(text));
        assert_eq!(self.acts.last(), Some(&Act::Wait(Patience::Saying)));
    }

    fn asks(&self, request: MenuRequest) {
        assert_eq!(self.asked(), Some(request));
        assert_eq!(self.acts.last(), Some(&Act::Wait(Patience::Store)));
    }

    fn is_over(&self) {
        assert_eq!(self.acts.last(), Some(&Act::Close));
    }
}

fn check(code: &str) -> MenuRequest {
    MenuRequest::Check(CallCode::parse(code).expect("a code"))
}

#[test]
fn whoever_has_asked_for_it_hears_the_choices_at_once() {
    let bench = Bench::new();
    assert_eq!(bench.acts, [Act::Say(1, Text::Choices), Act::Wait(Patience::Saying)]);
}

#[test]
fn whoever_reached_nobody_is_offered_it_and_only_a_star_opens_it() {
    let mut bench = Bench::begin(Codes::Spoken, true);
    bench.says(&Text::Offer);
    for key in "0123456789#ABCD".chars() {
        assert_eq!(bench.hear(Heard::Key(key)), []);
    }
    bench.types("*").says(&Text::Choices);
}

#[test]
fn whoever_does_not_want_it_is_left_alone_soon() {
    let mut bench = Bench::begin(Codes::Spoken, true);
    assert_eq!(bench.listens().acts, [Act::Wait(Patience::Key)]);
    bench.waits().says(&Text::NoChoice);
    bench.listens().is_over();
}

#[test]
fn choices_are_said_twice_and_then_silence_ends_the_call() {
    let mut bench = Bench::new();
    assert_eq!(bench.listens().acts, [Act::Wait(Patience::Key)]);
    bench.waits().says(&Text::Choices);
    bench.listens().waits().says(&Text::NoChoice);
    bench.listens().is_over();
}

#[test]
fn callers_are_read_out_after_a_code_of_a_call_and_not_before() {
    let mut bench = Bench::new();
    bench.types("1").says(&Text::EnterCode);
    bench.types("123456#").asks(check("123456"));
    bench.answers(REAL).asks(MenuRequest::Callers);
    bench.answers(MenuAnswer::Callers(vec![CALL, CALL])).says(&Text::Callers(vec![CALL, CALL]));
    bench.listens().says(&Text::Choices);
}

#[test]
fn a_code_that_was_right_once_is_right_for_the_whole_call() {
    for first in ["1", "5"] {
        let mut bench = Bench::new();
        bench.types(first).types("123456#").answers(REAL);
        bench.answers(MenuAnswer::Callers(Vec::new()));
        bench.types("1").asks(MenuRequest::Callers);
        bench.answers(MenuAnswer::Callers(Vec::new())).says(&Text::NoCalls);
    }
}

#[test]
fn what_nobody_has_asked_for_is_not_read_out() {
    let mut bench = Bench::new();
    bench.types("1123456#").answers(MenuAnswer::Callers(vec![CALL])).says(&Text::Failed);
    bench.types("2").answers(MenuAnswer::Callers(vec![CALL])).says(&Text::Failed);
    bench.types("3").answers(REAL).says(&Text::Failed);
    let before = bench.menu.last_play;
    bench.answers(MenuAnswer::Done);
    assert_eq!(bench.menu.last_play, before, "it is late");
}

#[test]
fn a_wrong_code_may_be_typed_again_but_not_often() {
    let mut bench = Bench::new();
    bench.types("1111111#").answers(UNKNOWN).says(&Text::EnterCodeAgain);
    bench.types("12#").says(&Text::EnterCodeAgain);
    assert_eq!(bench.asked(), None, "it is no code at all");
    bench.types("1234567#").says(&Text::TooManyTries);
    bench.types("1").says(&Text::TooManyTries);
    bench.types("5").says(&Text::TooManyTries);
    bench.types("2").asks(MenuRequest::Pause);
}

#[test]
fn a_star_begins_a_code_anew_and_its_first_digit_silences_the_prompt() {
    let mut bench = Bench::new();
    bench.types("1");
    assert_eq!(bench.hear(Heard::Key('9')), [Act::Hush, Act::Wait(Patience::Key)]);
    assert_eq!(bench.hear(Heard::Key('9')), [Act::Wait(Patience::Key)]);
    bench.types("*654321#").asks(check("654321"));
}

#[test]
fn who_types_no_code_is_asked_again_once() {
    let mut bench = Bench::new();
    bench.types("1").listens().waits().says(&Text::EnterCode);
    bench.listens().waits().says(&Text::NoChoice);
}

#[test]
fn a_call_was_real_or_it_was_not() {
    let mut bench = Bench::new();
    bench.types("5").says(&Text::EnterCode);
    bench.types("123456#").answers(REAL).says(&Text::Real(CALL));
    bench.types("5000000#").answers(UNKNOWN).says(&Text::NotReal);
    bench.types("5000000#").answers(UNKNOWN).says(&Text::NotReal);
    bench.types("5000000#").answers(UNKNOWN).says(&Text::TooManyTries);
}

#[test]
fn a_call_is_not_called_false_that_may_have_been_real_and_guessing_is_no_easier_for_that() {
    let mut bench = Bench::new();
    bench.types("5000000#").answers(UNCERTAIN).says(&Text::Failed);
    bench.types("5000000#").answers(UNCERTAIN).says(&Text::Failed);
    bench.types("5000000#").answers(UNCERTAIN).says(&Text::TooManyTries);
    let mut bench = Bench::new();
    bench.types("1000000#").answers(UNCERTAIN).says(&Text::EnterCodeAgain);
}

#[test]
fn a_store_that_has_seen_too_many_wrong_codes_is_asked_about_none() {
    let mut bench = Bench::new();
    bench.types("1123456#").answers(MenuAnswer::Locked).says(&Text::TooManyTries);
    bench.types("5").says(&Text::TooManyTries);
    assert_eq!(bench.asked(), None);
}

#[test]
fn calls_are_paused_blocked_and_reported_without_a_code_since_nothing_is_read() {
    let wishes = [
        ('2', MenuRequest::Pause, Text::Paused),
        ('3', MenuRequest::BlockLast, Text::Blocked),
        ('4', MenuRequest::ReportLast, Text::Reported),
    ];
    for codes in [Codes::Spoken, Codes::Unspoken] {
        for (key, request, text) in &wishes {
            let mut bench = Bench::begin(codes, false);
            bench.hear(Heard::Key(*key));
            assert_eq!(bench.acts[0], Act::Hush);
            bench.asks(*request);
            bench.answers(MenuAnswer::Done).says(text);
            bench.listens().says(&Text::Choices);
        }
    }
    for key in ["3", "4"] {
        Bench::new().types(key).answers(MenuAnswer::NoCalls).says(&Text::NoCalls);
    }
}

#[test]
fn what_the_store_did_not_do_is_said_to_have_failed() {
    for key in ["2", "3", "4"] {
        Bench::new().types(key).answers(MenuAnswer::Failed).says(&Text::Failed);
        let mut bench = Bench::new();
        bench.types(key).waits().says(&Text::Failed);
        assert_eq!(bench.answers(MenuAnswer::Done).acts, [], "late");
    }
    Bench::new().types("1123456#").answers(MenuAnswer::Failed).says(&Text::Failed);
}

#[test]
fn keys_are_not_heard_while_the_store_is_asked_or_goodbye_is_said() {
    for keys in ["2", "0"] {
        let mut bench = Bench::new();
        bench.types(keys);
        for key in "0123456789*#".chars() {
            assert_eq!(bench.hear(Heard::Key(key)), []);
        }
    }
}

#[test]
fn nothing_with_a_code_is_done_where_none_is_ever_spoken() {
    let mut bench = Bench::begin(Codes::Unspoken, false);
    for key in ["1", "5", "6", "7", "8", "9", "#", "A"] {
        bench.types(key).says(&Text::WrongKey);
    }
}

#[test]
fn a_star_says_the_choices_again_and_a_zero_ends_the_call() {
    let mut bench = Bench::new();
    bench.types("*").says(&Text::Choices);
    bench.types("0").says(&Text::Goodbye);
    bench.listens().is_over();
}

#[test]
fn whoever_hears_nothing_is_not_kept() {
    let mut bench = Bench::new();
    bench.hear(Heard::Unheard(1));
    bench.is_over();
    // Nobody tells of any end: the silence between is one in any case.
    let mut bench = Bench::new();
    assert_eq!(bench.hear(Heard::Elapsed), [Act::Wait(Patience::Key)]);
    bench.waits().says(&Text::Choices);
    bench.waits().waits().says(&Text::NoChoice);
    bench.waits().is_over();
}

#[test]
fn a_choice_counts_and_is_told_though_nobody_tells_of_the_end_of_what_is_said() {
    let mut bench = Bench::new();
    bench.waits().types("2").answers(MenuAnswer::Done).says(&Text::Paused);
    bench.waits().says(&Text::Choices);
}

#[test]
fn the_end_of_what_was_interrupted_is_not_the_end_of_what_is_said() {
    let mut bench = Bench::new();
    bench.types("*");
    assert_eq!(bench.hear(Heard::Said(1)), []);
    assert_eq!(bench.hear(Heard::Unheard(1)), []);
}

/// Any keys in any order, and any answers: it ends, once, and nothing is read before a code.
#[test]
fn whatever_is_typed_it_ends_and_nothing_is_read_before_the_proof() {
    use rand_core::{Rng, SeedableRng};
    const KEYS: &[u8] = b"0123456789*#ABCD1155##";
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    let mut read = 0;
    for run in 0..3_000 {
        let codes = if run % 3 == 0 { Codes::Unspoken } else { Codes::Spoken };
        let mut bench = Bench::begin(codes, run % 2 == 0);
        let (mut proved, mut checking, mut steps) = (false, false, 0_u32);
        while !bench.acts.contains(&Act::Close) {
            steps += 1;
            assert!(steps < 5_000, "it does not end");
            let chance = rng.next_u32();
            let was_asked = bench.asked();
            if let Some(request) = was_asked {
                checking = matches!(request, MenuRequest::Check(_));
            }
            let answers = [
                REAL,
                UNKNOWN,
                MenuAnswer::Locked,
                MenuAnswer::Callers(vec![CALL]),
                MenuAnswer::Done,
                MenuAnswer::NoCalls,
                MenuAnswer::Failed,
            ];
            let is_asking = matches!(bench.menu.state, State::Checking(_) | State::Asking(_));
            match chance % 16 {
                0 => drop(bench.waits()),
                1..=3 => drop(bench.listens()),
                4 | 5 if !is_asking => drop(bench.types("1*123456#")),
                6 if !is_asking => drop(bench.types("5*123456#")),
                _ if is_asking => {
                    let answer = answers[chance as usize / 16 % answers.len()].clone();
                    proved |= checking && answer == REAL;
                    bench.answers(answer);
                }
                _ => drop(bench.hear(Heard::Key(KEYS[chance as usize / 16 % KEYS.len()].into()))),
            }
            if matches!(bench.said(), Some(Text::Callers(_) | Text::Real(_))) {
                assert!(proved, "read before the proof");
                read += 1;
            }
        }
        assert_eq!(bench.acts.iter().filter(|act| **act == Act::Close).count(), 1);
        assert_eq!(bench.hear(Heard::Key('1')), []);
    }
    assert!(read > 50, "{read}");
}

/// Whoever does nothing but type is sent away too.
#[test]
fn keys_alone_do_not_keep_a_call_for_ever() {
    for keys in ["9", "12", "1*", "5#", "*", "111", "59*"] {
        let mut bench = Bench::new();
        for key in keys.chars().cycle().take(1_000) {
            bench.hear(Heard::Key(key));
            if bench.menu.state == State::Parting {
                break;
            }
            let is_asking = matches!(bench.menu.state, State::Checking(_) | State::Asking(_));
            if is_asking {
                bench.answers(UNKNOWN);
            }
        }
        assert_eq!(bench.menu.state, State::Parting, "{keys}");
    }
}
