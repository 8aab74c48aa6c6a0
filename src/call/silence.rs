//! Who is answered nothing for a while, since it was refused too often; and agents whose passwords
//! are being guessed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::domain::id::AgentId;

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

/// Wrong passwords of one agent within [`GUESSES_TIME`], from wherever, after which the agent is
/// believed from where it has registered alone.
const GUESSES_MAX: u32 = 10;
const GUESSES_TIME: Duration = Duration::from_secs(900);
/// Agents whose wrong passwords are counted at one time; the least guessed one gives way.
const AGENTS_MAX: usize = 4_096;

/// What was refused to whom.
#[derive(Debug, Default)]
pub(super) struct Silence {
    sources: BTreeMap<IpAddr, Points>,
    guesses: BTreeMap<AgentId, Guesses>,
}

#[derive(Debug)]
struct Points {
    points: u32,
    until: Instant,
    /// The part of them that wrong passwords of an agent have brought. As short as the points are
    /// few: a source of [`POINTS_MAX`] is not heard any more.
    wrong: Vec<(AgentId, u32)>,
}

#[derive(Debug)]
struct Guesses {
    count: u32,
    until: Instant,
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

    /// Counts a wrong password of an agent; true when silence begins.
    pub(super) fn reject_guess(&mut self, now: Instant, source: IpAddr, agent: AgentId) -> bool {
        if self.guesses.len() >= AGENTS_MAX && !self.guesses.contains_key(&agent) {
            self.guesses.retain(|_, it| it.until > now);
            let least = self.guesses.iter().min_by_key(|(_, it)| (it.count, it.until));
            let least = least.map(|(agent, _)| *agent).filter(|_| self.guesses.len() >= AGENTS_MAX);
            least.and_then(|agent| self.guesses.remove(&agent));
        }
        let fresh = || Guesses { count: 0, until: now + GUESSES_TIME };
        let guesses = self.guesses.entry(agent).or_insert_with(fresh);
        if guesses.until <= now {
            *guesses = fresh();
        }
        guesses.count = guesses.count.saturating_add(1);
        let entry = self.points_of(now, source);
        match entry.wrong.iter_mut().find(|(known, _)| *known == agent) {
            Some((_, points)) => *points = points.saturating_add(WRONG_ANSWER),
            None if entry.points < POINTS_MAX => entry.wrong.push((agent, WRONG_ANSWER)),
            None => {}
        }
        self.reject(now, source, WRONG_ANSWER)
    }

    /// An agent has shown its password: its own wrong ones from there are forgiven, and nobody
    /// else's. Whoever has one login shall not guess others for ever.
    pub(super) fn forgive(&mut self, source: IpAddr, agent: AgentId) {
        let source = block_of(source);
        let Some(entry) = self.sources.get_mut(&source) else { return };
        let Some(at) = entry.wrong.iter().position(|(known, _)| *known == agent) else { return };
        let (_, points) = entry.wrong.swap_remove(at);
        entry.points = entry.points.saturating_sub(points);
        if entry.points == 0 {
            self.sources.remove(&source);
        }
        if let Some(guesses) = self.guesses.get_mut(&agent) {
            guesses.count = guesses.count.saturating_sub(points / WRONG_ANSWER);
        }
    }

    /// Whether a source is answered nothing.
    pub(super) fn is_silent(&self, now: Instant, source: IpAddr) -> bool {
        let found = self.sources.get(&block_of(source));
        found.is_some_and(|it| it.points >= POINTS_MAX && it.until > now)
    }

    /// Whether somebody tries to find the password of an agent.
    pub(super) fn is_guessed(&self, now: Instant, agent: AgentId) -> bool {
        let found = self.guesses.get(&agent);
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

/// What one party has of IPv6 is a network, not an address.
fn block_of(source: IpAddr) -> IpAddr {
    const HOST_BITS: u32 = 64;
    match source.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> HOST_BITS << HOST_BITS).into(),
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

    const ONE: AgentId = AgentId::from_u128(1);
    const OTHER: AgentId = AgentId::from_u128(2);

    #[test]
    fn a_right_password_forgives_the_wrong_ones_of_the_same_agent_there_and_no_others() {
        let (mut silence, now) = (Silence::default(), now());
        for _ in 0..4 {
            assert!(!silence.reject_guess(now, source(1), ONE));
        }
        silence.forgive(source(1), OTHER);
        silence.forgive(source(2), ONE);
        assert!(silence.reject_guess(now, source(1), ONE), "the fifth");
        assert!(silence.is_silent(now, source(1)) && !silence.is_silent(now, source(2)));
        silence.forgive(source(1), ONE);
        assert!(!silence.is_silent(now, source(1)));
        assert!(silence.sources.is_empty());
    }

    #[test]
    fn guesses_of_one_password_are_counted_wherever_they_come_from() {
        let (mut silence, now) = (Silence::default(), now());
        for n in 0..GUESSES_MAX {
            assert!(!silence.is_guessed(now, ONE));
            assert!(!silence.reject_guess(now, source(n), ONE));
        }
        assert!(silence.is_guessed(now, ONE) && !silence.is_guessed(now, OTHER));
        assert!(!silence.is_guessed(now + GUESSES_TIME, ONE));
    }

    #[test]
    fn the_tables_are_bounded_and_keep_who_has_done_most() {
        let (mut silence, now) = (Silence::default(), now());
        silence.reject(now, source(7), POINTS_MAX);
        for n in 0..3 * SOURCES_MAX as u32 {
            silence.reject_guess(now, source(100 + n), AgentId::from_u128(u128::from(n)));
            assert!(silence.sources.len() <= SOURCES_MAX && silence.guesses.len() <= AGENTS_MAX);
        }
        assert!(silence.is_silent(now, source(7)));
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
