//! The built-in phones on real sockets, behind wires that may lose, repeat, delay and reorder what
//! they carry: no help of the system is needed for a bad network.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use maskline::domain::now::Now;
use maskline::phone::{CallState, Phone, PhoneConfig, PhoneInput, PhoneOutput};
use rand_chacha::{ChaCha8Rng, ChaCha20Rng};
use rand_core::{Rng, SeedableRng};

/// How good a wire is, each way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality {
    /// Of a thousand datagrams, so many never arrive.
    pub(crate) lost_permille: u32,
    /// So many arrive twice.
    pub(crate) repeated_permille: u32,
    /// Each takes anything up to this, so that later ones overtake earlier ones.
    pub(crate) delay_max: Duration,
}

impl Quality {
    pub(crate) const GOOD: Self =
        Self { lost_permille: 0, repeated_permille: 0, delay_max: Duration::ZERO };
    /// S25.
    pub(crate) const AWFUL: Self =
        Self { lost_permille: 300, repeated_permille: 200, delay_max: Duration::from_millis(200) };
}

/// Where a datagram is going.
enum Parcel {
    ToPhone { from: SocketAddr },
    ToRelay { to: SocketAddr },
}

/// The first media port that phones name; nobody listens there.
const MEDIA_PORT: u16 = 10_000;
/// How often somebody looks whether they are done.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The longest sleep.
const WAIT_MAX: Duration = Duration::from_millis(5);

/// Two phones: the one at the PBX dials, the other is called.
pub(crate) struct Wires {
    phones: [(Phone, UdpSocket); 2],
    rng: ChaCha8Rng,
    quality: Quality,
    /// On its way, by time of arrival.
    parcels: BTreeMap<(Instant, u64), (usize, Parcel, Bytes)>,
    carried: u64,
}

pub(crate) const AGENT: usize = 0;
pub(crate) const SUBSCRIBER: usize = 1;

#[expect(clippy::disallowed_methods, reason = "the phones live in real time")]
pub(crate) fn now() -> Now {
    Now { monotonic: Instant::now(), wall: std::time::SystemTime::now() }
}

impl Wires {
    /// Phones where the PBX and the carrier are, for so many calls.
    pub(crate) fn new(
        [agent, subscriber]: [SocketAddr; 2],
        relay: SocketAddr,
        calls: usize,
        quality: Quality,
    ) -> Self {
        let mut nth = 0;
        let phones = [("4821", agent), ("+8613800001234", subscriber)].map(|(user, at)| {
            nth += 1;
            let socket = UdpSocket::bind(at).expect("a port that was free");
            socket.set_nonblocking(true).expect("a socket option");
            let media = SocketAddr::new(at.ip(), MEDIA_PORT);
            let mut config = PhoneConfig::new(user, at, media, relay);
            config.calls_max = calls;
            (Phone::new(config, ChaCha20Rng::from_seed([nth; 32])), socket)
        });
        let rng = ChaCha8Rng::seed_from_u64(25);
        Self { phones, rng, quality, parcels: BTreeMap::new(), carried: 0 }
    }

    pub(crate) fn phone(&mut self, place: usize) -> &mut Phone {
        &mut self.phones[place].0
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.rng.next_u32() % end
    }

    fn carry(&mut self, place: usize, parcel: impl Fn() -> Parcel, bytes: &Bytes) {
        if self.below(1_000) < self.quality.lost_permille {
            return;
        }
        let copies = 1 + u32::from(self.below(1_000) < self.quality.repeated_permille);
        for _ in 0..copies {
            let span = u32::try_from(self.quality.delay_max.as_micros()).expect("short") + 1;
            let at = now().monotonic + Duration::from_micros(self.below(span).into());
            self.carried += 1;
            self.parcels.insert((at, self.carried), (place, parcel(), bytes.clone()));
        }
    }

    /// All that can be done now.
    fn turn(&mut self) {
        let mut buffer = [0; 65_535];
        for place in [AGENT, SUBSCRIBER] {
            while let Ok((length, from)) = self.phones[place].1.recv_from(&mut buffer) {
                let bytes = Bytes::copy_from_slice(&buffer[..length]);
                self.carry(place, || Parcel::ToPhone { from }, &bytes);
            }
            let sip = self.phones[place].1.local_addr().expect("bound");
            while let Some(PhoneOutput::Transmit { from, to, bytes }) =
                self.phones[place].0.poll_output()
            {
                if from == sip {
                    self.carry(place, || Parcel::ToRelay { to }, &bytes);
                }
            }
        }
        let moment = now();
        while let Some(entry) = self.parcels.first_entry()
            && entry.key().0 <= moment.monotonic
        {
            let (place, parcel, bytes) = entry.remove();
            let (phone, socket) = &mut self.phones[place];
            match parcel {
                Parcel::ToPhone { from } => {
                    let to = socket.local_addr().expect("bound");
                    phone.handle_input(moment, PhoneInput::Datagram { from, to, bytes });
                }
                // Lost, as on a network.
                Parcel::ToRelay { to } => drop(socket.send_to(&bytes, to)),
            }
        }
        for (phone, _) in &mut self.phones {
            if phone.poll_timeout().is_some_and(|at| at <= moment.monotonic) {
                phone.handle_input(moment, PhoneInput::Timeout);
            }
        }
    }

    /// Lets the phones act until `done`, at most for so long.
    pub(crate) fn run(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = now().monotonic + limit;
        while !done(self) {
            let look = now().monotonic;
            assert!(look < end, "the phones are not done in time");
            while now().monotonic < look + LOOK_EVERY.min(limit / 4) {
                self.turn();
                std::thread::park_timeout(WAIT_MAX);
            }
        }
    }

    /// The same for a time.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = now().monotonic + time;
        while now().monotonic < end {
            self.turn();
            std::thread::park_timeout(WAIT_MAX);
        }
    }

    /// Whether each call of both phones is over as far as they know.
    pub(crate) fn are_quiet(&mut self) -> bool {
        let is_over = |state: CallState| matches!(state, CallState::Over(_));
        self.phones.iter().all(|(phone, _)| phone.calls().all(|call| is_over(call.state)))
    }
}
