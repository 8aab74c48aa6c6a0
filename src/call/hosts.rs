//! The hosts where agents have been registered of late. While somebody tries to find an agent's
//! password, it is believed from those alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::domain::id::AgentId;

/// Hosts of one agent that are kept; the one that would be forgotten first gives way.
const HOSTS_MAX: usize = 5;
/// Agents whose hosts are kept. No more may be registered at one time; those of whoever comes
/// then are not kept.
const AGENTS_MAX: usize = 100_000;

/// Where agents have been, and until when that counts.
#[derive(Debug, Default)]
pub(super) struct Hosts(BTreeMap<AgentId, Vec<(IpAddr, Instant)>>);

impl Hosts {
    /// An agent registers from a host.
    pub(super) fn note(&mut self, now: Instant, agent: AgentId, host: IpAddr, until: Instant) {
        if self.0.len() >= AGENTS_MAX && !self.0.contains_key(&agent) {
            self.0.retain(|_, list| list.iter().any(|(_, until)| *until > now));
            if self.0.len() >= AGENTS_MAX {
                return;
            }
        }
        let host = block_of(host);
        let list = self.0.entry(agent).or_default();
        list.retain(|(known, until)| *known != host && *until > now);
        if list.len() >= HOSTS_MAX {
            let first = list.iter().enumerate().min_by_key(|(_, (_, until))| *until);
            first.map(|(at, _)| at).map(|at| list.swap_remove(at));
        }
        list.push((host, until));
    }

    /// Whether an agent has been at this host of late.
    pub(super) fn has(&self, now: Instant, agent: AgentId, host: IpAddr) -> bool {
        let host = block_of(host);
        let is_it = |(known, until): &(IpAddr, Instant)| *known == host && *until > now;
        self.0.get(&agent).is_some_and(|list| list.iter().any(is_it))
    }
}

/// For so long after its registration would have ended, a phone whose connection was lost is
/// believed where it was.
pub(super) const REMEMBERED: Duration = super::silence::GUESSES_TIME;

const HOST_BITS: u32 = 64;

/// What one party has of IPv6 is a network, not an address.
pub(super) fn block_of(host: IpAddr) -> IpAddr {
    *addresses_of(host).start()
}

/// All addresses of the party that has this one.
pub(super) fn addresses_of(host: IpAddr) -> RangeInclusive<IpAddr> {
    match host.to_canonical() {
        IpAddr::V4(ip) => ip.into()..=ip.into(),
        IpAddr::V6(ip) => {
            let first = ip.to_bits() >> HOST_BITS << HOST_BITS;
            let last = first | (u128::MAX >> HOST_BITS);
            Ipv6Addr::from_bits(first).into()..=Ipv6Addr::from_bits(last).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_few_hosts_and_the_latest_of_them() {
        let (mut hosts, now) = (Hosts::default(), crate::call::tests::harness::epoch().monotonic);
        let agent = AgentId::from_u128(1);
        let host = |n: u8| IpAddr::from([192, 0, 2, n]);
        for n in 0..100 {
            let until = now + Duration::from_secs(1 + u64::from(n));
            hosts.note(now, agent, host(n), until);
            hosts.note(now, agent, host(n), until);
            assert!(hosts.0[&agent].len() <= HOSTS_MAX);
        }
        let had: Vec<u8> = (0..100).filter(|n| hosts.has(now, agent, host(*n))).collect();
        assert_eq!(had, [95, 96, 97, 98, 99]);
        assert!(!hosts.has(now, AgentId::from_u128(2), host(99)));
        assert!(!hosts.has(now + Duration::from_secs(100), agent, host(99)));
    }

    #[test]
    fn a_phone_with_another_address_of_its_network_is_where_it_was() {
        let (mut hosts, now) = (Hosts::default(), crate::call::tests::harness::epoch().monotonic);
        let agent = AgentId::from_u128(1);
        let host = |text: &str| text.parse::<IpAddr>().expect("an address");
        hosts.note(now, agent, host("2001:db8::1"), now + REMEMBERED);
        assert!(hosts.has(now, agent, host("2001:db8::ffff:1")));
        assert!(!hosts.has(now, agent, host("2001:db8:0:1::1")));
    }
}
