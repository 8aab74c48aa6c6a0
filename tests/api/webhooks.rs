//! Webhooks against receivers of this machine: what they get, when, and what becomes of it.

mod endpoints;
mod harm;
mod order;
mod receiver;
mod retries;
mod signed;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use maskline::domain::webhook::Reach;
use maskline::jobs::webhooks::{Dispatcher, FoundAddresses, Names, Poster};
use maskline::store::outbox::assign_sequences;
use serde_json::{Value, json};

use crate::support::noon;
use crate::world::{Client, World, binding};
use receiver::Receiver;

/// Receivers of this machine may be reached.
const NEAR: Reach = Reach { allow_http: true, allow_private: true };
/// An attempt that hangs is given up after this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Name servers made of a list: each answer is given once, the last one for ever.
#[derive(Default)]
struct FakeNames {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl FakeNames {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let address = |text: &&str| text.parse().expect("an address");
        let answers = answers.iter().map(|all| all.iter().map(address).collect()).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: Mutex::default() })
    }

    fn asked(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }
}

impl Names for FakeNames {
    fn addresses<'a>(&'a self, host: &'a str) -> FoundAddresses<'a> {
        self.asked.lock().expect("no panic").push(host.to_owned());
        let mut answers = self.answers.lock().expect("no panic");
        let answer =
            if answers.len() > 1 { Some(answers.remove(0)) } else { answers.first().cloned() };
        Box::pin(async move { answer })
    }
}

fn dispatcher(world: &World, reach: Reach, names: Arc<FakeNames>) -> Dispatcher {
    let poster = Poster::new(names, reach, PATIENCE).expect("a client");
    Dispatcher::new(world.db.database.relay.clone(), Arc::clone(&world.db.vault), poster)
}

/// A platform with webhooks, and what delivers.
struct Bench {
    world: World,
    dispatcher: Dispatcher,
}

impl Bench {
    async fn new() -> Self {
        let world = World::reaching(NEAR).await;
        let dispatcher = dispatcher(&world, NEAR, Arc::default());
        Self { world, dispatcher }
    }

    /// An endpoint at the receiver; the answer has its id and its secret.
    async fn endpoint(&self, client: &Client, receiver: &Receiver, kinds: &[&str]) -> Value {
        let body = json!({ "url": receiver.url(), "event_types": kinds });
        client.post("/v1/webhook-endpoints", body).await.gave(201).body
    }

    async fn bind(&self, n: usize) -> String {
        self.world.admin.post("/v1/bindings", binding(n)).await.id()
    }

    async fn order(&self, binding: &str, order: &str) {
        let path = format!("/v1/bindings/{binding}/{order}");
        self.world.admin.post(&path, json!({})).await.gave(200);
    }

    /// Everything that is due so long after noon is tried once; returns how much that was.
    async fn round(&self, after: Duration) -> usize {
        self.dispatcher.round(self.place(after).await).await.expect("a round")
    }

    /// What was emitted gets its place and its deliveries.
    async fn place(&self, after: Duration) -> SystemTime {
        let at = noon() + after;
        assign_sequences(&self.world.db.database.relay, at).await.expect("assigned");
        at
    }

    async fn deliveries(&self, endpoint: &Value) -> Vec<Value> {
        let id = endpoint["id"].as_str().expect("an id");
        let path = format!("/v1/webhook-endpoints/{id}/deliveries");
        let list = self.world.admin.get(&path).await.gave(200).body;
        list["data"].as_array().expect("deliveries").clone()
    }

    async fn find(&self, endpoint: &Value) -> Value {
        let id = endpoint["id"].as_str().expect("an id");
        self.world.admin.get(&format!("/v1/webhook-endpoints/{id}")).await.gave(200).body
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
