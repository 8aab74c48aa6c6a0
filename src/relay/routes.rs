//! Hop 3: a route from memory at once, else one lookup in the store under a deadline. Whatever
//! has changed since a lookup began makes its answer unusable.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::Histogram;
use tokio::sync::Semaphore;

use super::caps::Caps;
use super::freshness::{Mark, Subject};
use super::handle::Shared;
use super::mailbox::Mailbox;
use super::memory::{Known, Memory, Question};
use super::now::now;
use super::stream::TakesInputs as _;
use crate::call::io::{Input, LoginAnswer};
use crate::domain::id::CallId;
use crate::domain::menu::{MenuAnswer, MenuQuestion, MenuRequest};
use crate::domain::route::{RouteAnswer, RouteQuery};

/// Routes kept in memory.
pub(crate) const ROUTES_MAX: usize = 100_000;
/// Lookups of logins that ask the store at one time; routes shall find a connection to it too.
const LOGINS_MAX: usize = 8;
/// The same for questions of menus.
const MENUS_MAX: usize = 4;

/// Where routes come from when memory has none.
pub trait RouteSource: Send + Sync + 'static {
    /// A route as it is kept in memory: with its numbers sealed.
    type Sealed: Send + Sync + 'static;

    /// Looks a route up for an attempt.
    fn find(
        &self,
        call: CallId,
        round: Round,
        query: Arc<RouteQuery>,
    ) -> impl Future<Output = Lookup<Self::Sealed>> + Send;

    /// Looks the login of a softphone up.
    fn find_login(&self, user: Box<str>) -> impl Future<Output = LoginAnswer> + Send;

    /// Answers what a subscriber asks for by keys. What is to be done is durable then.
    fn answer_menu(&self, question: MenuQuestion) -> impl Future<Output = MenuAnswer> + Send;

    /// Makes the answer to one attempt: recognises the caller and opens the callee's number.
    fn open(&self, sealed: &Self::Sealed, query: &RouteQuery) -> RouteAnswer;
}

/// How often an attempt has asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Round {
    /// Never before.
    First,
    /// Its answer could not be used: what that attempt has used up already is its own.
    Again,
}

/// What the store says.
#[derive(Debug)]
pub enum Lookup<S> {
    /// There is a binding.
    Found(Known<S>),
    /// There is one for this caller alone: not to be remembered.
    FoundForCaller(Known<S>),
    /// There is none.
    Missing(RouteAnswer),
    /// The store did not answer.
    Failed,
}

/// The answer of a lookup on its way back to the shard.
pub(crate) struct Found<S> {
    call: CallId,
    mark: Mark,
    lookup: Lookup<S>,
}

impl<S> std::fmt::Debug for Found<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Found({})", self.call)
    }
}

/// An attempt whose route is being looked up.
struct Waiting {
    query: Arc<RouteQuery>,
    until: Instant,
}

/// What all shards know together: a store that goes away is missed by none of them.
pub(crate) type SharedMemory<S> = Arc<Mutex<Memory<S>>>;

/// Nothing known yet.
pub(crate) fn no_memory<S>() -> SharedMemory<S> {
    Arc::new(Mutex::new(Memory::new(ROUTES_MAX)))
}

/// The routes of one shard. Lives in the shard's thread; only lookups leave it.
pub(crate) struct Routes<R: RouteSource> {
    source: Arc<R>,
    runtime: tokio::runtime::Handle,
    mailbox: Arc<Mailbox<Found<R::Sealed>>>,
    shared: Arc<Shared>,
    memory: SharedMemory<R::Sealed>,
    caps: Caps,
    waiting: BTreeMap<CallId, Waiting>,
    waiting_max: usize,
    deadline: Duration,
    login_turns: Arc<Semaphore>,
    menu_turns: Arc<Semaphore>,
    from_memory: Histogram,
}

impl<R: RouteSource> Routes<R> {
    /// `limits.0` lookups at one time, each for at most `limits.1`.
    pub(crate) fn new(
        source: Arc<R>,
        runtime: tokio::runtime::Handle,
        mailbox: Arc<Mailbox<Found<R::Sealed>>>,
        shared: Arc<Shared>,
        memory: SharedMemory<R::Sealed>,
        caps: Caps,
        limits: (usize, Duration),
    ) -> Self {
        Self {
            source,
            runtime,
            mailbox,
            shared,
            memory,
            caps,
            waiting: BTreeMap::new(),
            waiting_max: limits.0,
            deadline: limits.1,
            login_turns: Arc::new(Semaphore::new(LOGINS_MAX)),
            menu_turns: Arc::new(Semaphore::new(MENUS_MAX)),
            from_memory: metrics::histogram!("maskline_route_lookup_seconds", "source" => "memory"),
        }
    }

    /// The answer from memory, or that there is no room to wait; `None` when it comes later.
    pub(crate) fn ask(
        &mut self,
        at: Instant,
        call: CallId,
        query: RouteQuery,
    ) -> Option<RouteAnswer> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sealed) = memory.find(&query, at, &self.shared.freshness) {
            let answer = self.source.open(sealed, &query);
            drop(memory);
            self.from_memory.record(now().monotonic.saturating_duration_since(at));
            return Some(self.caps.put_into(answer));
        }
        drop(memory);
        if self.waiting.len() >= self.waiting_max {
            return Some(RouteAnswer::Failed);
        }
        let until = at + self.deadline;
        let query = Arc::new(query);
        self.look_up(call, Round::First, Arc::clone(&query), until);
        self.waiting.insert(call, Waiting { query, until });
        None
    }

    /// Takes the answer of a lookup. `None` when it came too late to be used and was asked again.
    pub(crate) fn take(
        &mut self,
        at: Instant,
        found: Found<R::Sealed>,
    ) -> Option<(CallId, RouteAnswer)> {
        let Found { call, mark, lookup } = found;
        let Waiting { query, until } = self.waiting.remove(&call)?;
        let question = Question::of(&query);
        if !self.may_be_used(&question, mark, &lookup) {
            if at >= until {
                return Some((call, RouteAnswer::Failed));
            }
            self.look_up(call, Round::Again, Arc::clone(&query), until);
            self.waiting.insert(call, Waiting { query, until });
            return None;
        }
        let answer = match lookup {
            Lookup::Found(known) => {
                let answer = self.source.open(&known.sealed, &query);
                let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                memory.learn(question, known, mark, at);
                answer
            }
            Lookup::FoundForCaller(known) => self.source.open(&known.sealed, &query),
            Lookup::Missing(answer) => answer,
            Lookup::Failed => RouteAnswer::Failed,
        };
        Some((call, self.caps.put_into(answer)))
    }

    /// Looks the login of a softphone up; the answer comes by the mailbox. The brain bounds how
    /// many wait, and [`LOGINS_MAX`] how many ask the store at one time.
    pub(crate) fn find_login(&self, request: u64, user: Box<str>) {
        let (source, mailbox) = (Arc::clone(&self.source), Arc::clone(&self.mailbox));
        let (deadline, turns) = (self.deadline, Arc::clone(&self.login_turns));
        let tell = move |answer| mailbox.bring(Input::Login { request, answer });
        let mut owed = Owed::new(LoginAnswer::Failed, tell);
        self.runtime.spawn(async move {
            let find = async {
                // It is never closed.
                let _turn = turns.acquire().await;
                source.find_login(user).await
            };
            if let Ok(answer) = tokio::time::timeout(deadline, find).await {
                owed.becomes(answer);
            }
        });
    }

    /// Asks the store for a subscriber; the answer comes by the mailbox. Whoever has called last is
    /// known when the records that wait here are written; until then the store would name another.
    /// What it has changed is looked up anew here before anybody is told that it is so.
    pub(crate) fn ask_menu(&self, question: MenuQuestion) {
        let (source, mailbox) = (Arc::clone(&self.source), Arc::clone(&self.mailbox));
        let (deadline, turns) = (self.deadline, Arc::clone(&self.menu_turns));
        let (call, number, binding) = (question.call, question.number, question.binding);
        let tell = move |answer| mailbox.bring(Input::Menu { call, number, answer });
        let mut owed = Owed::new(MenuAnswer::Failed, tell);
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            let answer = async {
                if needs_records(question.request) {
                    shared.backlog.settle().await;
                }
                // It is never closed.
                let _turn = turns.acquire().await;
                source.answer_menu(question).await
            };
            if let Ok(answer) = tokio::time::timeout(deadline, answer).await {
                shared.freshness.forget(Subject::Binding(binding));
                owed.becomes(answer);
            }
        });
    }

    /// Nothing that the answer says has changed since it was asked for.
    fn may_be_used(&self, question: &Question, mark: Mark, lookup: &Lookup<R::Sealed>) -> bool {
        let number = Subject::Number(question.dialled());
        let freshness = &self.shared.freshness;
        match lookup {
            Lookup::Found(known) | Lookup::FoundForCaller(known) => freshness.is_unchanged(
                mark,
                &[number, Subject::Binding(known.binding), Subject::Tenant(known.tenant)],
            ),
            Lookup::Missing(_) => freshness.is_unchanged(mark, &[number]),
            Lookup::Failed => true,
        }
    }

    fn look_up(&self, call: CallId, round: Round, query: Arc<RouteQuery>, until: Instant) {
        // Taken before the question is asked: a change after this line spoils the answer.
        let mark = self.shared.freshness.mark();
        let (source, mailbox) = (Arc::clone(&self.source), Arc::clone(&self.mailbox));
        let tell = move |lookup| mailbox.answer(Found { call, mark, lookup });
        let mut owed = Owed::new(Lookup::Failed, tell);
        self.runtime.spawn(async move {
            let asked_at = now().monotonic;
            let lookup =
                tokio::time::timeout_at(until.into(), source.find(call, round, query)).await;
            metrics::histogram!("maskline_route_lookup_seconds", "source" => "store")
                .record(now().monotonic.saturating_duration_since(asked_at));
            if let Ok(lookup) = lookup {
                owed.becomes(lookup);
            }
        });
    }
}

/// Its answer depends on the last calls.
const fn needs_records(request: MenuRequest) -> bool {
    match request {
        MenuRequest::Check(_)
        | MenuRequest::Callers
        | MenuRequest::BlockLast
        | MenuRequest::ReportLast => true,
        MenuRequest::Pause => false,
    }
}

/// The answer that whoever waits for a lookup is told in any case: without one, and be it since the
/// lookup has panicked, a place would stay taken for ever.
struct Owed<T, F: FnOnce(T)> {
    answer: Option<T>,
    tell: Option<F>,
}

impl<T, F: FnOnce(T)> Owed<T, F> {
    /// `answer` it is, as long as there is no better one.
    const fn new(answer: T, tell: F) -> Self {
        Self { answer: Some(answer), tell: Some(tell) }
    }

    /// The lookup has come to this.
    fn becomes(&mut self, answer: T) {
        self.answer = Some(answer);
    }
}

impl<T, F: FnOnce(T)> Drop for Owed<T, F> {
    fn drop(&mut self) {
        if let (Some(answer), Some(tell)) = (self.answer.take(), self.tell.take()) {
            tell(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cap::CapLimits;
    use crate::domain::cause::Cause;
    use crate::domain::id::{BindingId, SubscriberId, TenantId, TrunkId};
    use crate::domain::menu::CallCode;
    use crate::domain::number::VirtualNumber;
    use crate::domain::purpose::Stated;
    use crate::policy::caps::Ledger;
    use crate::relay::handle::{Handle, Talking};
    use crate::relay::mailbox::Inbox;
    use std::sync::atomic::{AtomicU16, Ordering};

    /// Finds the same binding each time, and tells by the tenant's cause how often it was asked.
    struct Source {
        asked: AtomicU16,
        /// Lookups of logins that were begun; none of them ends.
        logins: AtomicU16,
        answers: bool,
    }

    impl RouteSource for Source {
        type Sealed = u16;

        async fn find(&self, _call: CallId, _round: Round, _query: Arc<RouteQuery>) -> Lookup<u16> {
            let sealed = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            if !self.answers {
                std::future::pending::<()>().await;
            }
            Lookup::Found(Known { tenant: TenantId::new(1, 1), binding: binding(), sealed })
        }

        async fn find_login(&self, user: Box<str>) -> LoginAnswer {
            assert_ne!(&*user, BROKEN, "as the test wants it");
            self.logins.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        }

        async fn answer_menu(&self, _question: MenuQuestion) -> MenuAnswer {
            MenuAnswer::Done
        }

        fn open(&self, sealed: &u16, _query: &RouteQuery) -> RouteAnswer {
            // Any answer that carries the count to the assertion.
            let tenant = TenantId::new(u64::from(*sealed), 0);
            RouteAnswer::Missing { cause: Cause::NumberUnknown, tenant: Some(tenant) }
        }
    }

    /// A user whose lookup panics.
    const BROKEN: &str = "broken";
    /// Longer than any test takes.
    const WITHIN: Duration = Duration::from_secs(60);

    fn binding() -> BindingId {
        BindingId::new(1, 1)
    }

    fn query() -> RouteQuery {
        RouteQuery::FromInsurer {
            trunk: TrunkId::new(1, 1),
            tenant: TenantId::new(1, 1),
            dialled: VirtualNumber::parse("17000001234").expect("a valid number"),
            caller: "8001".into(),
            stated: Stated::default(),
        }
    }

    struct Bench {
        runtime: tokio::runtime::Runtime,
        routes: Routes<Source>,
        relay: Handle,
    }

    impl Bench {
        fn new(answers: bool, waiting_max: usize) -> Self {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime");
            let relay = Handle::detached();
            let routes = Routes::new(
                Arc::new(Source { asked: AtomicU16::new(0), logins: AtomicU16::new(0), answers }),
                runtime.handle().clone(),
                Arc::new(Mailbox::new().expect("a descriptor")),
                Arc::clone(relay.shared()),
                no_memory(),
                Caps::new(Ledger::new(CapLimits::default())),
                (waiting_max, if answers { WITHIN } else { Duration::ZERO }),
            );
            Self { runtime, routes, relay }
        }

        fn ask(&mut self, n: u64) -> Option<u64> {
            self.routes.ask(now().monotonic, CallId::new(n, 0), query()).map(|a| times(&a))
        }

        /// Lets the lookup finish, but does not look at its answer.
        fn next_found(&mut self) -> Found<u16> {
            let mailbox = Arc::clone(&self.routes.mailbox);
            self.runtime.block_on(async move {
                let mut inbox = Inbox::default();
                loop {
                    mailbox.take(&mut inbox);
                    match inbox.found.pop() {
                        Some(found) => return found,
                        None => tokio::task::yield_now().await,
                    }
                }
            })
        }

        fn take(&mut self, found: Found<u16>) -> Option<u64> {
            self.routes.take(now().monotonic, found).map(|(_, answer)| times(&answer))
        }
    }

    /// How often the source had been asked when it gave this answer; 0 for a failure.
    fn times(answer: &RouteAnswer) -> u64 {
        match answer {
            RouteAnswer::Missing { tenant: Some(tenant), .. } => {
                u64::try_from(tenant.as_u128() >> 80).expect("48 bits")
            }
            RouteAnswer::Missing { tenant: None, .. }
            | RouteAnswer::Found(_)
            | RouteAnswer::Failed => 0,
        }
    }

    #[test]
    fn a_route_is_looked_up_once_and_then_known() {
        let mut bench = Bench::new(true, 10);
        assert_eq!(bench.ask(1), None);
        let found = bench.next_found();
        assert_eq!(bench.take(found), Some(1));
        assert_eq!(bench.ask(2), Some(1));
    }

    #[test]
    fn a_lookup_overtaken_by_an_unbind_is_neither_used_nor_remembered() {
        let mut bench = Bench::new(true, 10);
        assert_eq!(bench.ask(1), None);
        let found = bench.next_found();
        let ended = bench.relay.binding_ended(binding(), Cause::BindingExpired, Talking::GoesOn);
        assert_eq!(ended, Ok(()));
        assert_eq!(bench.take(found), None, "asked again");
        let found = bench.next_found();
        assert_eq!(bench.take(found), Some(2));
        bench.relay.forget_routes(&VirtualNumber::parse("17000001234").expect("valid"));
        assert_eq!(bench.ask(2), None, "what was known is not used either");
    }

    #[test]
    fn a_store_that_does_not_answer_fails_the_attempt_at_the_deadline() {
        let mut bench = Bench::new(false, 10);
        assert_eq!(bench.ask(1), None);
        let found = bench.next_found();
        assert_eq!(bench.take(found), Some(0));
    }

    /// Who was answered by now, and how.
    fn answered(bench: &Bench) -> Vec<(u32, MenuAnswer)> {
        bench.runtime.block_on(async {
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
        });
        let mut inbox = Inbox::default();
        bench.routes.mailbox.take(&mut inbox);
        let answers = inbox.streams.into_iter().map(|input| {
            let Input::Menu { number, answer, .. } = input else { panic!("{input:?}") };
            (number, answer)
        });
        answers.collect()
    }

    fn ask_menu(bench: &Bench, number: u32, request: MenuRequest) {
        bench.routes.ask_menu(MenuQuestion {
            call: CallId::new(1, 0),
            number,
            tenant: TenantId::new(1, 1),
            binding: binding(),
            subscriber: SubscriberId::new(1, 1),
            request,
        });
    }

    #[test]
    fn nobody_is_blocked_as_the_last_caller_before_all_calls_are_known() {
        let bench = Bench::new(true, 10);
        let backlog = Arc::clone(&bench.relay.shared().backlog);
        let code = CallCode::parse("123456").expect("a code");
        let about_calls = [
            MenuRequest::BlockLast,
            MenuRequest::ReportLast,
            MenuRequest::Callers,
            MenuRequest::Check(code),
        ];
        (0..2).for_each(|_| backlog.queued());
        for (number, request) in (1..).zip(about_calls) {
            ask_menu(&bench, number, request);
        }
        ask_menu(&bench, 9, MenuRequest::Pause);
        assert_eq!(answered(&bench), [(9, MenuAnswer::Done)]);
        backlog.settled(1);
        assert_eq!(answered(&bench), []);
        // A call that ends later is not waited for.
        backlog.queued();
        backlog.settled(1);
        let mut last = answered(&bench);
        last.sort_by_key(|(number, _)| *number);
        assert_eq!(last, [1, 2, 3, 4].map(|number| (number, MenuAnswer::Done)));
        let bench = Bench::new(false, 10);
        bench.relay.shared().backlog.queued();
        ask_menu(&bench, 1, MenuRequest::BlockLast);
        let last = std::iter::repeat_with(|| answered(&bench)).find(|found| !found.is_empty());
        assert_eq!(last, Some(vec![(1, MenuAnswer::Failed)]), "the store is away");
    }

    #[test]
    fn few_lookups_of_logins_ask_the_store_at_one_time() {
        let bench = Bench::new(true, 10);
        (0..100).for_each(|n| bench.routes.find_login(n, "a0123".into()));
        bench.runtime.block_on(async {
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
        });
        let begun = bench.routes.source.logins.load(Ordering::SeqCst);
        assert_eq!(usize::from(begun), LOGINS_MAX);
    }

    #[test]
    fn a_lookup_that_panics_is_answered_and_gives_its_turn_back() {
        let bench = Bench::new(true, 10);
        let count = LOGINS_MAX as u64 + 1;
        (0..count).for_each(|n| bench.routes.find_login(n, BROKEN.into()));
        bench.routes.find_login(count, "a0123".into());
        bench.runtime.block_on(async {
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
        });
        let mut inbox = Inbox::default();
        bench.routes.mailbox.take(&mut inbox);
        let is_failed =
            |input: &Input| matches!(input, Input::Login { answer: LoginAnswer::Failed, .. });
        assert_eq!(inbox.streams.iter().filter(|it| is_failed(it)).count() as u64, count);
        assert_eq!(bench.routes.source.logins.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn more_attempts_than_may_wait_fail_at_once() {
        let mut bench = Bench::new(false, 1);
        assert_eq!(bench.ask(1), None);
        assert_eq!(bench.ask(2), Some(0));
    }
}
