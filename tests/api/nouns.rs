//! Each operation does what it says.

use maskline::domain::trunk_media::SrtpMode;
use serde_json::{Value, json};

use crate::certificates;
use crate::world::{World, binding, real_number};

#[tokio::test]
async fn the_operator_makes_and_changes_tenants() {
    let (_db, _relay, operator) = World::empty().await;
    let made = operator.post("/v1/tenants", json!({"name": "One"})).await.gave(201);
    let path = format!("/v1/tenants/{}", made.id());
    assert_eq!(made.header("location"), path);
    assert_eq!(made.body["time_zone"], "Asia/Shanghai");
    let patch = json!({"state": "suspended", "desk_user": "desk"});
    let changed = operator.patch(&path, patch).await.gave(200);
    assert_eq!(
        (&changed.body["state"], &changed.body["desk_user"]),
        (&json!("suspended"), &json!("desk"))
    );
    let cleared = operator.patch(&path, json!({"desk_user": null})).await.gave(200);
    assert_eq!(cleared.body["desk_user"], Value::Null);
    assert_eq!(operator.get(&path).await.gave(200).body, cleared.body);
    let list = operator.get("/v1/tenants").await.gave(200);
    assert_eq!(list.body["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_key_is_shown_once_rolled_and_revoked() {
    let world = World::new().await;
    let body = json!({"name": "crm", "role": "insurer_crm", "scopes": ["bindings:read"]});
    let made = world.admin.post("/v1/api-keys", body).await.gave(201);
    let text = made.body["key"].as_str().expect("a key").to_owned();
    let crm = world.admin.with_key(&text);
    crm.get("/v1/bindings").await.gave(200);
    crm.get("/v1/agents").await.refused(403, "forbidden");

    let list = world.admin.get("/v1/api-keys").await.gave(200);
    assert!(!list.body.to_string().contains(&text));
    let roll = format!("/v1/api-keys/{}/roll", made.id());
    let unknown = world.admin.post(&roll, json!({"keep_old": true})).await;
    assert_eq!(unknown.refused(422, "validation_failed").place().0, "/keep_old");
    let rolled = world.admin.post(&roll, json!({})).await;
    let new = world.admin.with_key(rolled.gave(200).body["key"].as_str().expect("a key"));
    crm.get("/v1/bindings").await.refused(401, "unauthenticated");
    new.get("/v1/bindings").await.gave(200);

    world.admin.delete(&format!("/v1/api-keys/{}", made.id())).await.gave(204);
    new.get("/v1/bindings").await.refused(401, "unauthenticated");
    world.admin.delete(&format!("/v1/api-keys/{}", made.id())).await.refused(404, "not_found");
}

#[tokio::test]
async fn agents_come_change_and_go() {
    let world = World::new().await;
    let body = json!({"employee_id": "4821", "name": "Li", "caller_numbers": ["4821", "4822"]});
    let made = world.admin.post("/v1/agents", body.clone()).await.gave(201);
    let path = format!("/v1/agents/{}", made.id());
    let taken = world.admin.post("/v1/agents", body).await.refused(409, "already_exists");
    assert_eq!(taken.place(), ("/employee_id", "taken"));
    let patch = json!({"state": "disabled", "caller_numbers": ["4900"], "licence": "L-1"});
    let changed = world.admin.patch(&path, patch).await.gave(200);
    assert_eq!(changed.body["caller_numbers"], json!(["4900"]));
    assert_eq!(world.admin.get(&path).await.gave(200).body, changed.body);
    let list = world.admin.get("/v1/agents?employee_id=4821").await.gave(200);
    assert_eq!(list.body["data"][0]["state"], "disabled");
    world.admin.delete(&path).await.gave(204);
    world.admin.get(&path).await.refused(404, "not_found");
}

#[tokio::test]
async fn an_agent_may_be_limited_to_purposes() {
    let world = World::new().await;
    let create = async |employee: &str, only: Value| {
        let body = json!({"employee_id": employee, "name": "Li", "allowed_purposes": only});
        world.admin.post("/v1/agents", body).await
    };
    let free = create("1", Value::Null).await.gave(201);
    assert_eq!(free.body["allowed_purposes"], Value::Null);
    let made = create("2", json!(["survey", "claim"])).await.gave(201);
    assert_eq!(made.body["allowed_purposes"], json!(["claim", "survey"]));
    let path = format!("/v1/agents/{}", made.id());
    let kept = world.admin.patch(&path, json!({"name": "Wu"})).await.gave(200);
    assert_eq!(kept.body["allowed_purposes"], json!(["claim", "survey"]));
    let less = world.admin.patch(&path, json!({"allowed_purposes": ["survey"]})).await.gave(200);
    assert_eq!(less.body["allowed_purposes"], json!(["survey"]));
    assert_eq!(world.admin.get(&path).await.gave(200).body, less.body);
    let list = world.admin.get("/v1/agents?employee_id=2").await.gave(200);
    assert_eq!(list.body["data"], json!([less.body]));
    for (only, pointer, rule) in [
        (json!([]), "/allowed_purposes", "length"),
        (json!("claim"), "/allowed_purposes", "wrong_type"),
        (json!(["Claim"]), "/allowed_purposes/0", "not_allowed"),
        (json!(["claim", "unspecified"]), "/allowed_purposes/1", "not_allowed"),
        (json!(["claim", "claim"]), "/allowed_purposes/1", "duplicate"),
        (json!(vec!["claim"; 12]), "/allowed_purposes", "length"),
    ] {
        let answer = create("3", only.clone()).await.refused(422, "validation_failed");
        assert_eq!(answer.place(), (pointer, rule));
        let answer = world.admin.patch(&path, json!({"allowed_purposes": only})).await;
        assert_eq!(answer.refused(422, "validation_failed").place(), (pointer, rule));
    }
    let all = world.admin.patch(&path, json!({"allowed_purposes": null})).await.gave(200);
    assert_eq!(all.body["allowed_purposes"], Value::Null);
    world.admin.patch(&path, json!({"allowed_purposes": ["claim"]})).await.gave(200);
    world.admin.delete(&path).await.gave(204);
}

#[tokio::test]
async fn trunks_come_change_and_go() {
    let world = World::new().await;
    let body = json!({
        "name": "pbx", "role": "insurer", "tenant_id": world.tenant, "transport": "udp",
        "source_networks": ["198.51.100.7"], "targets": ["198.51.100.7:5060"],
    });
    let made = world.operator.post("/v1/trunks", body).await.gave(201);
    assert_eq!(made.body["source_networks"], json!(["198.51.100.7/32"]));
    let path = format!("/v1/trunks/{}", made.id());
    let patch = json!({"enabled": false, "targets": ["[2001:db8::1]:5060"]});
    let changed = world.operator.patch(&path, patch).await.gave(200);
    assert_eq!(changed.body["targets"], json!(["[2001:db8::1]:5060"]));
    assert_eq!(world.operator.get(&path).await.gave(200).body, changed.body);
    assert_eq!(
        (&changed.body["transport"], &changed.body["tls_name"]),
        (&json!("udp"), &json!(null))
    );
    let ca = std::fs::read_to_string(certificates::folder().join("root.pem"))
        .expect("a file of the tests");
    let patch = json!({"transport": "tls", "tls_ca": ca, "tls_name": "pbx.example.com"});
    let changed = world.operator.patch(&path, patch).await.gave(200);
    assert_eq!(changed.body["transport"], "tls");
    // What is left must hold together too.
    for (patch, pointer) in [
        (json!({"tls_ca": null}), "/tls_ca"),
        (json!({"transport": "tcp"}), "/tls_ca"),
        (json!({"transport": "udp", "tls_ca": null}), "/tls_name"),
    ] {
        let refused = world.operator.patch(&path, patch).await.refused(422, "validation_failed");
        assert_eq!(refused.place().0, pointer, "{:#}", refused.body);
    }
    let changed = world.operator.patch(&path, json!({"tls_name": null})).await.gave(200);
    assert_eq!(
        (&changed.body["transport"], &changed.body["tls_name"]),
        (&json!("tls"), &json!(null))
    );
    assert_eq!(made.body["trusted"], false, "nobody is believed unasked");
    let changed = world.operator.patch(&path, json!({"trusted": true})).await.gave(200);
    assert_eq!(changed.body["trusted"], true);
    assert_eq!(changed.body["number_format_in"], "as_is");
    let patch = json!({"number_format_in": "e164_digits", "number_format_out": "trunk_prefix"});
    world.operator.patch(&path, patch).await.gave(200);
    let changed = world.operator.patch(&path, json!({"weight": 7})).await.gave(200);
    assert_eq!(changed.body["trusted"], true);
    assert_eq!(changed.body["number_format_in"], "e164_digits");
    assert_eq!(changed.body["number_format_out"], "trunk_prefix");
    let seen = (&changed.body["media_learning"], &changed.body["dtmf"]);
    assert_eq!(seen, (&json!(false), &json!("rfc4733")), "strict unless somebody says so");
    let patch = json!({"media_learning": true, "dtmf": "inband"});
    world.operator.patch(&path, patch).await.gave(200);
    let changed = world.operator.patch(&path, json!({"weight": 8})).await.gave(200);
    let seen = (&changed.body["media_learning"], &changed.body["dtmf"]);
    assert_eq!(seen, (&json!(true), &json!("inband")));
    let refused = world.operator.patch(&path, json!({"dtmf": "loud"})).await;
    assert_eq!(refused.refused(422, "validation_failed").place().0, "/dtmf");
    let list = world.operator.get("/v1/trunks?limit=1").await.gave(200);
    assert_eq!(list.body["has_more"], true);
    world.operator.delete(&path).await.gave(204);
    world.operator.get(&path).await.refused(404, "not_found");
    let loaded = world.db.database.relay.load_trunks().await.expect("trunks");
    assert_eq!(loaded.len(), 1);
}

#[tokio::test]
async fn a_trunk_says_in_which_networks_its_media_is() {
    let world = World::new().await;
    let body = json!({
        "name": "m", "role": "carrier", "source_networks": ["198.51.100.7"],
        "targets": ["198.51.100.7:5060"], "media_networks": ["203.0.113.0/25"],
    });
    let made = world.operator.post("/v1/trunks", body).await.gave(201);
    assert_eq!(made.body["media_networks"], json!(["203.0.113.0/25"]));
    let path = format!("/v1/trunks/{}", made.body["id"].as_str().expect("an id"));
    let patch = json!({"media_networks": ["192.0.2.0/24", "2001:db8::1"]});
    world.operator.patch(&path, patch).await.gave(200);
    let changed = world.operator.patch(&path, json!({"weight": 9})).await.gave(200);
    let networks = json!(["192.0.2.0/24", "2001:db8::1/128"]);
    assert_eq!(changed.body["media_networks"], networks);
    let wide = json!({"media_networks": ["192.0.2.1/24"]});
    let refused = world.operator.patch(&path, wide).await.refused(422, "validation_failed");
    assert_eq!(refused.place().0, "/media_networks/0");
    let many = json!({"media_networks": vec!["192.0.2.1"; 17]});
    let refused = world.operator.patch(&path, many).await.refused(422, "validation_failed");
    assert_eq!(refused.place().0, "/media_networks");
    let loaded = world.db.database.relay.load_trunks().await.expect("trunks");
    let media = loaded.iter().map(|trunk| trunk.media.networks.len());
    assert_eq!(media.max(), Some(2), "the relay knows them");
    let cleared = world.operator.patch(&path, json!({"media_networks": []})).await.gave(200);
    assert_eq!(cleared.body["media_networks"], json!([]));
}

#[tokio::test]
async fn the_media_of_a_trunk_is_encrypted_over_tls_alone() {
    let world = World::new().await;
    let body = |rest: Value| {
        let mut body = json!({
            "name": "c", "role": "carrier", "source_networks": ["198.51.100.7"],
            "targets": ["198.51.100.7:5061"],
        });
        body.as_object_mut().expect("an object").extend(rest.as_object().cloned().expect("one"));
        body
    };
    for transport in [json!({}), json!({"transport": "udp"}), json!({"transport": "tcp"})] {
        for srtp in ["optional", "required"] {
            let mut body = body(transport.clone());
            body["srtp"] = json!(srtp);
            let refused = world.operator.post("/v1/trunks", body).await;
            assert_eq!(refused.refused(422, "validation_failed").place().0, "/srtp");
        }
    }
    let made = body(json!({"transport": "tls", "srtp": "required"}));
    let made = world.operator.post("/v1/trunks", made).await.gave(201);
    assert_eq!(made.body["srtp"], "required");
    let path = format!("/v1/trunks/{}", made.id());
    let kept = world.operator.patch(&path, json!({"weight": 7})).await.gave(200);
    assert_eq!(kept.body["srtp"], "required");
    let loaded = world.db.database.relay.load_trunks().await.expect("trunks");
    let modes: Vec<_> = loaded.iter().map(|it| it.media.srtp).collect();
    assert!(modes.contains(&SrtpMode::Required), "the relay hears of it: {modes:?}");
    // Its keys never go another way: not by either change, and not by both.
    for patch in [json!({"transport": "udp"}), json!({"transport": "tcp", "srtp": "optional"})] {
        let refused = world.operator.patch(&path, patch).await;
        assert_eq!(refused.refused(422, "validation_failed").place().0, "/srtp");
    }
    let patch = json!({"transport": "udp", "srtp": "off"});
    world.operator.patch(&path, patch).await.gave(200);
    let refused = world.operator.patch(&path, json!({"srtp": "optional"})).await;
    assert_eq!(refused.refused(422, "validation_failed").place().0, "/srtp");
    let patch = json!({"transport": "tls", "srtp": "optional"});
    assert_eq!(world.operator.patch(&path, patch).await.gave(200).body["srtp"], "optional");
    let refused = world.operator.patch(&path, json!({"srtp": "dtls"})).await;
    assert_eq!(refused.refused(422, "validation_failed").place().0, "/srtp");
}

#[tokio::test]
async fn pools_change_and_count_their_numbers() {
    let world = World::new().await;
    let path = format!("/v1/pools/{}", world.pool);
    let changed = world.operator.patch(&path, json!({"cooling_days": 90, "trunks": []})).await;
    assert_eq!(changed.gave(200).body["trunks"], json!([]));
    world.admin.post("/v1/bindings", binding(1)).await.gave(201);
    let capacity = world.operator.get(&format!("{path}/capacity")).await.gave(200);
    assert_eq!((&capacity.body["available"], &capacity.body["bound"]), (&json!(29), &json!(1)));
    assert_eq!(
        (&capacity.body["low_since"], &capacity.body["forecast"]),
        (&json!(null), &json!(null))
    );
    let seen = world.admin.get(&path).await.gave(200);
    assert_eq!(seen.body.get("trunks"), None);
    let list = world.admin.get("/v1/pools").await.gave(200);
    assert_eq!(list.body["data"][0]["id"], world.pool);
}

#[tokio::test]
async fn an_import_answers_row_by_row() {
    let world = World::new().await;
    let numbers = ["17000001000", "1700000100x", "17000000001", "17000001000"];
    let body = json!({"pool": world.pool, "numbers": numbers});
    let answer = world.operator.post("/v1/numbers:import", body).await.gave(200);
    let results: Vec<_> = answer.body["results"].as_array().expect("rows").iter().collect();
    let words: Vec<_> = results.iter().map(|row| row["result"].as_str()).collect();
    assert_eq!(words, [Some("imported"), Some("invalid"), Some("known"), Some("known")]);
    assert_eq!(
        (&results[1]["code"], results[1].get("number")),
        (&json!("number_not_a_digit"), None)
    );

    let other = json!({"name": "other", "class": "mobile", "city": "Shanghai"});
    let other = world.operator.post("/v1/pools", other).await.id();
    let body = json!({"pool": other, "numbers": ["17000000001", "17000001001", "17000000001"]});
    let answer = world.operator.post("/v1/numbers:import", body).await.gave(200).body;
    let results: Vec<_> = answer["results"].as_array().expect("rows").iter().collect();
    let words: Vec<_> = results.iter().map(|row| row["result"].as_str()).collect();
    assert_eq!(words, [Some("other_pool"), Some("imported"), Some("other_pool")]);
    assert_eq!((&answer["known"], &answer["other_pool"]), (&json!(0), &json!(2)));

    let path = format!("/v1/numbers:import?pool={}", world.pool);
    let csv = "city,number\nShanghai,95001\nShanghai,700123456789012\n";
    let answer = world.operator.raw("POST", &path, csv, &[("content-type", "text/csv")]).await;
    assert_eq!(answer.gave(200).body["imported"], 2);
}

#[tokio::test]
async fn a_number_is_kept_back_and_given_back() {
    let world = World::new().await;
    let path = "/v1/numbers/17000000003";
    let reserved = world.operator.patch(path, json!({"state": "reserved"})).await.gave(200);
    assert_eq!(reserved.body["state"], "reserved");
    let list = world.operator.get("/v1/numbers?state=reserved").await.gave(200);
    assert_eq!(list.body["data"][0]["number"], "17000000003");
    world.operator.patch(path, json!({"state": "available"})).await.gave(200);
    world.operator.patch(path, json!({"state": "retired"})).await.gave(200);
    let again = world.operator.patch(path, json!({"state": "reserved"})).await;
    again.refused(409, "state_conflict");
    assert_eq!(world.operator.get(path).await.gave(200).body["state"], "retired");
    world.operator.get("/v1/numbers/17000009999").await.refused(404, "not_found");
}

#[tokio::test]
async fn a_subscriber_is_shown_masked_and_changes_number() {
    let world = World::new().await;
    let body = json!({"real_number": real_number(1), "age_band": "senior"});
    let made = world.admin.post("/v1/subscribers", body.clone()).await.gave(201);
    assert_eq!(made.body["masked"], "138****0001");
    let known = world.admin.post("/v1/subscribers", body).await.gave(200);
    assert_eq!(known.id(), made.id());
    let path = format!("/v1/subscribers/{}", made.id());
    let number = json!({"real_number": real_number(2)});
    let changed = world.admin.put(&format!("{path}/number"), number.clone()).await.gave(200);
    assert_eq!(changed.body["masked"], "138****0002");
    assert_eq!(world.admin.get(&path).await.gave(200).body, changed.body);
    let other = json!({"real_number": real_number(3)});
    let other = world.admin.post("/v1/subscribers", other).await.id();
    let taken = world.admin.put(&format!("/v1/subscribers/{other}/number"), number).await;
    assert_eq!(taken.refused(409, "already_exists").place(), ("/real_number", "taken"));
}

#[tokio::test]
async fn the_history_of_a_number_shows_its_changes_and_no_digit_of_it() {
    let world = World::new().await;
    let bound = world.admin.post("/v1/bindings", binding(1)).await.gave(201);
    let subscriber = bound.body["subscriber_id"].as_str().expect("an identifier");
    let path = format!("/v1/subscribers/{subscriber}");
    let history = async |query: &str| {
        world.admin.get(&format!("{path}/number-history{query}")).await.gave(200).body
    };
    let before = history("").await;
    let first = &before["data"][0];
    assert_eq!((before["data"].as_array().map(Vec::len), &first["until"]), (Some(1), &Value::Null));
    let commitment = |period: &Value| period["commitment"].as_str().expect("a text").to_owned();
    let is_hex = |text: &str| text.bytes().all(|it| it.is_ascii_digit() || it.is_ascii_lowercase());
    assert!(commitment(first).len() == 64 && is_hex(&commitment(first)));
    for n in [2, 2, 1] {
        let number = json!({"real_number": real_number(n)});
        world.admin.put(&format!("{path}/number"), number).await.gave(200);
    }
    let after = history("").await;
    let [back, second, was] = &after["data"].as_array().expect("a list")[..] else {
        panic!("two changes, and one that was none: {after:#}")
    };
    assert_eq!((commitment(was), &was["since"]), (commitment(first), &first["since"]));
    assert_eq!((&was["until"], &second["until"]), (&second["since"], &back["since"]));
    assert_eq!(back["until"], Value::Null);
    assert_ne!(commitment(second), commitment(was));
    for digits in [real_number(1), real_number(2), "138".to_owned() + "****"] {
        assert!(!after.to_string().contains(digits.trim_start_matches('+')));
    }
    let page = history("?limit=2").await;
    assert_eq!((&page["has_more"], &page["data"][1]), (&json!(true), second));
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    assert_eq!(history(&format!("?limit=2&cursor={cursor}")).await["data"], json!([was]));
    let bound = world.admin.get(&format!("/v1/bindings/{}", bound.id())).await.gave(200);
    assert_eq!(bound.body["masked"], "138****0001", "X stays, and leads there");
}

#[tokio::test]
async fn a_binding_lives_its_life() {
    let world = World::new().await;
    let made = world.admin.post("/v1/bindings", binding(1)).await.gave(201);
    let path = format!("/v1/bindings/{}", made.id());
    assert_eq!((made.header("location"), &made.body["state"]), (&*path, &json!("active")));
    assert_eq!(made.body["masked"], "138****0001");
    let again = world.admin.post("/v1/bindings", binding(1)).await.gave(200);
    assert_eq!(again.body, made.body);
    let mut other = binding(1);
    other["policy"]["ref"] = json!("another");
    world.admin.post("/v1/bindings", other).await.refused(409, "external_id_conflict");

    let suspended = world.admin.post(&format!("{path}/suspend"), json!({})).await.gave(200);
    assert_eq!(
        (&suspended.body["state"], &suspended.body["suspend_reason"]),
        (&json!("suspended"), &json!("tenant"))
    );
    world.admin.raw("POST", &format!("{path}/suspend"), "", &[]).await.gave(200);
    let resumed = world.admin.post(&format!("{path}/resume"), json!({})).await.gave(200);
    assert_eq!(resumed.body["state"], "active");
    let drop = json!({"drop_calls": true});
    let ended = world.admin.post(&format!("{path}/unbind"), drop.clone()).await.gave(200);
    assert_eq!(ended.body["state"], "released");
    world.admin.post(&format!("{path}/unbind"), drop).await.gave(200);
    world.admin.post(&format!("{path}/resume"), json!({})).await.refused(409, "state_conflict");
    let x = made.body["virtual_number"].as_str().expect("an X");
    let number = world.operator.get(&format!("/v1/numbers/{x}")).await.gave(200);
    assert_eq!(number.body["state"], "cooling");
    let list = world.admin.get("/v1/bindings?state=released&external_id=E-1").await.gave(200);
    assert_eq!(list.body["data"][0]["id"], made.body["id"]);
}

#[tokio::test]
async fn a_binding_takes_a_known_subscriber_a_named_number_and_a_term() {
    let world = World::new().await;
    let subscriber = json!({"real_number": real_number(1)});
    let subscriber = world.admin.post("/v1/subscribers", subscriber).await.id();
    let body = json!({
        "external_id": "E", "mode": "ax", "policy": {"ref": "P", "product": "life"},
        "subscriber": {"id": subscriber}, "virtual_number": "17000000007",
        "valid_until": "2025-07-01T00:00:00+08:00", "max_duration_s": 600,
        "metadata": {"desk": 7},
    });
    let made = world.admin.post("/v1/bindings", body).await.gave(201);
    assert_eq!(made.body["virtual_number"], "17000000007");
    assert_eq!(made.body["term"], "short");
    assert_eq!(made.body["valid_until"], "2025-06-30T16:00:00Z");
    assert_eq!(made.body["metadata"], json!({"desk": 7}));
}

#[tokio::test]
async fn lists_go_on_where_the_page_ended() {
    let world = World::new().await;
    for n in 0..5 {
        world.admin.post("/v1/bindings", binding(n)).await.gave(201);
    }
    let (mut seen, mut path) = (Vec::new(), "/v1/bindings?limit=2".to_owned());
    loop {
        let page = world.admin.get(&path).await.gave(200);
        let rows = page.body["data"].as_array().expect("rows");
        seen.extend(rows.iter().map(|row| row["external_id"].as_str().expect("a name").to_owned()));
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        path = format!("/v1/bindings?limit=2&cursor={cursor}");
    }
    seen.sort();
    assert_eq!(seen, ["E-0", "E-1", "E-2", "E-3", "E-4"]);
}

#[tokio::test]
async fn a_change_may_name_the_version_it_means() {
    let world = World::new().await;
    let made = world.admin.post("/v1/bindings", binding(1)).await.gave(201);
    let path = format!("/v1/bindings/{}/suspend", made.id());
    let wrong = [("if-match", "\"v9\"")];
    let refused = world.admin.json("POST", &path, json!({}), &wrong).await;
    refused.refused(412, "precondition_failed");
    let right = [("if-match", made.header("etag"))];
    let changed = world.admin.json("POST", &path, json!({}), &right).await.gave(200);
    assert_ne!(changed.header("etag"), made.header("etag"));
    let tenant = format!("/v1/tenants/{}", world.tenant);
    let refused = world.operator.json("PATCH", &tenant, json!({"name": "x"}), &wrong).await;
    refused.refused(412, "precondition_failed");
}

#[tokio::test]
async fn a_delete_takes_only_the_version_that_was_meant() {
    let world = World::new().await;
    let agent = json!({"employee_id": "4821", "name": "Li"});
    let agent = world.admin.post("/v1/agents", agent).await.gave(201);
    let trunk = json!({"name": "t", "role": "carrier", "source_networks": ["192.0.2.1"],
        "targets": ["192.0.2.1:5060"]});
    let trunk = world.operator.post("/v1/trunks", trunk).await.gave(201);
    let pool = json!({"name": "p", "class": "mobile", "trunks": [trunk.id()]});
    let pool = world.operator.post("/v1/pools", pool).await.gave(201);
    let pool = format!("/v1/pools/{}", pool.id());
    for (client, path, change) in [
        (&world.admin, format!("/v1/agents/{}", agent.id()), json!({"name": "Wang"})),
        (&world.operator, format!("/v1/trunks/{}", trunk.id()), json!({"name": "u"})),
    ] {
        let old = client.get(&path).await.header("etag").to_owned();
        let new = client.patch(&path, change).await.gave(200).header("etag").to_owned();
        for tag in [old.as_str(), "W/\"v2\"", "v2"] {
            let answer = client.raw("DELETE", &path, "", &[("if-match", tag)]).await;
            answer.refused(412, "precondition_failed");
        }
        client.get(&path).await.gave(200);
        assert_ne!(world.operator.get(&pool).await.body["trunks"], json!([]));
        client.raw("DELETE", &path, "", &[("if-match", &new)]).await.gave(204);
        client.get(&path).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_key_has_no_tag_that_could_match() {
    let world = World::new().await;
    let body = json!({"name": "crm", "role": "insurer_crm"});
    let path =
        format!("/v1/api-keys/{}", world.admin.post("/v1/api-keys", body).await.gave(201).id());
    let answer = world.admin.raw("DELETE", &path, "", &[("if-match", "\"v1\"")]).await;
    answer.refused(412, "precondition_failed");
    world.admin.raw("DELETE", &path, "", &[("if-match", "*")]).await.gave(204);
}
