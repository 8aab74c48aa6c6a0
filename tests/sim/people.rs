//! The phones of everybody, and the words in which a story tells what they do.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use maskline::domain::cause::Cause;
use maskline::domain::cdr::Cdr;
use maskline::phone::{CallRecord, Phone, PhoneConfig, Script, Step, Voice};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::cast::{EVERYBODY, RELAY_SIP, Who};
use crate::witness::{Attempt, Witness};

pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// In stories ten frames a second are speech enough.
pub(crate) const SLOW_SPEECH: Duration = ms(100);

/// Somebody's intention to dial.
pub(crate) struct Dial {
    pub(crate) who: Who,
    pub(crate) number: String,
    pub(crate) script: Script,
    pub(crate) at: Duration,
    /// Which of the phone's calls it became.
    pub(crate) index: Option<usize>,
}

/// All phones, and all intentions.
pub(crate) struct People {
    pub(crate) phones: BTreeMap<Who, Phone>,
    pub(crate) dials: Vec<Dial>,
    /// Those whose cable is pulled: what they do is nobody's concern any more.
    pub(crate) cut_off: BTreeSet<Who>,
}

impl People {
    pub(crate) fn new(seed: u64) -> Self {
        let phones = EVERYBODY.into_iter().map(|who| (who, phone_of(who, seed))).collect();
        Self { phones, dials: Vec::new(), cut_off: BTreeSet::new() }
    }

    /// The phones that time matters to.
    pub(crate) fn awake(&self) -> impl Iterator<Item = (&Who, &Phone)> {
        self.phones.iter().filter(|(who, _)| !self.cut_off.contains(who))
    }
}

/// A careless phone: it writes its number and its address wherever a header or a line has room.
fn phone_of(who: Who, seed: u64) -> Phone {
    let [number, ip] = who.secrets();
    let media = SocketAddr::new(who.ip(), 4_000);
    let config = PhoneConfig {
        calls_max: 512,
        answering: answering(),
        extra_headers: careless_headers(&number, &ip),
        extra_sdp: format!("a=owner:{number}\r\na=candidate:1 1 UDP 1 {ip} 9 typ host\r\n").into(),
        phrase: Some(format!("phone of {number} at {ip}").into()),
        ..PhoneConfig::new(who.user, who.sip(), media, RELAY_SIP)
    };
    Phone::new(config, ChaCha20Rng::seed_from_u64(seed ^ (u64::from(who.host) << 32)))
}

fn careless_headers(number: &str, ip: &str) -> Vec<(Box<str>, Box<str>)> {
    let user_at_ip = format!("<sip:{number}@{ip}>");
    [
        ("P-Preferred-Identity", user_at_ip.clone()),
        ("Remote-Party-ID", user_at_ip.clone()),
        ("Diversion", user_at_ip.clone()),
        ("History-Info", user_at_ip.clone()),
        ("Referred-By", user_at_ip),
        ("Call-Info", format!("<http://{ip}/{number}>")),
        ("Subject", number.to_owned()),
        ("Organization", number.to_owned()),
        ("User-Agent", format!("phone of {number}")),
        ("Server", format!("phone of {number}")),
        ("Warning", format!("399 {ip} \"{number}\"")),
        ("X-Owner", number.to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.into(), value.into()))
    .collect()
}

/// What a phone does when nobody said otherwise: it rings, is answered, and speaks.
pub(crate) fn answering() -> Script {
    answering_after(secs(1))
}

pub(crate) fn answering_after(rings: Duration) -> Script {
    Script::new().after(ms(80)).ring().after(rings).answer().once_answered().then(SPEAK)
}

/// Speaks slowly, with the phone's own signature.
pub(crate) const SPEAK: Step = Step::Speak { voice: Voice::Signature, every: SLOW_SPEECH };

/// One person's phone.
pub(crate) struct PhoneHandle {
    pub(crate) people: Rc<RefCell<People>>,
    pub(crate) witness: Rc<RefCell<Witness>>,
    pub(crate) who: Who,
}

impl PhoneHandle {
    /// Dials, and does nothing more unless told.
    pub(crate) fn dial(&self, number: &str) -> CallHandle {
        let mut people = self.people.borrow_mut();
        people.dials.push(Dial {
            who: self.who,
            number: number.to_owned(),
            script: Script::new(),
            at: Duration::ZERO,
            index: None,
        });
        CallHandle {
            people: Rc::clone(&self.people),
            witness: Rc::clone(&self.witness),
            dial: people.dials.len() - 1,
        }
    }

    /// What it does with every call that comes in from now on.
    pub(crate) fn when_called(&self, script: Script) {
        self.people.borrow_mut().phones.get_mut(&self.who).expect("everybody").answer_with(script);
    }

    /// What it does with one of the next calls that come in, in order.
    pub(crate) fn when_called_next(&self, script: Script) {
        let mut people = self.people.borrow_mut();
        people.phones.get_mut(&self.who).expect("everybody").answer_next_with(script);
    }

    /// All calls of this phone, oldest first.
    pub(crate) fn calls(&self) -> Vec<CallRecord> {
        self.people.borrow().phones[&self.who].calls().cloned().collect()
    }

    /// How many datagrams that begin with `begins` it has received.
    pub(crate) fn heard(&self, begins: &str) -> usize {
        let people = self.people.borrow();
        let log = people.phones[&self.who].log();
        log.received().filter(|entry| entry.bytes.starts_with(begins.as_bytes())).count()
    }
}

/// One dialled call.
pub(crate) struct CallHandle {
    people: Rc<RefCell<People>>,
    witness: Rc<RefCell<Witness>>,
    dial: usize,
}

impl CallHandle {
    fn with(self, change: impl FnOnce(&mut Dial)) -> Self {
        change(&mut self.people.borrow_mut().dials[self.dial]);
        self
    }

    /// Dials not now but later.
    pub(crate) fn at(self, later: Duration) -> Self {
        self.with(|dial| dial.at = later)
    }

    pub(crate) fn then(self, step: Step) -> Self {
        self.with(|dial| dial.script.push(step))
    }

    pub(crate) fn after(self, wait: Duration) -> Self {
        self.then(Step::Wait(wait))
    }

    /// Gives up if it is not answered by then; hangs up if it is.
    pub(crate) fn cancel_after(self, wait: Duration) -> Self {
        self.after(wait).then(Step::HangUp)
    }

    /// Speaks once answered, for as long as the other side stays.
    pub(crate) fn talk(self) -> Self {
        self.then(Step::AwaitAnswer).then(SPEAK)
    }

    /// Speaks once answered, then hangs up.
    pub(crate) fn talk_for(self, time: Duration) -> Self {
        self.talk().after(time).then(Step::HangUp)
    }

    /// The caller's own view.
    pub(crate) fn record(&self) -> CallRecord {
        let people = self.people.borrow();
        let dial = &people.dials[self.dial];
        let index = dial.index.expect("the story has not dialled yet");
        people.phones[&dial.who].call(index).expect("dialled calls stay on record").clone()
    }

    fn attempt<T>(&self, look: impl FnOnce(&Attempt) -> T) -> Option<T> {
        let key = self.record().sip_call_id.to_string();
        self.witness.borrow().attempts.get(&key).map(look)
    }

    /// Its records: one, if all is well.
    pub(crate) fn cdrs(&self) -> Vec<Cdr> {
        self.attempt(|attempt| attempt.cdrs.clone()).unwrap_or_default()
    }

    /// The one record.
    pub(crate) fn cdr(&self) -> Cdr {
        let cdrs = self.cdrs();
        let [cdr] = cdrs.as_slice() else { panic!("{} records for one attempt", cdrs.len()) };
        cdr.clone()
    }

    pub(crate) fn cause(&self) -> Cause {
        self.cdr().cause
    }

    /// The final status as the relay sent it.
    pub(crate) fn status_sent(&self) -> Option<u16> {
        self.attempt(|attempt| attempt.final_status.map(|(_, status)| status)).flatten()
    }
}
