//! What must hold for any bytes, tried on mutations of real values: so many for each reader, from a
//! seed, whatever the time. `fuzz/` gives the same properties to libFuzzer for as long as wanted.

#[path = "../sip/mutate.rs"]
mod mutate;
mod properties;
mod seeds;
#[path = "../sip/walk.rs"]
mod walk;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use properties::{PROPERTIES, Property};

const SEED: u64 = 44_755_118;
/// So many inputs for each reader.
const ROUNDS: u64 = 20_000;

/// Says which input it was when a property does not hold.
struct Witness<'a>(u64, &'a [u8]);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("round={} input=\"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

fn run(name: &str) {
    let find = |(found, _): &&(&str, Property)| *found == name;
    let (_, property) = PROPERTIES.iter().find(find).expect("a property of this name");
    let seeds: Vec<Bytes> = seeds::of(name).into_iter().map(Bytes::from).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    for (round, seed) in (0..).zip(&seeds) {
        let _witness = Witness(round, seed);
        property(seed);
    }
    for round in 0..ROUNDS {
        let input = mutate::mutated(&seeds, &mut rng);
        let _witness = Witness(round, &input);
        property(&input);
    }
}

/// One test for each reader, named as its property.
macro_rules! readers {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_reader_has_its_test() {
            let tests = [$(stringify!($name)),*];
            assert_eq!(PROPERTIES.map(|(name, _)| name), tests);
        }
    };
}

readers!(message, stream, uri, name_addr, via, sdp, digest, dtmf);
