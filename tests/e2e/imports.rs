//! Files of bindings by the real binary: handed over by a command, and bound to their end though
//! the service is killed in between.

use std::fs;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::commands::at;
use crate::peers::until;
use crate::service::Service;

/// Several times what one transaction binds.
const ROWS: usize = 2_500;

#[test]
fn a_file_is_bound_to_its_end_though_the_service_is_killed() {
    let mut service = Service::start("imports");
    let numbers: Vec<String> = (1_000..1_000 + ROWS).map(|n| format!("1700000{n}")).collect();
    let import = json!({"pool": service.made.pool, "numbers": numbers});
    service.operate("/v1/numbers:import", &import);
    let row = |n: usize| format!("F-{n},ax,P-{n},+861380000{n:04}\n");
    let header = "external_id,mode,policy.ref,subscriber.real_number\n".to_owned();
    let file = service.folder.join("portfolio.csv");
    fs::write(&file, header + &(0..ROWS).map(row).collect::<String>()).expect("a writable folder");
    let file = file.display().to_string();

    let key = service.made.crm_key.expose_secret().to_owned();
    let run = at(service.api, &key);
    let begun = run(&["imports", "create", &file, "--no-wait", "-o", "json"], "").json();
    assert_eq!((&begun["state"], &begun["rows_read"]), (&json!("running"), &json!(ROWS)));
    let id = begun["id"].as_str().expect("an id").to_owned();
    let look = || run(&["imports", "get", &id, "-o", "json"], "").json();
    until("the first rows", || (look()["rows_created"] != 0).then_some(()));
    service.kill_and_start_again();
    let done = until("the end", || Some(look()).filter(|import| import["state"] != "running"));
    assert_eq!(done["state"], "done");
    let counts = |import: &Value| {
        ["rows_created", "rows_existing", "rows_failed"].map(|name| import[name].clone())
    };
    assert_eq!(counts(&done), [json!(ROWS), json!(0), json!(0)]);

    // The same policies again, beside one that nobody can read.
    let rows: String = (0..10).map(row).collect();
    fs::write(&file, format!("external_id,mode,policy.ref,subscriber.real_number\n{rows}x,ax\n"))
        .expect("a writable folder");
    let told = run(&["imports", "create", &file, "-o", "csv"], "");
    told.refused("1 rows were refused: `maskline imports errors imp_");
    assert!(told.all().contains("11 of 11 rows, 1 refused"), "{}", told.all());
    let listed = run(&["imports", "list", "-o", "json"], "").json();
    assert_eq!(counts(&listed[0]), [json!(0), json!(10), json!(1)]);
    let errors = run(&["imports", "errors", listed[0]["id"].as_str().expect("an id")], "");
    let line: Value = serde_json::from_str(&errors.all()).expect("one line");
    assert_eq!((&line["row"], &line["problem"]["code"]), (&json!(11), &json!("malformed_body")));
    run(&["imports", "cancel", &id], "").refused("state_conflict");
    let log = service.log();
    assert!(!String::from_utf8_lossy(&log).contains("1380000"), "a real number was logged");
}
