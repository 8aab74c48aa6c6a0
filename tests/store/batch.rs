//! Many bindings at once are what the same bindings one after the other would be.

use std::time::Duration;

use maskline::domain::id::{PoolId, SubscriberId};
use maskline::store::binding::{
    BindOutcome, BindingOutcome, BindingTerm, CallsUp, NewBinding, NumberChoice, RowOutcome,
    SubscriberChoice,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::fixture::{DAY, Insurer, World, real, wanted, x};
use crate::support::noon;

const ANY: NumberChoice = NumberChoice::Free { pool: None, city: None, elsewhere: false };

/// A platform with a past: two pools whose numbers have an order, numbers that rest, numbers of
/// another insurer.
struct Scene {
    world: World,
    insurer: Insurer,
    /// In another city, and after the first in every order.
    second_pool: PoolId,
    /// Somebody without a binding of before.
    enrolled: SubscriberId,
    foreign: SubscriberId,
}

impl Scene {
    async fn new(numbers: u16) -> Self {
        let mut world = World::new().await;
        let insurer = world.insurer("A").await;
        let other = world.insurer("B").await;
        let second_pool = PoolId::from_u128(world.pool.as_u128() + 1);
        world.numbers(numbers).await;
        let sql = [
            "insert into pool (id, name, class, city, created_at, updated_at)
             values ($1, 'second', 'mobile', 'Canton', now(), now())",
            // Every number has rested for another time, and the last third is elsewhere.
            "update virtual_number set released_at = '2020-01-01T00:00Z'::timestamptz
                 + right(digits, 4)::int * interval '1 minute',
                 pool_id = case when right(digits, 4)::int * 3 >= 2 * (select count(*) from
                     virtual_number) then $1 else pool_id end",
        ];
        for sql in sql {
            let id = Uuid::from_u128(second_pool.as_u128());
            sqlx::query(sql).bind(id).execute(&mut world.sql).await.expect("laid out");
        }
        for (name, number) in [("old-1", 1), ("old-2", 2), ("gone-3", 3), ("gone-4", 4)] {
            let made = world.bind(&insurer, name, number).await;
            if name.starts_with("gone") {
                let mut tx = world.test.store.tenant(insurer.id).await.expect("begun");
                let over = tx.unbind(noon(), made.id, CallsUp::GoOn, None).await.expect("over");
                assert!(matches!(over, BindingOutcome::Changed(_)));
                tx.commit().await.expect("committed");
            }
        }
        let foreign = world.bind(&other, "theirs", 1).await.subscriber;
        let enrolled = world.bind(&insurer, "old-5", 5).await.subscriber;
        Self { world, insurer, second_pool, enrolled, foreign }
    }

    async fn one_by_one(&self, rows: Vec<NewBinding>) -> Vec<RowOutcome> {
        let mut outcomes = Vec::new();
        for new in rows {
            let mut tx = self.world.test.store.tenant(self.insurer.id).await.expect("begun");
            let outcome = tx.bind(noon(), new).await;
            let outcome = match (outcome, tx.commit().await) {
                (Err(error), _) | (Ok(_), Err(error)) => Err(error),
                (Ok(outcome), Ok(())) => Ok(outcome),
            };
            outcomes.push(outcome);
        }
        outcomes
    }

    async fn at_once(&self, rows: Vec<NewBinding>) -> Vec<RowOutcome> {
        let mut tx = self.world.test.store.tenant(self.insurer.id).await.expect("begun");
        let outcomes = tx.bind_all(noon(), rows).await.expect("outcomes");
        tx.commit().await.expect("committed");
        outcomes
    }

    /// Every row that a binding touches, without what differs between two platforms.
    async fn rows(&mut self) -> Vec<Value> {
        sqlx::query_scalar(
            "select it from (
                 select 1 as part, external_id as place, to_jsonb(b)
                     - '{tenant_id,id,content_hash,subscriber_id,number_id}'::text[] as it
                 from binding b
                 union all
                 select 2, v.digits, jsonb_build_object('x', v.digits, 'state', v.state,
                     'held', v.tenant_id is not null, 'version', v.version,
                     'released_at', v.released_at, 'updated_at', v.updated_at)
                 from virtual_number v where v.version > 1
                 union all
                 select 3, min(b.external_id), to_jsonb(s)
                     - '{tenant_id,id,number_sealed,key_sealed,lookup_hash}'::text[]
                     || jsonb_build_object('bindings', array_agg(b.external_id order by
                         b.external_id), 'sealed', s.number_sealed is not null)
                 from subscriber s left join binding b
                     on b.tenant_id = s.tenant_id and b.subscriber_id = s.id
                 group by s.tenant_id, s.id
                 union all
                 select 4, to_char(row_number() over (order by e.position), '0000'),
                     jsonb_build_object('type', e.type, 'at', e.occurred_at, 'data', e.data
                     - '{binding,subscriber}'::text[])
                 from event e
             ) as all_rows order by part, place, it",
        )
        .fetch_all(&mut self.world.sql)
        .await
        .expect("rows")
    }

    /// Something of everything, drawn from few names and numbers so that they meet.
    fn draw(&self, seed: &mut u64) -> NewBinding {
        *seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut draw = |sides: u16| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u16::try_from((*seed >> 33) % u64::from(sides)).expect("small")
        };
        let name = match draw(5) {
            0 => format!("old-{}", draw(6)),
            _ => format!("new-{}", draw(60)),
        };
        let subscriber = match draw(12) {
            0 => SubscriberChoice::Existing(self.enrolled),
            1 => SubscriberChoice::Existing(self.foreign),
            2 => SubscriberChoice::Number(real_x(draw(40))),
            3 => SubscriberChoice::Number(real(3)),
            _ => SubscriberChoice::Number(real(draw(30))),
        };
        let pool = match draw(4) {
            0 => Some(self.world.pool),
            1 => Some(self.second_pool),
            2 if draw(4) == 0 => Some(PoolId::new(1, 1)),
            _ => None,
        };
        let city = match draw(6) {
            0 => Some("Shanghai".to_owned()),
            1 => Some("Canton".to_owned()),
            2 => Some("Beijing".to_owned()),
            _ => None,
        };
        let elsewhere = city.is_some() && draw(2) == 0;
        let number = match draw(12) {
            0 => NumberChoice::Exact(x(&format!("1700000{:04}", draw(45)))),
            // It rests, and was the third subscriber's.
            1 => NumberChoice::Exact(x("17000000002")),
            _ => NumberChoice::Free { pool, city, elsewhere },
        };
        let mut new = NewBinding { subscriber, number, ..wanted(&name, 0) };
        new.policy.reference = format!("P-{}", draw(2));
        match draw(8) {
            0 => new.term = BindingTerm::Short,
            1 => new.valid_until = Some(noon() + DAY),
            2 => new.valid_from = Some(noon() + DAY / 2),
            3 => new.terms.idle_ttl = Some(3 * DAY),
            4 => new.duration_max = Some(Duration::from_secs(90)),
            5 => drop(new.metadata.insert("branch".to_owned(), json!(["x", 1, null]))),
            _ => {}
        }
        new
    }
}

/// The owner of a number that is a virtual one, when there is one with these digits.
fn real_x(last: u16) -> maskline::domain::number::RealNumber {
    let text = format!("+861700000{last:04}");
    maskline::domain::number::RealNumber::parse(&text).expect("a valid number")
}

/// What a tenant sees of an outcome, without what differs between two platforms.
fn told(outcomes: &[RowOutcome]) -> Vec<String> {
    let told = |outcome: &RowOutcome| match outcome {
        Ok(BindOutcome::Created(it) | BindOutcome::Existing(it)) => {
            let word = if matches!(outcome, Ok(BindOutcome::Created(_))) { "new" } else { "old" };
            format!(
                "{word} {} {} {:?} {:?}",
                it.external_id, it.virtual_number, it.masked, it.state
            )
        }
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("{error}"),
    };
    outcomes.iter().map(told).collect()
}

fn word(outcome: &RowOutcome) -> String {
    let text = format!("{outcome:?}");
    text.trim_start_matches("Ok(").split(['(', ')', ' ']).next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_batch_is_the_same_as_one_binding_after_the_other() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 1..=6_u64 {
        let (mut one, mut many) = (Scene::new(40).await, Scene::new(40).await);
        let draw = |scene: &Scene| {
            // Every ninth row is one of before, word for word.
            let state = |nth: u64| 1_000 * seed + if nth % 9 == 8 { nth / 2 } else { nth };
            (0..120).map(|nth| scene.draw(&mut state(nth))).collect::<Vec<_>>()
        };
        let (singly, at_once) = (one.one_by_one(draw(&one)).await, {
            let rows = draw(&many);
            many.at_once(rows).await
        });
        assert_eq!(told(&at_once), told(&singly), "seed {seed}");
        assert_eq!(many.rows().await, one.rows().await, "seed {seed}");
        seen.extend(singly.iter().map(word));
        // Sent again, by either way, it changes nothing.
        let (singly, at_once) = (many.one_by_one(draw(&many)).await, {
            let rows = draw(&one);
            one.at_once(rows).await
        });
        assert_eq!(told(&at_once), told(&singly), "seed {seed}, again");
        assert_eq!(many.rows().await, one.rows().await, "seed {seed}, again");
    }
    // Whatever a binding can come to was among them.
    for outcome in [
        "Created",
        "Existing",
        "ExternalIdTaken",
        "SubscriberUnknown",
        "SubscriberVirtual",
        "TermInvalid",
        "PoolUnknown",
        "CityUnknown",
        "PoolEmpty",
        "NumberTaken",
        "NumberCooling",
    ] {
        assert!(seen.contains(outcome), "{outcome} is not among {seen:?}");
    }
}

#[tokio::test]
async fn more_rows_than_numbers_leave_the_last_without_one() {
    let mut scene = Scene::new(30).await;
    let free: i64 = sqlx::query_scalar("select count(*) from virtual_number where state = $1")
        .bind("available")
        .fetch_one(&mut scene.world.sql)
        .await
        .expect("a count");
    let free = usize::try_from(free).expect("few");
    let rows = (0..40).map(|n| wanted(&format!("n-{n}"), 100 + n)).collect();
    let outcomes = scene.at_once(rows).await;
    let words: Vec<String> = outcomes.iter().map(word).collect();
    let expected: Vec<&str> =
        (0..40).map(|n| if n < free { "Created" } else { "PoolEmpty" }).collect();
    assert_eq!(words, expected);
    // Whoever got no number was not enrolled either.
    let people: i64 = sqlx::query_scalar("select count(*) from subscriber")
        .fetch_one(&mut scene.world.sql)
        .await
        .expect("a count");
    assert_eq!(people, 6 + i64::try_from(free).expect("few"));
}

#[tokio::test]
async fn a_suspended_tenant_and_one_that_names_by_id_are_told_so_in_every_row() {
    let mut scene = Scene::new(30).await;
    for (sql, outcome) in [
        ("update tenant set accept_real_numbers = false", BindOutcome::RealNumbersRefused),
        ("update tenant set state = 'suspended'", BindOutcome::TenantSuspended),
    ] {
        sqlx::query(sql).execute(&mut scene.world.sql).await.expect("changed");
        let rows = (0..3).map(|n| wanted(&format!("n-{n}"), n)).collect();
        let outcomes = scene.at_once(rows).await;
        assert!(outcomes.iter().all(|it| matches!(it, Ok(told) if *told == outcome)));
    }
}

/// Batches that name each other's things, each in its own order, beside single bindings.
#[tokio::test]
async fn batches_at_once_bind_everything_once_and_wait_for_nothing_twice() {
    let mut scene = Scene::new(400).await;
    let row = |n: u16| {
        let number = match n {
            // The same numbers are wanted by everybody, too.
            0..20 => NumberChoice::Exact(x(&format!("1700000{:04}", 300 + n))),
            _ => ANY,
        };
        NewBinding { number, ..wanted(&format!("n-{n}"), 100 + n) }
    };
    let mut tasks = JoinSet::new();
    for turn in 0..6_u16 {
        let (store, tenant) = (scene.world.test.store.clone(), scene.insurer.id);
        tasks.spawn(async move {
            let mut order: Vec<u16> = (0..120).map(|n| (n + 17 * turn) % 120).collect();
            if turn % 2 == 1 {
                order.reverse();
            }
            if turn == 5 {
                let mut words = Vec::new();
                for n in order {
                    let mut tx = store.tenant(tenant).await.expect("begun");
                    let outcome = tx.bind(noon(), row(n)).await;
                    tx.commit().await.expect("committed");
                    words.push(word(&outcome));
                }
                return words;
            }
            let mut tx = store.tenant(tenant).await.expect("begun");
            let rows = order.into_iter().map(row).collect();
            let outcomes = tx.bind_all(noon(), rows).await.expect("outcomes");
            tx.commit().await.expect("committed");
            outcomes.iter().map(word).collect()
        });
    }
    let words: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    let count = |what: &str| words.iter().filter(|word| *word == what).count();
    assert_eq!((count("Created"), count("Existing")), (120, 5 * 120), "{words:?}");
    let (bindings, people, numbers): (i64, i64, i64) = sqlx::query_as(
        "select count(*), count(distinct subscriber_id), count(distinct number_id) from binding
         where external_id like 'n-%'",
    )
    .fetch_one(&mut scene.world.sql)
    .await
    .expect("counts");
    assert_eq!((bindings, people, numbers), (120, 120, 120));
}

/// Two insurers want the same numbers by their digits, in opposite orders.
#[tokio::test]
async fn two_tenants_that_want_the_same_numbers_do_not_block_each_other() {
    let mut world = World::new().await;
    let insurers = [world.insurer("A").await, world.insurer("B").await];
    world.numbers(60).await;
    let mut tasks = JoinSet::new();
    for (turn, insurer) in insurers.iter().enumerate() {
        let (store, tenant) = (world.test.store.clone(), insurer.id);
        tasks.spawn(async move {
            let order = |n: u16| if turn == 0 { n } else { 59 - n };
            let rows = (0..60).map(order).map(|n| NewBinding {
                number: NumberChoice::Exact(x(&format!("1700000{n:04}"))),
                ..wanted(&format!("n-{n}"), n)
            });
            let mut tx = store.tenant(tenant).await.expect("begun");
            let outcomes = tx.bind_all(noon(), rows.collect()).await.expect("outcomes");
            tx.commit().await.expect("committed");
            outcomes.iter().map(word).collect::<Vec<_>>()
        });
    }
    let words: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    let count = |what: &str| words.iter().filter(|word| *word == what).count();
    assert_eq!((count("Created"), count("NumberTaken")), (60, 60), "{words:?}");
}

/// A row that clashes with the database's own rule is undone, and it alone.
#[tokio::test]
async fn a_row_that_clashes_leaves_the_others() {
    let mut scene = Scene::new(30).await;
    for sql in [
        "create function refuse() returns trigger language plpgsql as $$ begin
             raise exception 'no' using errcode = 'check_violation',
                 constraint = 'virtual_number_return'; end $$",
        "create constraint trigger refuse after insert on binding deferrable initially deferred
             for each row when (new.external_id = 'b') execute function refuse()",
    ] {
        sqlx::query(sql).execute(&mut scene.world.sql).await.expect("laid out");
    }
    let back = NewBinding { ..wanted("b", 3) };
    let outcomes = scene.at_once(vec![wanted("a", 101), back, wanted("c", 102)]).await;
    assert_eq!([word(&outcomes[0]), word(&outcomes[2])], ["Created", "Created"]);
    let error = outcomes[1].as_ref().expect_err("a clash");
    assert_eq!(error.constraint(), Some("virtual_number_return"));
    let mut names: Vec<String> = Vec::new();
    for row in scene.rows().await {
        names.extend(row["external_id"].as_str().map(str::to_owned));
    }
    assert!(names.contains(&"a".to_owned()) && names.contains(&"c".to_owned()));
    assert!(!names.contains(&"b".to_owned()));
}

#[tokio::test]
async fn events_of_a_batch_come_in_its_order() {
    let mut scene = Scene::new(60).await;
    let mut rows: Vec<NewBinding> =
        (0..30).map(|n| wanted(&format!("n-{}", (n * 7) % 30), 100 + n)).collect();
    // Some go by themselves: this one asks for its digits, that one takes its number back.
    rows[5].number = NumberChoice::Exact(x("17000000050"));
    rows[11].subscriber = SubscriberChoice::Number(real(4));
    let expected: Vec<String> = rows.iter().map(|row| row.external_id.clone()).collect();
    let outcomes = scene.at_once(rows).await;
    assert!(outcomes.iter().all(|outcome| word(outcome) == "Created"), "{outcomes:?}");
    let told: Vec<String> = sqlx::query_scalar(
        "select data ->> 'external_id' from event where data ->> 'external_id' like 'n-%'
         order by position",
    )
    .fetch_all(&mut scene.world.sql)
    .await
    .expect("events");
    assert_eq!(told, expected);
}
