//! How a stream sounds to a listener, by the E-model of ITU-T G.107 with its defaults, for G.711:
//! what is left of it is loss and delay.

use std::time::Duration;

/// What is known of a stream.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Heard {
    /// Packets that arrived.
    pub received: u64,
    /// Packets that did not.
    pub lost: u64,
    /// How unevenly they arrived.
    pub jitter: Duration,
    /// To the peer and back, where its RTCP tells.
    pub round_trip: Duration,
}

impl Heard {
    /// The mean opinion score in hundredths, from 100 to 441; `None` when nothing arrived.
    #[must_use]
    pub fn mos_centi(&self) -> Option<u16> {
        (self.received > 0).then(|| (opinion(self.rating()) * 100.0).round() as u16)
    }

    /// R, G.107 §7.1.
    fn rating(&self) -> f64 {
        let all = (self.received + self.lost).max(1);
        let loss = self.lost as f64 * 100.0 / all as f64;
        let impairment = WORST * loss / (loss + ROBUSTNESS);
        // A listener's buffer holds a packet and twice the jitter.
        let delay = self.round_trip / 2 + FRAME + self.jitter * 2;
        let delay_ms = delay.as_secs_f64() * 1_000.0;
        let late = 0.024 * delay_ms + 0.11 * (delay_ms - NOTICED_MS).max(0.0);
        BEST - late - impairment
    }
}

/// G.107 annex B.
fn opinion(rating: f64) -> f64 {
    let r = rating.clamp(0.0, 100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0)
}

/// R where nothing is impaired.
const BEST: f64 = 93.2;
/// How bad loss can make it, less what the codec does by itself: G.711 does nothing.
const WORST: f64 = 95.0;
/// G.711 with concealment, G.113 table I.4.
const ROBUSTNESS: f64 = 25.1;
/// From this delay on talkers notice.
const NOTICED_MS: f64 = 177.3;
const FRAME: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn mos(lost: u64, jitter_ms: u64, round_trip_ms: u64) -> u16 {
        let heard = Heard {
            received: 1_000 - lost,
            lost,
            jitter: Duration::from_millis(jitter_ms),
            round_trip: Duration::from_millis(round_trip_ms),
        };
        heard.mos_centi().expect("packets")
    }

    #[test]
    fn the_scores_are_those_of_the_model() {
        // R of 92.7, 76.9, 50.6 and 83.2 put into the formula of annex B.
        assert_eq!(mos(0, 0, 0), 440);
        assert_eq!(mos(50, 0, 0), 390);
        assert_eq!(mos(200, 0, 0), 261);
        assert_eq!(mos(0, 0, 400), 414);
    }

    #[test]
    fn more_loss_jitter_and_delay_never_sound_better() {
        let mut worse = Vec::new();
        for step in 0..20 {
            worse.push([mos(step * 40, 0, 0), mos(0, step * 20, 0), mos(0, 0, step * 100)]);
        }
        for pair in worse.windows(2) {
            assert!(
                pair[0].iter().zip(pair[1]).all(|(better, worse)| *better >= worse),
                "{pair:?}"
            );
        }
        assert!(worse.iter().flatten().all(|mos| (100..=441).contains(mos)));
    }

    #[test]
    fn what_was_not_heard_has_no_score() {
        assert_eq!(Heard::default().mos_centi(), None);
    }
}
