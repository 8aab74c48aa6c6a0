//! In which order trunks are asked: by priority, by chance among equals with regard to their
//! weights (RFC 2782), and those that are down last.

use std::collections::BTreeMap;

use super::trunks::TrunkBook;
use crate::domain::id::TrunkId;
use crate::domain::route::TrunkTarget;

/// One of several that may be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Weighed<T> {
    /// What.
    pub item: T,
    /// Lower is asked first.
    pub priority: u16,
    /// Its share among those of the same priority.
    pub weight: u16,
}

/// All items, in the order in which they are asked.
pub fn in_order<T>(mut items: Vec<Weighed<T>>, mut chance: impl FnMut() -> u64) -> Vec<T> {
    // Those without weight first, so that they have a small chance at all (RFC 2782).
    items.sort_by_key(|it| (it.priority, it.weight));
    let mut order = Vec::with_capacity(items.len());
    while let Some(first) = items.first() {
        let priority = first.priority;
        let group = items.iter().take_while(|it| it.priority == priority);
        let sum: u64 = group.clone().map(|it| u64::from(it.weight)).sum();
        let mut drawn = chance() % (sum + 1);
        let position = group
            .map(|it| u64::from(it.weight))
            .position(|weight| {
                let is_it = drawn <= weight;
                drawn = drawn.saturating_sub(weight);
                is_it
            })
            .unwrap_or(0);
        order.push(items.remove(position).item);
    }
    order
}

/// The targets of a route, as the trunks are right now. A single one is left as it is.
pub(super) fn arrange(
    targets: Vec<TrunkTarget>,
    book: &TrunkBook,
    targets_max: usize,
    mut chance: impl FnMut() -> u64,
) -> Vec<TrunkTarget> {
    // The usual case: there is nothing to choose, and nothing to allocate.
    if let [only] = &*targets
        && !only.is_unresolved()
    {
        return targets;
    }
    let is_known = |target: &TrunkTarget| book.get(target.trunk).is_some();
    if !targets.iter().any(is_known) {
        return targets.into_iter().filter(|it| !it.is_unresolved()).collect();
    }
    let mut by_trunk: BTreeMap<TrunkId, Vec<TrunkTarget>> = BTreeMap::new();
    let mut trunks = Vec::new();
    for target in targets {
        let own = by_trunk.entry(target.trunk).or_default();
        if own.is_empty() {
            let terms = book.get(target.trunk);
            let (priority, weight) = terms.map_or((0, 0), |terms| (terms.priority, terms.weight));
            trunks.push(Weighed { item: target.trunk, priority, weight });
        }
        own.push(target);
    }
    let mut up = Vec::new();
    let mut down = Vec::new();
    for trunk in in_order(trunks, &mut chance) {
        let stored = by_trunk.remove(&trunk).unwrap_or_default();
        let Some(terms) = book.get(trunk) else {
            up.extend(stored);
            continue;
        };
        if terms.targets.is_empty() {
            up.extend(stored);
            continue;
        }
        let own = terms.targets.iter().enumerate();
        let own = own.map(|(index, it)| {
            let Weighed { ref item, priority, weight } = *it;
            Weighed { item: (index, item.clone()), priority, weight }
        });
        for (index, target) in in_order(own.collect(), &mut chance) {
            let list = if terms.down.has(index) { &mut down } else { &mut up };
            list.push(target);
        }
    }
    // One that is down may have come back, and is better than none.
    up.extend(down);
    up.retain(|target| !target.is_unresolved());
    up.truncate(targets_max);
    up
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    fn weighed(item: u8, priority: u16, weight: u16) -> Weighed<u8> {
        Weighed { item, priority, weight }
    }

    /// How often each of four items comes first in 10,000 draws.
    fn firsts(items: &[Weighed<u8>]) -> [u32; 4] {
        let mut rng = ChaCha20Rng::seed_from_u64(11);
        let mut count = [0; 4];
        for _ in 0..10_000 {
            let order = in_order(items.to_vec(), || rng.next_u64());
            assert_eq!(order.len(), items.len());
            count[usize::from(order[0])] += 1;
        }
        count
    }

    #[test]
    fn a_single_target_is_left_as_it_is_and_an_unresolved_one_is_none() {
        let target = TrunkTarget {
            trunk: TrunkId::from_u128(1),
            name: None,
            address: "192.0.2.1:5060".parse().expect("an address"),
            transport: crate::domain::network::Transport::Udp,
        };
        let unresolved = TrunkTarget { address: TrunkTarget::UNRESOLVED, ..target.clone() };
        let arranged = |targets| arrange(targets, &TrunkBook::default(), 16, || 0);
        assert_eq!(arranged(vec![target.clone()]), vec![target.clone()]);
        assert!(arranged(vec![unresolved.clone()]).is_empty());
        assert_eq!(arranged(vec![unresolved, target.clone()]), vec![target]);
    }

    #[test]
    fn a_lower_priority_always_comes_first() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for _ in 0..200 {
            let items = vec![weighed(0, 20, 1_000), weighed(1, 10, 1), weighed(2, 10, 0)];
            let order = in_order(items, || rng.next_u64());
            assert_eq!(order[2], 0);
        }
        assert!(in_order(Vec::<Weighed<u8>>::new(), || 0).is_empty());
    }

    #[test]
    fn equals_share_by_their_weights() {
        let [light, heavy, ..] = firsts(&[weighed(0, 1, 250), weighed(1, 1, 750)]);
        assert!((2_350..2_650).contains(&light), "{light} to {heavy}");
        let [first, second, none, _] =
            firsts(&[weighed(0, 1, 100), weighed(1, 1, 100), weighed(2, 1, 0)]);
        assert!(first.abs_diff(second) < 400 && none < 200, "{first}, {second}, {none}");
        let without = firsts(&[weighed(0, 1, 0), weighed(1, 1, 0)]);
        assert_eq!(without[0], 10_000, "without weights the order is as written");
    }
}
