//! How trunks are reached, as the brain last said: for the API, the metrics and the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::call::io::TrunkStatus;
use crate::domain::id::TrunkId;

/// How one trunk is reached.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TrunkState {
    /// Whether it knows us, where it wants us to register.
    pub is_registered: Option<bool>,
    /// Bits of its targets that are down.
    pub down: u32,
    /// It wants us to register.
    wants_registration: bool,
}

/// The states of all trunks there are.
#[derive(Debug, Default)]
pub(crate) struct TrunkStates(Mutex<BTreeMap<TrunkId, TrunkState>>);

impl TrunkStates {
    pub(crate) fn of(&self, trunk: TrunkId) -> TrunkState {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.get(&trunk).copied().unwrap_or_default()
    }

    /// Some carrier knows us.
    pub(crate) fn is_registered_anywhere(&self) -> bool {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.values().any(|state| state.is_registered == Some(true))
    }

    /// The trunks have been read: each has its gauges from now on. A gauge cannot be taken away:
    /// one that says nothing any more is no number.
    pub(crate) fn follow(&self, trunks: &BTreeMap<TrunkId, Reach>) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (trunk, state) in states.extract_if(.., |trunk, _| !trunks.contains_key(trunk)) {
            if state.is_registered.is_some() {
                gauge(REGISTERED, trunk, f64::NAN);
            }
            gauge(TARGETS, trunk, f64::NAN);
            gauge(DOWN, trunk, f64::NAN);
        }
        for (trunk, reach) in trunks {
            let state = states.entry(*trunk).or_default();
            state.wants_registration = reach.wants_registration;
            match (reach.wants_registration, state.is_registered) {
                (true, None) => state.is_registered = Some(false),
                (false, Some(false)) => {
                    state.is_registered = None;
                    gauge(REGISTERED, *trunk, f64::NAN);
                }
                (true, Some(_)) | (false, None | Some(true)) => {}
            }
            gauge(TARGETS, *trunk, f64::from(u32::try_from(reach.targets).unwrap_or(u32::MAX)));
            show(*trunk, state);
        }
    }

    /// Takes what the brain says. It may still speak of a trunk that is gone, or take back what is
    /// not wanted any more: that is no alarm.
    pub(crate) fn note(&self, status: TrunkStatus) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match status {
            TrunkStatus::Registered { trunk, is_registered } => {
                if let Some(state) = states.get_mut(&trunk) {
                    state.is_registered =
                        (is_registered || state.wants_registration).then_some(is_registered);
                    if state.is_registered.is_none() {
                        gauge(REGISTERED, trunk, f64::NAN);
                    }
                    show(trunk, state);
                }
                let word = if is_registered { "Registered" } else { "Not registered" };
                tracing::info!(trunk.id = %trunk, is_registered, "{word} at {trunk}");
            }
            TrunkStatus::Targets { trunk, down } => {
                // Each shard says it of each trunk when the trunks were read.
                let state = states.get_mut(&trunk).filter(|state| state.down != down);
                let Some(state) = state else { return };
                state.down = down;
                show(trunk, state);
                let count = down.count_ones();
                if count == 0 {
                    tracing::info!(trunk.id = %trunk, count, "All targets of {trunk} are up");
                } else {
                    tracing::warn!(trunk.id = %trunk, count, "{count} targets of {trunk} are down");
                }
            }
        }
    }
}

/// What the settings say of how a trunk is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Reach {
    /// How many targets it has; none where its names lead nowhere.
    pub(crate) targets: usize,
    /// It wants us to register.
    pub(crate) wants_registration: bool,
}

const REGISTERED: &str = "maskline_trunk_registered";
const TARGETS: &str = "maskline_trunk_targets";
const DOWN: &str = "maskline_trunk_targets_down";

/// A trunk that does not want us to register has no gauge of that: nobody should be alarmed.
fn show(trunk: TrunkId, state: &TrunkState) {
    if let Some(is_registered) = state.is_registered {
        gauge(REGISTERED, trunk, f64::from(u8::from(is_registered)));
    }
    gauge(DOWN, trunk, f64::from(state.down.count_ones()));
}

/// By our own id of the trunk: what others call it is nobody's business here.
fn gauge(name: &'static str, trunk: TrunkId, value: f64) {
    metrics::gauge!(name, "trunk" => trunk.to_string()).set(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn each_trunk_has_the_gauges_it_needs_from_the_start_and_no_numbers_when_it_is_gone() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let page = recorder.handle();
        let trunk = TrunkId::from_u128(7);
        let shown = || {
            let names = ["registered", "targets", "targets_down"];
            let value = |name: &str| {
                let start = format!("maskline_trunk_{name}{{trunk=\"{trunk}\"}} ");
                let text = page.render();
                text.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
            };
            names.map(|name| value(name).unwrap_or_default())
        };
        let reach = |wants_registration| {
            BTreeMap::from([(trunk, Reach { targets: 2, wants_registration })])
        };
        let texts = |all: [&str; 3]| all.map(str::to_owned);
        let is_registered = |states: &TrunkStates| states.of(trunk).is_registered;
        metrics::with_local_recorder(&recorder, || {
            let states = TrunkStates::default();
            states.follow(&reach(false));
            assert_eq!(shown(), ["", "2", "0"], "it does not want us to register");
            states.follow(&reach(true));
            assert_eq!((shown(), is_registered(&states)), (texts(["0", "2", "0"]), Some(false)));
            states.note(TrunkStatus::Registered { trunk, is_registered: true });
            states.note(TrunkStatus::Targets { trunk, down: 2 });
            assert_eq!(shown(), ["1", "2", "1"]);
            states.follow(&reach(false));
            states.note(TrunkStatus::Registered { trunk, is_registered: false });
            assert_eq!((shown(), is_registered(&states)), (texts(["NaN", "2", "1"]), None));
            states.follow(&BTreeMap::new());
            states.note(TrunkStatus::Registered { trunk, is_registered: false });
            states.note(TrunkStatus::Targets { trunk, down: 0 });
            assert_eq!(shown(), ["NaN", "NaN", "NaN"], "the brain speaks after the settings");
        });
    }

    #[test]
    fn what_is_told_again_is_written_once() {
        let trunk = TrunkId::from_u128(7);
        let (sender, lines) = std::sync::mpsc::sync_channel(16);
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || Sends(sender.clone()))
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let states = TrunkStates::default();
            let reach = Reach { targets: 2, wants_registration: false };
            states.follow(&BTreeMap::from([(trunk, reach)]));
            for down in [0, 2, 2, 3, 0, 0] {
                states.note(TrunkStatus::Targets { trunk, down });
                assert_eq!(states.of(trunk).down, down);
            }
        });
        let lines: Vec<String> = lines.iter().collect();
        let says = |line: &String, text: &str| line.contains(text);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(says(&lines[0], "1 targets") && says(&lines[1], "2 targets"), "{lines:?}");
        assert!(says(&lines[2], "are up"), "{lines:?}");
    }

    struct Sends(std::sync::mpsc::SyncSender<String>);

    impl std::io::Write for Sends {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(String::from_utf8_lossy(bytes).into_owned()).ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
