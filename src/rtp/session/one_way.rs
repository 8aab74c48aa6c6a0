//! Finds calls in which one side hears the other and is not heard itself.

use std::time::Duration;

use super::{News, Session};
use crate::rtp::plane::{RemoteMedia, Side};
use crate::rtp::time::Moment;

/// What is known about the silence of one side.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    /// The packets it said it had sent.
    said_sent: u32,
    /// When its RTCP last showed that it sends nothing and is there.
    explained_at: Option<Moment>,
    /// When it was last heard before the silence that was told.
    told: Option<Moment>,
    /// It is not looked at again before.
    rests_until: Moment,
}

impl Watch {
    /// RTCP of the peer, with the number of packets it says it has sent, if it sends at all.
    pub(super) fn hear_rtcp(&mut self, now: Moment, said_sent: Option<u32>) {
        // Where that number grows and nothing arrives, it is on the way that packets are lost.
        if said_sent.is_none_or(|said| said == self.said_sent) {
            self.explained_at = Some(now);
        }
        self.said_sent = said_sent.unwrap_or(self.said_sent);
    }
}

impl Session {
    /// When [`Self::find_one_way`] has something to look at.
    pub(super) fn one_way_at(&self) -> Option<Moment> {
        [Side::A, Side::B].into_iter().filter_map(|side| self.unheard_at(side)).min()
    }

    /// When a side will have been silent for so long that it should be looked at. Never while the
    /// sides are parted or one is on hold, nor where it has said that it sends nothing.
    fn unheard_at(&self, side: Side) -> Option<Moment> {
        let since = self.bridged_since?;
        let listen = |leg: &super::Leg| leg.remote.as_ref().is_some_and(RemoteMedia::is_reachable);
        let watch = &self.legs[side.index()].watch;
        let heard_at = self.flows[side.index()].heard_at();
        let sends = self.legs[side.index()].remote.as_ref().is_some_and(|remote| remote.sends);
        if !sends || !self.legs.iter().all(listen) || watch.told == Some(heard_at) {
            return None;
        }
        let explained = watch.explained_at.map(|at| at + EXPLAINED_FOR);
        let silent = heard_at.max(since) + SILENT_FOR;
        Some(explained.map_or(silent, |explained| explained.max(silent)).max(watch.rests_until))
    }

    /// Tells of a side that is not heard while the other one is.
    pub(super) fn find_one_way(&mut self, now: Moment) {
        for side in [Side::A, Side::B] {
            if self.unheard_at(side).is_none_or(|at| now < at) {
                continue;
            }
            let heard_at = self.flows[side.index()].heard_at();
            let other = self.flows[side.other().index()].heard_at();
            let watch = &mut self.legs[side.index()].watch;
            if other > Moment::default() && now.since(other) < HEARD_WITHIN {
                watch.told = Some(heard_at);
                self.tell(News::OneWay { side });
            } else {
                watch.rests_until = now + REST;
            }
        }
    }
}

/// A side that is silent for longer is looked at; with the rest below it makes five seconds.
const SILENT_FOR: Duration = Duration::from_millis(4_500);
/// The other side was heard no longer ago.
const HEARD_WITHIN: Duration = Duration::from_millis(500);
/// How soon a side is looked at again while both are silent.
const REST: Duration = Duration::from_millis(500);
/// How long RTCP explains a silence: two of its intervals.
const EXPLAINED_FOR: Duration = Duration::from_secs(10);
