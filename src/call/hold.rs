//! What a side hears while the other one has put it on hold: a sparse beep made here, in the place
//! of whatever the other side sends.

use super::call::Call;
use super::coupling::Stage;
use super::io::Output;
use super::wires::Wires;
use crate::rtp::plane::{Command, Side};
use crate::rtp::sound::{Sound, Tone};

/// The number of the tone: it differs from that of every speech.
const HOLDING: u32 = 102;

impl Call {
    /// Begins the tone for whom has just been put on hold, and ends it for whom is not any more.
    pub(super) fn tell_of_hold(&mut self, wires: &mut Wires) {
        if self.stage() != Stage::Bridged {
            return;
        }
        for side in [Side::A, Side::B] {
            let Some(talk) = &mut self.talk else { return };
            let waits = talk.waits(side);
            if std::mem::replace(&mut talk.hears_hold[side.index()], waits) == waits {
                continue;
            }
            if waits {
                talk.typed[side.index()].forget();
                self.play_hold(wires, side);
            } else {
                let stop = Command::Stop { session: self.session(), side };
                wires.outputs.push_back(Output::Media(stop));
            }
        }
    }

    /// Something was played to this side and is over. If that was the tone itself, there is no way
    /// to play it.
    pub(super) fn goes_on_holding(&self, wires: &mut Wires, side: Side, play: u32) {
        let waits = self.talk.as_ref().is_some_and(|talk| talk.hears_hold[side.index()]);
        if waits && play != HOLDING {
            self.play_hold(wires, side);
        }
    }

    fn play_hold(&self, wires: &mut Wires, side: Side) {
        let (session, play, sound) = (self.session(), HOLDING, Sound::Tone(Tone::Hold));
        let beep = Command::Play { session, side, play, sound, until_key: false };
        wires.outputs.push_back(Output::Media(beep));
    }
}
