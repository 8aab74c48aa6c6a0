//! Who is answered nothing for a while, since it was refused too often; and logins whose passwords
//! are being guessed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::hosts::block_of;

/// A source is answered nothing for a while after this many points within [`POINTS_TIME`]: a wrong
/// password counts [`WRONG_ANSWER`], anything else that is refused one.
const POINTS_MAX: u32 = 10;
const POINTS_TIME: Duration = Duration::from_secs(60);
const SILENCE_TIME: Duration = Duration::from_secs(300);
/// What a wrong password counts.
pub(super) const WRONG_ANSWER: u32 = 2;
/// Sources that are counted at one time. With more, the one that has done least gives way: whoever
/// has many addresses does not go uncounted.
const SOURCES_MAX: usize = 4_096;

/// Users who are answered nothing at one address each, at one time. With more, silence is for the
/// address.
const USERS_MAX: usize = 4_096;

/// Wrong passwords of one login within [`GUESSES_TIME`], from wherever, after which its agent is
/// believed from where it has been registered alone.
const GUESSES_MAX: u32 = 10;
pub(super) const GUESSES_TIME: Duration = Duration::from_secs(900);
/// Logins whose wrong passwords are counted at one time; the least guessed one gives way.
const LOGINS_MAX: usize = 4_096;

/// What was refused to whom. `Debug` shows no names.
#[derive(Default)]
pub(super) struct Silence {
    sources: BTreeMap<IpAddr, Points>,
    /// Users who are answered nothing at one source, and until when: the other users there are.
    users: BTreeMap<(IpAddr, Box<str>), Instant>,
    guesses: BTreeMap<Box<str>, Guesses>,
}

struct Points {
    points: u32,
    until: Instant,
    /// The part of them that wrong passwords of a user have brought. As short as the points are
    /// few: a source of [`POINTS_MAX`] is not heard any more.
    wrong: Vec<(Box<str>, u32)>,
}

struct Guesses {
    count: u32,
    until: Instant,
}

/// A wrong password.
#[derive(Clone, Copy)]
pub(super) struct Guess<'a> {
    /// Whose it was to be.
    pub(super) user: &'a str,
    /// There is an agent with this login.
    pub(super) is_known: bool,
    /// Other agents are registered from there.
    pub(super) is_among_others: bool,
}

/// What begins with something that was refused.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Begins {
    /// The source is answered nothing.
    pub(super) silence: bool,
    /// The login is believed from where its agent has been alone.
    pub(super) doubt: bool,
}

impl Silence {
    /// Counts what was refused; true when silence begins.
    pub(super) fn reject(&mut self, now: Instant, source: IpAddr, points: u32) -> bool {
        let entry = self.points_of(now, source);
        let was_silent = entry.points >= POINTS_MAX;
        entry.points = entry.points.saturating_add(points);
        let begins = !was_silent && entry.points >= POINTS_MAX;
        if begins {
            entry.until = now + SILENCE_TIME;
        }
        begins
    }

    /// Counts a wrong password of a user. Where others are registered, the wrong ones of one user
    /// are those of a phone with an old password: silence is for that user there, and for all when
    /// there is a second one.
    pub(super) fn reject_guess(
        &mut self,
        now: Instant,
        source: IpAddr,
        guess: Guess<'_>,
    ) -> Begins {
        let doubt = guess.is_known && self.count_guess(now, guess.user);
        let wrong = &self.points_of(now, source).wrong;
        let before = wrong.iter().find(|(user, _)| **user == *guess.user).map_or(0, |it| it.1);
        if guess.is_among_others
            && before + WRONG_ANSWER >= POINTS_MAX
            && self.silence_user(now, source, guess.user)
        {
            return Begins { silence: false, doubt };
        }
        let entry = self.points_of(now, source);
        match entry.wrong.iter_mut().find(|(user, _)| **user == *guess.user) {
            Some((_, points)) => *points = points.saturating_add(WRONG_ANSWER),
            None if entry.points < POINTS_MAX => {
                entry.wrong.push((guess.user.into(), WRONG_ANSWER));
            }
            None => {}
        }
        Begins { silence: self.reject(now, source, WRONG_ANSWER), doubt }
    }

    /// True when the guesses of a password have become too many.
    fn count_guess(&mut self, now: Instant, user: &str) -> bool {
        if self.guesses.len() >= LOGINS_MAX && !self.guesses.contains_key(user) {
            self.guesses.retain(|_, it| it.until > now);
            let least = self.guesses.iter().min_by_key(|(_, it)| (it.count, it.until));
            let least = least.filter(|_| self.guesses.len() >= LOGINS_MAX);
            least.map(|(user, _)| user.clone()).and_then(|user| self.guesses.remove(&user));
        }
        let fresh = || Guesses { count: 0, until: now + GUESSES_TIME };
        if !self.guesses.contains_key(user) {
            self.guesses.insert(user.into(), fresh());
        }
        let Some(guesses) = self.guesses.get_mut(user) else { return false };
        if guesses.until <= now {
            *guesses = fresh();
        }
        guesses.count = guesses.count.saturating_add(1);
        guesses.count == GUESSES_MAX
    }

    /// Answers a user nothing at one source. False when there are too many of them.
    fn silence_user(&mut self, now: Instant, source: IpAddr, user: &str) -> bool {
        if self.users.len() >= USERS_MAX {
            self.users.retain(|_, until| *until > now);
            if self.users.len() >= USERS_MAX {
                return false;
            }
        }
        self.users.insert((block_of(source), user.into()), now + SILENCE_TIME);
        true
    }

    /// A user has shown its password: its own wrong ones from there are forgiven, and nobody
    /// else's. Whoever has one login shall not guess others for ever.
    pub(super) fn forgive(&mut self, source: IpAddr, user: &str) {
        let source = block_of(source);
        if !self.users.is_empty() {
            self.users.remove(&(source, user.into()));
        }
        let Some(entry) = self.sources.get_mut(&source) else { return };
        let Some(at) = entry.wrong.iter().position(|(known, _)| **known == *user) else { return };
        let (_, points) = entry.wrong.swap_remove(at);
        entry.points = entry.points.saturating_sub(points);
        if entry.points == 0 {
            self.sources.remove(&source);
        }
        if let Some(guesses) = self.guesses.get_mut(user) {
            guesses.count = guesses.count.saturating_sub(points / WRONG_ANSWER);
        }
    }

    /// Whether a user is answered nothing at this source.
    pub(super) fn is_user_silent(&self, now: Instant, source: IpAddr, user: &str) -> bool {
        let of = |user: &str| self.users.get(&(block_of(source), user.into()));
        !self.users.is_empty() && of(user).is_some_and(|until| *until > now)
    }

    /// Whether a source is answered nothing.
    pub(super) fn is_silent(&self, now: Instant, source: IpAddr) -> bool {
        let found = self.sources.get(&block_of(source));
        found.is_some_and(|it| it.points >= POINTS_MAX && it.until > now)
    }

    /// Whether somebody tries to find the password of a login.
    pub(super) fn is_guessed(&self, now: Instant, user: &str) -> bool {
        let found = self.guesses.get(user);
        found.is_some_and(|it| it.count >= GUESSES_MAX && it.until > now)
    }

    fn points_of(&mut self, now: Instant, source: IpAddr) -> &mut Points {
        let source = block_of(source);
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.sources.retain(|_, it| it.until > now);
            let least = self.sources.iter().min_by_key(|(_, it)| (it.points, it.until));
            let least =
                least.map(|(source, _)| *source).filter(|_| self.sources.len() >= SOURCES_MAX);
            least.and_then(|source| self.sources.remove(&source));
        }
        let fresh = || Points { points: 0, until: now + POINTS_TIME, wrong: Vec::new() };
        let entry = self.sources.entry(source).or_insert_with(fresh);
        if entry.until <= now {
            *entry = fresh();
        }
        entry
    }
}

impl std::fmt::Debug for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sources, users) = (self.sources.len(), self.users.len());
        write!(f, "Silence({sources} sources, {users} users, {} logins)", self.guesses.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        crate::call::tests::harness::epoch().monotonic
    }

    fn source(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    const ONE: Guess<'_> = Guess { user: "one", is_known: true, is_among_others: false };
    const QUIET: Begins = Begins { silence: false, doubt: false };
    const SILENCE: Begins = Begins { silence: true, doubt: false };

    #[test]
    fn a_right_password_forgives_the_wrong_ones_of_the_same_user_there_and_no_others() {
        let (mut silence, now) = (Silence::default(), now());
        for _ in 0..4 {
            assert_eq!(silence.reject_guess(now, source(1), ONE), QUIET);
        }
        silence.forgive(source(1), "other");
        silence.forgive(source(2), "one");
        assert_eq!(silence.reject_guess(now, source(1), ONE), SILENCE, "the fifth");
        assert!(silence.is_silent(now, source(1)) && !silence.is_silent(now, source(2)));
        silence.forgive(source(1), "one");
        assert!(!silence.is_silent(now, source(1)));
        assert!(silence.sources.is_empty());
    }

    #[test]
    fn guesses_of_one_password_are_counted_wherever_they_come_from() {
        let (mut silence, now) = (Silence::default(), now());
        for n in 1..GUESSES_MAX {
            assert_eq!(silence.reject_guess(now, source(n), ONE), QUIET);
            assert!(!silence.is_guessed(now, "one"));
        }
        let begins = silence.reject_guess(now, source(GUESSES_MAX), ONE);
        assert_eq!(begins, Begins { silence: false, doubt: true });
        assert_eq!(silence.reject_guess(now, source(0), ONE), QUIET, "it has begun before");
        assert!(silence.is_guessed(now, "one") && !silence.is_guessed(now, "other"));
        assert!(!silence.is_guessed(now + GUESSES_TIME, "one"));
    }

    #[test]
    fn the_tables_are_bounded_and_keep_who_has_done_most() {
        let (mut silence, now) = (Silence::default(), now());
        silence.reject(now, source(7), POINTS_MAX);
        for n in 0..SOURCES_MAX as u32 + 200 {
            let user = n.to_string();
            silence.reject_guess(now, source(100 + n), Guess { user: &user, ..ONE });
            assert!(silence.sources.len() <= SOURCES_MAX && silence.guesses.len() <= LOGINS_MAX);
        }
        assert!(silence.is_silent(now, source(7)));
    }

    #[test]
    fn silence_for_single_users_is_bounded_and_then_for_all_at_their_address() {
        let (mut silence, now) = (Silence::default(), now());
        let guess = Guess { is_among_others: true, ..ONE };
        let wrong = |silence: &mut Silence, n| {
            (0..5).map(|_| silence.reject_guess(now, source(n), guess)).any(|it| it.silence)
        };
        for n in 0..USERS_MAX as u32 {
            assert!(!wrong(&mut silence, n));
            silence.sources.clear();
            assert!(silence.is_user_silent(now, source(n), "one"));
        }
        assert!(wrong(&mut silence, u32::MAX));
        assert_eq!(silence.users.len(), USERS_MAX);
        silence.forgive(source(0), "one");
        assert!(!silence.is_user_silent(now, source(0), "one"));
    }

    #[test]
    fn another_address_of_the_same_network_is_no_other_source() {
        let (mut silence, now) = (Silence::default(), now());
        for n in 0..10 {
            let source = format!("2001:db8::{n}").parse().expect("an address");
            silence.reject(now, source, 1);
        }
        assert!(silence.is_silent(now, "2001:db8::ffff".parse().expect("an address")));
        assert!(!silence.is_silent(now, "2001:db8:0:1::1".parse().expect("an address")));
    }
}
