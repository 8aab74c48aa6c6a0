//! Signed requests: what is covered cannot be changed, nothing is taken twice, and every refusal
//! looks the same (`quality.md` A2).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use maskline::api::rate::Rates;
use maskline::api::{Api, router};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::signer::{Draft, Sent, Signer, digest_of, seconds};
use crate::world::{Answer, World, binding, logged, now};

const ROLE: &str = "insurer_admin";

/// Another process on the same database, whose clock is so many seconds ahead.
fn process(world: &World, ahead_s: &Arc<AtomicU64>) -> Router {
    let (began, ahead_s) = (now(), Arc::clone(ahead_s));
    let clock = move || {
        let mut now = began;
        now.wall += Duration::from_secs(ahead_s.load(Ordering::Relaxed));
        now
    };
    router(Api::new(world.db.store.clone(), world.relay.clone(), Arc::new(clock)))
}

/// All refusals are one and the same, but for the id of the request.
fn refusal(answer: Answer) -> Value {
    let answer = answer.refused(401, "unauthenticated");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    let mut body = answer.body;
    body["request_id"] = Value::Null;
    body
}

fn bind(signer: &Signer) -> Draft {
    let draft = signer.draft("POST", "/v1/bindings", Some(binding(1)));
    draft.header("idempotency-key", "first").covering("\"idempotency-key\"")
}

#[tokio::test]
async fn a_signed_request_is_answered_as_one_with_a_key() {
    let world = World::new().await;
    let signer = Signer::new(&world.admin, ROLE).await;
    let bound = signer.send(bind(&signer).sign()).await.gave(201);
    let path = format!("/v1/bindings/{}", bound.id());
    let shown = signer.ask("GET", &path, None, "to look at it").await.gave(200);
    assert_eq!(shown.body, world.admin.get(&path).await.body);
    let list = "/v1/bindings?limit=1&state=active";
    assert_eq!(
        signer.ask("GET", list, None, "to list them").await.gave(200).body["data"],
        json!([shown.body])
    );
    let suspend = signer.draft("POST", &format!("{path}/suspend"), None);
    signer.send(suspend.with("nonce", "\"without a body\"").sign()).await.gave(200);
    // What need not be covered may be.
    let draft = signer.draft("GET", &path, None).with("nonce", "\"for this host\"");
    let draft = draft.header("host", "Relay.Example").covering("\"@authority\"");
    let draft = draft.with("expires", &seconds(now().wall, 5)).with("tag", "\"crm\"");
    signer.send(draft.without("alg").sign()).await.gave(200);
    // A key's role is its role.
    let agents = json!({"name": "x", "class": "mobile"});
    signer
        .ask("POST", "/v1/pools", Some(agents), "not for insurers")
        .await
        .refused(403, "forbidden");
}

/// What is signed, but not as it has to be.
fn wrongly_signed(signer: &Signer, other: &Signer, bearer: &Answer) -> Vec<(&'static str, Draft)> {
    let draft = || bind(signer);
    let other_body = digest_of(&binding(2).to_string());
    let quoted = |text: &str| format!("\"{text}\"");
    let secret_of_bearer = bearer.body["key"].as_str().expect("a key").to_owned();
    vec![
        ("too old", draft().with("created", &seconds(now().wall, -301))),
        ("too new", draft().with("created", &seconds(now().wall, 301))),
        ("of no time", draft().without("created")),
        ("of a time that is a text", draft().with("created", &quoted(&seconds(now().wall, 0)))),
        ("before 1970", draft().with("created", "-1")),
        ("expired", draft().with("expires", &seconds(now().wall, 0))),
        ("without a nonce", draft().without("nonce")),
        ("with a short nonce", draft().with("nonce", &quoted(&"n".repeat(10)))),
        ("with a long nonce", draft().with("nonce", &quoted(&"n".repeat(129)))),
        ("of nobody", draft().without("keyid")),
        ("of an empty key id", draft().with("keyid", "\"\"")),
        ("of an unknown key", draft().with("keyid", "\"key_01977420a1b27c3d8e4f5a6b7c8d9e0f\"")),
        ("of another tenant's key", draft().with("keyid", &quoted(&other.id))),
        ("with another tenant's secret", Draft { secret: other.secret.clone(), ..draft() }),
        ("with no secret", Draft { secret: String::new(), ..draft() }),
        (
            "with a key that is sent",
            Draft { secret: secret_of_bearer, ..draft().with("keyid", &quoted(&bearer.id())) },
        ),
        ("by another algorithm", draft().with("alg", "\"ed25519\"")),
        ("with what nobody knows", draft().with("depth", "1")),
        ("without the method", draft().uncovered("\"@method\"")),
        ("without the path", draft().uncovered("\"@path\"")),
        ("without the query", draft().uncovered("\"@query\"")),
        ("without the type", draft().uncovered("\"content-type\"")),
        ("without the body's digest", draft().uncovered("\"content-digest\"")),
        ("without the idempotency key", draft().uncovered("\"idempotency-key\"")),
        ("without the version", draft().header("if-match", "\"1\"")),
        ("with another body's digest", draft().header("content-digest", &other_body)),
        ("with no digest that counts", draft().header("content-digest", "md5=:AAAA:")),
        ("with what is not there", draft().covering("\"x-absent\"")),
        ("with a part twice", draft().covering("\"@method\"")),
        ("with a part of the answer", draft().covering("\"@status\"")),
        ("with a part of the request", draft().covering("\"content-type\";sf")),
    ]
}

/// What was signed as it has to be, and changed on its way.
fn tampered(signer: &Signer, other: &Signer) -> Vec<(&'static str, Sent)> {
    let sent = || bind(signer).sign();
    let with = |from: &'static str, to: &'static str| move |text: &str| text.replacen(from, to, 1);
    let stranger = bind(other).sign();
    let mut foreign = sent();
    foreign.headers.retain(|(name, _)| *name != "signature");
    foreign.headers.extend(stranger.headers.into_iter().filter(|(name, _)| *name == "signature"));
    let mut with_key = sent();
    with_key.headers.push(("authorization", format!("Bearer {}", signer.secret)));
    let body = binding(2).to_string();
    let one = |mark: &str| format!("/v1/bindings/bnd{mark}01977420a1b27c3d8e4f5a6b7c8d9e0f");
    let shown = signer.draft("GET", &one("_"), None).sign();
    vec![
        ("another method", Sent { method: "GET", ..sent() }),
        ("another path", Sent { target: "/v1/subscribers".to_owned(), ..sent() }),
        ("an encoded path", Sent { target: one("%5f"), ..shown.clone() }),
        ("a path encoded twice", Sent { target: one("%255f"), ..shown.clone() }),
        ("another thing", Sent { target: one("-"), ..shown }),
        ("a query", Sent { target: "/v1/bindings?a=1".to_owned(), ..sent() }),
        ("another body", Sent { body: body.clone(), ..sent() }),
        ("no body", Sent { body: String::new(), ..sent() }),
        (
            "another body with its digest",
            Sent { body: body.clone(), ..sent().changed("content-digest", |_| digest_of(&body)) },
        ),
        ("another type", sent().changed("content-type", |_| "text/csv".to_owned())),
        ("another idempotency key", sent().changed("idempotency-key", |_| "second".to_owned())),
        ("a header that was signed once", sent().twice("idempotency-key")),
        ("no signature", sent().stripped("signature")),
        ("no input", sent().stripped("signature-input")),
        ("no digest", sent().stripped("content-digest")),
        ("two signatures", sent().twice("signature")),
        ("two inputs", sent().twice("signature-input")),
        ("two digests", sent().twice("content-digest")),
        ("another label", sent().changed("signature", with("sig1", "sig2"))),
        ("two labels", sent().changed("signature", |text| format!("{text}, sig2=:AAAA:"))),
        ("a cut signature", sent().changed("signature", |text| text.replacen("=:", "=", 1))),
        ("an empty signature", sent().changed("signature", |_| "sig1=::".to_owned())),
        ("somebody else's signature", foreign),
        ("another nonce", sent().changed("signature-input", with("a-word", "b-word"))),
        (
            "another order",
            sent()
                .changed("signature-input", with("\"@method\" \"@path\"", "\"@path\" \"@method\"")),
        ),
        ("an input that is none", sent().changed("signature-input", |_| "sig1".to_owned())),
        ("an input in bytes", sent().changed("signature-input", |_| "\u{e9}".to_owned())),
        ("a key beside it", with_key),
    ]
}

#[tokio::test]
async fn whatever_is_wrong_with_a_signature_the_answer_is_the_same_and_nothing_is_done() {
    let world = World::new().await;
    let signer = Signer::new(&world.admin, ROLE).await;
    let other = Signer::new(&world.stranger().await, ROLE).await;
    let bearer = json!({"name": "sent", "role": ROLE});
    let bearer = world.admin.post("/v1/api-keys", bearer).await.gave(201);
    let wrong = refusal(world.admin.with_key("mk_live_wrong").get("/v1/bindings").await);
    let signed = wrongly_signed(&signer, &other, &bearer).into_iter();
    let signed = signed.map(|(what, draft)| (what, draft.sign()));
    for (what, sent) in signed.chain(tampered(&signer, &other)) {
        assert_eq!(refusal(signer.send(sent).await), wrong, "{what}");
    }
    assert_eq!(world.count("binding").await, 0);
    // None of them has used the nonce up.
    signer.send(bind(&signer).sign()).await.gave(201);
}

#[tokio::test]
async fn a_signature_counts_five_minutes_before_and_after_its_time() {
    let world = World::new().await;
    let signer = Signer::new(&world.admin, ROLE).await;
    for (later, nonce) in [(-300, "\"the oldest one\""), (300, "\"the newest one\"")] {
        let draft = signer.draft("GET", "/v1/bindings", None).with("nonce", nonce);
        signer.send(draft.with("created", &seconds(now().wall, later)).sign()).await.gave(200);
    }
}

#[tokio::test]
async fn a_request_is_taken_once_by_all_nodes_and_after_a_restart() {
    let world = World::new().await;
    let ahead_s = Arc::new(AtomicU64::new(0));
    let signer = Signer::new(&world.admin, ROLE).await;
    // As far ahead as it may be: it could be taken for ten minutes.
    let draft = signer.draft("GET", "/v1/bindings", None);
    let sent = draft.with("created", &seconds(now().wall, 300)).sign();
    let mut at_once = JoinSet::new();
    for nth in 0..20 {
        let app = process(&world, &ahead_s);
        let (signer, sent) = (signer.at(app), sent.clone());
        at_once.spawn(async move { (nth, signer.send(sent).await.status.as_u16()) });
    }
    let statuses: Vec<u16> =
        at_once.join_all().await.into_iter().map(|(_, status)| status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 19, "{statuses:?}");
    // The nonces of two keys are apart.
    let second = Signer::new(&world.admin, ROLE).await;
    second.ask("GET", "/v1/bindings", None, "a-word-of-its-own").await.gave(200);
    // As long as the time alone would let it in again, it is remembered, and not for ever.
    ahead_s.store(599, Ordering::Relaxed);
    let later = now().wall + Duration::from_secs(599);
    assert_eq!(world.db.store.sweep_nonces(later).await.expect("swept"), 0);
    refusal(signer.at(process(&world, &ahead_s)).send(sent.clone()).await);
    ahead_s.store(601, Ordering::Relaxed);
    let later = now().wall + Duration::from_secs(601);
    assert_eq!(world.db.store.sweep_nonces(later).await.expect("swept"), 2);
    refusal(signer.at(process(&world, &ahead_s)).send(sent).await);
}

/// Who has seen a request can send it as often as they like: it costs its signer nothing.
#[tokio::test]
async fn replays_use_up_nothing_of_what_a_key_may() {
    let world = World::new().await;
    let signer = Signer::new(&world.admin, ROLE).await;
    let api = Api::new(world.db.store.clone(), world.relay.clone(), Arc::new(now));
    let app = router(api.with_rates(Rates { key: 5, tenant: 5 }));
    let signer = signer.at(app);
    let sent = signer.draft("GET", "/v1/bindings", None).sign();
    signer.send(sent.clone()).await.gave(200);
    for _ in 0..50 {
        refusal(signer.send(sent.clone()).await);
    }
    signer.ask("GET", "/v1/bindings", None, "the next one").await.gave(200);
}

#[tokio::test]
async fn a_tenant_that_wants_signatures_takes_nothing_else() {
    let world = World::new().await;
    let stranger = world.stranger().await;
    let signer = Signer::new(&world.admin, ROLE).await;
    let tenant = format!("/v1/tenants/{}", world.tenant);
    assert_eq!(world.operator.get(&tenant).await.gave(200).body["requires_signature"], false);
    world.admin.get("/v1/bindings").await.gave(200);
    let change = json!({"requires_signature": true});
    let changed = world.operator.patch(&tenant, change).await.gave(200);
    assert_eq!(changed.body["requires_signature"], true);
    refusal(world.admin.get("/v1/bindings").await);
    signer.ask("GET", "/v1/bindings", None, "signed as wanted").await.gave(200);
    stranger.get("/v1/bindings").await.gave(200);
    // The operator's change of something else leaves it so.
    let renamed = world.operator.patch(&tenant, json!({"name": "Renamed"})).await.gave(200);
    assert_eq!(renamed.body["requires_signature"], true);
    refusal(world.admin.get("/v1/bindings").await);
    world.operator.patch(&tenant, json!({"requires_signature": false})).await.gave(200);
    world.admin.get("/v1/bindings").await.gave(200);
}

#[tokio::test]
async fn a_secret_is_shown_once_lies_sealed_and_can_be_changed() {
    let world = World::new().await;
    let signer = Signer::new(&world.admin, ROLE).await;
    signer.ask("GET", "/v1/bindings", None, "with the first one").await.gave(200);
    let listed = world.admin.get("/v1/api-keys").await.gave(200).body;
    let row = listed["data"].as_array().expect("keys").iter().find(|key| key["id"] == signer.id);
    assert_eq!(row.map(|key| &key["auth"]), Some(&json!("signature")));
    assert!(!listed.to_string().contains(&signer.secret));
    let sealed: Vec<u8> = sqlx::query_scalar("select secret_sealed from api_key_signing")
        .fetch_one(&mut world.db.superuser().await)
        .await
        .expect("a secret");
    let secret = signer.secret.as_bytes();
    assert!(!sealed.windows(8).any(|part| secret.windows(8).any(|known| known == part)));
    let path = format!("/v1/api-keys/{}", signer.id);
    let rolled = world.admin.post(&format!("{path}/roll"), json!({})).await.gave(200);
    let secret = rolled.body["key"].as_str().expect("a secret").to_owned();
    assert_ne!(secret, signer.secret);
    refusal(signer.ask("GET", "/v1/bindings", None, "with the old one").await);
    let signer = signer.with_secret(&secret);
    signer.ask("GET", "/v1/bindings", None, "with the new one").await.gave(200);
    // A secret that was sent by mistake opens nothing.
    refusal(world.admin.with_key(&signer.secret).get("/v1/bindings").await);
    world.admin.delete(&path).await.gave(204);
    refusal(signer.ask("GET", "/v1/bindings", None, "with one that is over").await);
    assert!(!logged().contains(&signer.secret));
}

/// A body that is too large to be held is compared while it comes.
#[tokio::test]
async fn a_signed_file_is_read_while_it_comes_and_another_one_binds_nothing() {
    let world = World::new().await;
    let signer = Signer::new(&world.admin, ROLE).await;
    let path = "/v1/jobs/imports";
    let long = json!({"metadata": {"note": "x".repeat(100_000)}});
    let file = format!("{}\n", binding(1)) + &format!("{long}\n").repeat(12);
    let draft = |nonce: &str| {
        let mut draft = signer.draft("POST", path, None).with("nonce", &format!("\"{nonce}\""));
        draft.covered.extend(["\"content-type\"", "\"content-digest\""]);
        draft.body.clone_from(&file);
        draft
            .header("content-type", "application/x-ndjson")
            .header("content-digest", &digest_of(&file))
    };
    let wrong = refusal(world.admin.with_key("mk_live_wrong").get(path).await);
    let more = format!("{file}{}\n", binding(2));
    for (nonce, body) in [("one row more", more), ("nothing at all", String::new())] {
        let sent = Sent { body, ..draft(nonce).sign() };
        assert_eq!(refusal(signer.send(sent).await), wrong, "{nonce}");
    }
    let unsigned =
        Draft { covered: signer.draft("GET", path, None).covered, ..draft("without a digest") };
    let unsigned = unsigned.covering("\"content-type\"").sign().stripped("content-digest");
    assert_eq!(refusal(signer.send(unsigned).await), wrong);
    let list = world.admin.get(path).await.gave(200).body["data"].clone();
    let states: Vec<&Value> = (0..3).map(|nth| &list[nth]["state"]).collect();
    assert_eq!(states, ["abandoned"; 3]);
    assert_eq!(world.count("import_chunk").await, 0);
    let sent = draft("the file itself").sign();
    let begun = signer.send(sent.clone()).await.gave(202);
    assert_eq!((&begun.body["state"], &begun.body["rows_read"]), (&json!("running"), &json!(13)));
    assert_eq!(refusal(signer.send(sent).await), wrong, "a second time");
}
