//! Passwords that somebody tries to find: what that costs whoever tries, and what it must not cost
//! anybody else.

#[cfg(test)]
use super::harness::*;
use super::softphone::*;
use crate::call::io::{Input, SecurityEvent};

fn secs(count: u64) -> std::time::Duration {
    ms(count * 1_000)
}

/// A phone at another host.
fn at_host(host: u8, port: u16) -> Phone {
    let mut phone = Phone::at(port);
    phone.peer.address.set_ip([203, 0, 113, host].into());
    phone
}

/// Wrong passwords of one user: ten of them, from five hosts.
fn guess(h: &mut Harness, user: &'static str) {
    for host in 0..5 {
        let mut guessing = Phone { user, password: "guessed", ..at_host(100 + host, 40_000) };
        for _ in 0..3 {
            assert_eq!(start(&guessing.register(h, CONTACT)), "401 REGISTER");
        }
    }
}

/// The answer to the credentials of a phone that has just connected.
fn shows(h: &mut Harness, mut phone: Phone) -> String {
    assert_eq!(start(&phone.register(h, CONTACT)), "401 REGISTER");
    start(&phone.register(h, CONTACT))
}

#[test]
fn whoever_has_one_login_does_not_guess_others_for_ever() {
    let mut h = Harness::new();
    let mut own = registered(&mut h);
    let mut guessing = Phone { user: VICTIM, password: "guessed", ..Phone::at(40_000) };
    assert_eq!(start(&guessing.register(&mut h, CONTACT)), "401 REGISTER");
    for _ in 0..4 {
        assert_eq!(start(&guessing.register(&mut h, CONTACT)), "401 REGISTER");
    }
    own.cseq = guessing.cseq;
    assert_eq!(start(&own.register(&mut h, CONTACT)), "200 REGISTER");
    guessing.cseq = own.cseq;
    assert_eq!(start(&guessing.register(&mut h, CONTACT)), "401 REGISTER");
    let source = own.peer.address.ip();
    assert_eq!(h.security.last(), Some(&SecurityEvent::Silenced { source }));
    // By its own connection either.
    assert!(ask_in_vain(&mut h, own.peer, 3).is_empty());
}

#[test]
fn a_password_that_many_guess_is_believed_from_where_its_agent_is() {
    let mut h = Harness::new();
    let mut phone = registered(&mut h);
    guess(&mut h, USER);
    let mut lucky = at_host(200, 40_000);
    for _ in 0..2 {
        assert_eq!(start(&lucky.register(&mut h, CONTACT)), "401 REGISTER");
    }
    assert_eq!(start(&phone.register(&mut h, CONTACT)), "200 REGISTER");
    let mut again = Phone::at(40_007);
    again.register(&mut h, CONTACT);
    assert_eq!(start(&again.register(&mut h, CONTACT)), "200 REGISTER", "the same office");
    h.advance(secs(901));
    for status in ["401 REGISTER", "200 REGISTER"] {
        assert_eq!(start(&lucky.register(&mut h, CONTACT)), status);
    }
}

/// An operator who sees the guesses gives the agent another login.
#[test]
fn a_new_login_is_believed_at_once_while_the_old_one_is_guessed() {
    let mut h = Harness::new();
    guess(&mut h, USER);
    assert_eq!(shows(&mut h, Phone::at(40_000)), "401 REGISTER");
    assert_eq!(shows(&mut h, Phone { user: RENEWED, ..Phone::at(40_001) }), "200 REGISTER");
    assert_eq!(shows(&mut h, Phone::at(40_002)), "200 REGISTER", "where the agent is");
}

#[test]
fn an_agent_who_is_guessed_is_believed_where_it_was_before_its_connection_was_lost() {
    for ends in ["", "Contact: *\r\nExpires: 0\r\n"] {
        let mut h = Harness::new();
        let mut phone = registered(&mut h);
        guess(&mut h, USER);
        if !ends.is_empty() {
            phone.register(&mut h, ends);
        }
        h.input(Input::Unreachable { peer: phone.peer.hop() });
        h.advance(secs(600));
        assert_eq!(shows(&mut h, at_host(200, 40_000)), "401 REGISTER");
        assert_eq!(shows(&mut h, Phone::at(40_001)), "200 REGISTER");
    }
}

/// A quarter of an hour after it would have ended: an address may be another's then.
#[test]
fn the_place_of_a_phone_that_is_gone_is_forgotten_in_the_end() {
    for (after, answer) in [(1_000, "200 REGISTER"), (1_001, "401 REGISTER")] {
        let mut h = Harness::new();
        let phone = registered(&mut h);
        h.input(Input::Unreachable { peer: phone.peer.hop() });
        h.advance(secs(after));
        guess(&mut h, USER);
        h.advance(secs(19));
        assert_eq!(shows(&mut h, Phone::at(40_001)), answer);
    }
}

/// What it is refused is its own, and it looks like a scanner to nobody.
#[test]
fn an_agent_who_is_guessed_and_comes_from_elsewhere_costs_its_new_office_nothing() {
    let mut h = Harness::new();
    guess(&mut h, USER);
    h.advance(secs(61));
    for port in 1..3 {
        let user = COLLEAGUES[usize::from(port) - 1];
        assert_eq!(shows(&mut h, Phone { user, ..at_host(200, port) }), "200 REGISTER");
    }
    h.security.clear();
    let mut moved = at_host(200, 40_000);
    assert_eq!(start(&moved.register(&mut h, CONTACT)), "401 REGISTER");
    for _ in 0..4 {
        assert_eq!(start(&moved.register(&mut h, CONTACT)), "401 REGISTER");
    }
    assert_eq!(h.security, []);
    let late = Phone { user: COLLEAGUES[2], ..at_host(200, 3) };
    assert_eq!(shows(&mut h, late), "200 REGISTER");
}

#[test]
fn one_line_says_that_a_password_is_being_guessed() {
    let mut h = Harness::new();
    guess(&mut h, USER);
    guess(&mut h, VICTIM);
    let is_it = |event: &&SecurityEvent| matches!(event, SecurityEvent::LoginGuessed { .. });
    let source = at_host(104, 40_000).peer.address.ip();
    let of = |agent| SecurityEvent::LoginGuessed { agent, source };
    let lines: Vec<_> = h.security.iter().filter(is_it).copied().collect();
    assert_eq!(lines, [of(AGENT), of(VICTIMS_AGENT)]);
}

/// A phone somewhere in the office has an old password, and tries it again and again.
#[test]
fn an_office_behind_one_address_is_not_silenced_by_the_wrong_password_of_one_user() {
    let mut h = Harness::new();
    let mut first = Phone { user: COLLEAGUES[0], ..Phone::at(1) };
    first.register(&mut h, CONTACT);
    assert_eq!(start(&first.register(&mut h, CONTACT)), "200 REGISTER");
    let mut heard = 0;
    for round in 0..20 {
        let mut wrong = Phone { password: "old", ..Phone::at(30_000 + round) };
        assert_eq!(start(&wrong.register(&mut h, CONTACT)), "401 REGISTER");
        heard += wrong.tries(&mut h).len();
        for (port, user) in [(20_000, COLLEAGUES[1]), (21_000, COLLEAGUES[2])] {
            assert_eq!(
                shows(&mut h, Phone { user, ..Phone::at(port + round) }),
                "200 REGISTER",
                "{round}"
            );
        }
        h.advance(ms(900));
    }
    assert_eq!(heard, 5, "then it is its user who is answered nothing there");
    assert_eq!(shows(&mut h, at_host(200, 1)), "200 REGISTER", "and nowhere else");
    h.advance(secs(301));
    assert_eq!(shows(&mut h, Phone::at(40_000)), "200 REGISTER");
}

/// Whoever tries the names of an office one after the other is no phone with an old password.
#[test]
fn wrong_passwords_of_several_users_silence_their_address_though_others_are_registered_there() {
    for user in [USER, "nobody"] {
        let mut h = Harness::new();
        let right = Phone { user: COLLEAGUES[0], ..Phone::at(1) };
        assert_eq!(shows(&mut h, right), "200 REGISTER");
        for (port, user) in [user, VICTIM].into_iter().enumerate() {
            let mut wrong = Phone { user, password: "guessed", ..Phone::at(2 + port as u16) };
            wrong.register(&mut h, CONTACT);
            (0..6).for_each(|_| drop(wrong.tries(&mut h)));
        }
        let source = Phone::at(1).peer.address.ip();
        assert_eq!(h.security.last(), Some(&SecurityEvent::Silenced { source }));
        assert!(ask_in_vain(&mut h, softphone(9), 3).is_empty());
    }
}

#[test]
fn an_office_behind_one_address_is_not_silenced_by_one_wrong_password() {
    let mut h = Harness::new();
    let mut wrong = Phone { password: "guessed", ..Phone::at(40_000) };
    wrong.register(&mut h, CONTACT);
    let mut right = Phone::at(40_001);
    right.register(&mut h, CONTACT);
    for _ in 0..20 {
        assert_eq!(start(&wrong.register(&mut h, CONTACT)), "401 REGISTER");
        assert_eq!(start(&right.register(&mut h, CONTACT)), "200 REGISTER");
    }
}
