//! libFuzzer with one property of `tests/fuzz`, named by `MASKLINE_FUZZ`. With `MASKLINE_SEEDS` it
//! writes the seeds of that property into the folder of this name and ends.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../tests/fuzz/properties.rs"]
mod properties;
#[path = "../tests/fuzz/seeds.rs"]
mod seeds;
#[path = "../tests/sip/walk.rs"]
mod walk;

fn chosen() -> properties::Property {
    let name = std::env::var("MASKLINE_FUZZ").expect("MASKLINE_FUZZ names a property");
    if let Ok(folder) = std::env::var("MASKLINE_SEEDS") {
        std::fs::create_dir_all(&folder).expect("a folder for the seeds");
        for (number, seed) in seeds::of(&name).into_iter().enumerate() {
            std::fs::write(format!("{folder}/seed-{number}"), seed).expect("a writable folder");
        }
        std::process::exit(0);
    }
    let mut found = properties::PROPERTIES.iter().filter(|(found, _)| *found == name);
    found.next().expect("MASKLINE_FUZZ names a property").1
}

fuzz_target!(|bytes: &[u8]| {
    static CHOSEN: OnceLock<properties::Property> = OnceLock::new();
    CHOSEN.get_or_init(chosen)(bytes);
});
