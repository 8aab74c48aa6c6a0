//! Lets a subscriber who has called X use the menu: answers it, tells the menu what happens, and
//! carries out what it wants.

use std::time::{Duration, Instant};

use super::call::Call;
use super::coupling::{Event, Stage};
use super::io::{CallStatus, Output};
use super::menu::{Act, Codes, Heard, Menu, Patience, Text};
use super::refusal::codec_of;
use super::set_up::Offer;
use super::speech;
use super::talk::Talk;
use super::timers::Timer;
use super::wires::Wires;
use crate::domain::cause::Cause;
use crate::domain::id::{BindingId, SubscriberId, TenantId};
use crate::domain::menu::{MenuAnswer, MenuQuestion, MenuRequest};
use crate::domain::now::Now;
use crate::domain::route::{CallerParty, Hearer, Route};
use crate::domain::trunk_media::KeyWay;
use crate::rtp::plane::{Command, KeyMode, Side};
use crate::rtp::sound::Sound;
use crate::sdp::{Codec, Ours};

/// No menu is used for longer.
pub(super) const MENU_TIME_MAX: Duration = Duration::from_secs(600);
/// The store has its own deadline; one that is gone altogether is not waited for.
const ANSWER_GRACE: Duration = Duration::from_secs(1);
/// Opens the menu while the desk rings.
const STAR: char = '*';

/// For whom there is a menu in this call.
#[derive(Debug)]
pub(super) struct SelfService {
    pub(super) tenant: TenantId,
    binding: BindingId,
    subscriber: SubscriberId,
    pub(super) hearer: Hearer,
    /// From the answer on.
    menu: Option<Menu>,
    /// How long the end of what is being said is waited for.
    says_for: Duration,
}

impl SelfService {
    /// The subscriber itself calls, and can be spoken to.
    pub(super) fn of(wires: &Wires, route: &Route, offer: &Offer) -> Option<Box<Self>> {
        let is_subscriber = matches!(route.caller, CallerParty::Subscriber);
        let can_hear = matches!(offer, Offer::Made(offer) if codec_of(offer).is_some());
        let has_menu = wires.config.menu.is_enabled && is_subscriber && can_hear;
        has_menu.then(|| {
            Box::new(Self {
                tenant: route.tenant,
                binding: route.binding,
                subscriber: route.subscriber,
                hearer: route.hearer,
                menu: None,
                says_for: Duration::ZERO,
            })
        })
    }
}

impl Call {
    /// The caller is answered for the menu. `why` is the cause for which the desk was not reached;
    /// without one the caller has asked for the menu.
    pub(super) fn open_menu(
        &mut self,
        wires: &mut Wires,
        now: Now,
        why: Option<Cause>,
    ) -> Option<Event> {
        let is_open = self.answer_for_menu(wires, now, why).is_some();
        if is_open {
            self.begin_menu(wires, now, why.is_some());
            return None;
        }
        // Only a call that can be answered gets this far.
        wires.counters.invariants_broken += 1;
        self.leg_a.refuse(wires, now.monotonic, Cause::Internal);
        Some(Event::Stopped(Cause::Internal))
    }

    fn answer_for_menu(&mut self, wires: &mut Wires, now: Now, why: Option<Cause>) -> Option<()> {
        let (session, trunk) = (self.session(), self.trunk_media(wires, Side::A));
        let fresh = self.ours_of_caller(wires)?;
        let set_up = self.set_up.take()?;
        let nobody = Ours::new(set_up.local?[Side::B.index()], 0);
        let Offer::Made(offer) = set_up.offer else { return None };
        let (ours, theirs) = match set_up.early {
            Some(early) => (early.ours, early.theirs.unwrap_or(offer)),
            None => (fresh, offer),
        };
        let codec = codec_of(&theirs)?;
        let has_events = theirs.codecs().contains(Codec::TelephoneEvent);
        let codecs =
            [codec].into_iter().chain(has_events.then_some(Codec::TelephoneEvent)).collect();
        let (mut talk, answer) = Talk::begin_alone([ours, nobody], theirs, codecs);
        talk.trunks = [trunk.clone(), trunk.clone()];
        let (remote, keys) = talk.media(Side::A)?;
        self.talk = Some(Box::new(talk));
        let agreed = set_up.sessions[Side::A.index()];
        let terms = agreed.map(|agreed| agreed.terms);
        self.leg_a.answer(wires, now.monotonic, &answer, terms);
        self.start_clocks(wires, now.monotonic, [agreed, None]);
        let inband = !has_events || trunk.keys == KeyWay::Inband;
        let mode = KeyMode { report: true, pass: false, inband };
        wires.outputs.extend([
            Output::Media(Command::Update { session, side: Side::A, remote, keys }),
            Output::Media(Command::Keys { session, side: Side::A, mode }),
        ]);
        self.duration_max = MENU_TIME_MAX;
        wires.counters.answered += 1;
        self.note(wires, CallStatus::Answered, |record| {
            record.answered(now);
            record.used_menu(why);
        });
        Some(())
    }

    fn begin_menu(&mut self, wires: &mut Wires, now: Now, is_offered: bool) {
        let codes = if wires.config.whisper.speaks_code { Codes::Spoken } else { Codes::Unspoken };
        let mut acts = Vec::with_capacity(ACTS_USUAL);
        let menu = Menu::begin(codes, is_offered, &mut acts);
        if let Some(service) = &mut self.self_service {
            service.menu = Some(menu);
        }
        self.act_for_menu(wires, now, acts);
    }

    /// A key of the caller, in whatever way it came. True when it was meant for the menu.
    pub(super) fn menu_takes_key(&mut self, wires: &mut Wires, now: Now, key: char) -> bool {
        match self.stage() {
            Stage::Menu => self.menu_hears(wires, now, Heard::Key(key)),
            Stage::Calling { .. } if self.self_service.is_some() && key == STAR => {
                self.happen(wires, now, Event::MenuAsked);
            }
            Stage::Calling { .. }
            | Stage::Routing
            | Stage::Refusing(_)
            | Stage::Opening
            | Stage::Announcing
            | Stage::Bridged
            | Stage::Over => return false,
        }
        true
    }

    /// The store has answered a question of the menu.
    pub(super) fn menu_answered(
        &mut self,
        wires: &mut Wires,
        now: Now,
        number: u32,
        answer: MenuAnswer,
    ) {
        self.menu_hears(wires, now, Heard::Answer(number, answer));
    }

    /// Lets something happen to the menu, if one is open.
    pub(super) fn menu_hears(&mut self, wires: &mut Wires, now: Now, heard: Heard) {
        if self.stage() != Stage::Menu {
            return;
        }
        let menu = self.self_service.as_mut().and_then(|service| service.menu.as_mut());
        let Some(menu) = menu else { return };
        let mut acts = Vec::with_capacity(ACTS_USUAL);
        menu.handle(heard, &mut acts);
        self.act_for_menu(wires, now, acts);
    }

    fn act_for_menu(&mut self, wires: &mut Wires, now: Now, acts: Vec<Act>) {
        let session = self.session();
        for act in acts {
            match act {
                Act::Say(play, text) => self.say_to_caller(wires, play, &text),
                Act::Hush => {
                    let stop = Command::Stop { session, side: Side::A };
                    wires.outputs.push_back(Output::Media(stop));
                }
                Act::Wait(patience) => self.wait_for_caller(wires, now.monotonic, patience),
                Act::Ask(number, request) => self.ask_store(wires, number, request),
                Act::Close => self.happen(wires, now, Event::MenuOver),
            }
        }
    }

    fn wait_for_caller(&self, wires: &mut Wires, at: Instant, patience: Patience) {
        let wait = match patience {
            Patience::Saying => {
                self.self_service.as_ref().map_or(Duration::ZERO, |service| service.says_for)
            }
            Patience::Key => wires.config.menu.timeout,
            Patience::Store => wires.config.route_deadline + ANSWER_GRACE,
        };
        wires.timers.arm(at, self.serial, Timer::Speech, at + wait);
    }

    fn say_to_caller(&mut self, wires: &mut Wires, play: u32, text: &Text) {
        let Some(service) = &mut self.self_service else { return };
        let text = speech::menu(wires, service, text);
        service.says_for = speech::waited_for(wires, &text);
        let sound = Sound::Prompt(text);
        let (session, side) = (self.session(), Side::A);
        let say = Command::Play { session, side, play, sound, until_key: false };
        wires.outputs.push_back(Output::Media(say));
    }

    fn ask_store(&self, wires: &mut Wires, number: u32, request: MenuRequest) {
        let Some(service) = &self.self_service else { return };
        let SelfService { tenant, binding, subscriber, .. } = **service;
        let call = self.id;
        let question = MenuQuestion { call, number, tenant, binding, subscriber, request };
        wires.outputs.push_back(Output::AskMenu(question));
    }
}

const ACTS_USUAL: usize = 4;
