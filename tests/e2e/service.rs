//! The real binary in a folder of its own: private PostgreSQL, free ports, logs at trace level.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use maskline::cli::demo::provision::{self, Provisioned, Sides};
use maskline::client::{Client, Endpoint};
use rustix::process::Signal;
use serde_json::Value;

use crate::certificates;
use crate::peers::{CARRIER, INSURER, Process, Scenario, Sipp, free_port, until};

/// The service, its folder and its addresses.
pub(crate) struct Service {
    pub(crate) folder: PathBuf,
    pub(crate) process: Process,
    /// `maskline media`, where the service has no media plane itself.
    pub(crate) media: Option<Process>,
    pub(crate) api: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Where trunks send SIP by UDP and TCP.
    pub(crate) sip: SocketAddr,
    /// Where they send it by TLS.
    pub(crate) sip_tls: SocketAddr,
    /// Where the tests' PBX and carrier listen.
    pub(crate) sides: Sides,
    /// What was made for the tests.
    pub(crate) made: Provisioned,
    pub(crate) operator: Client,
    runtime: tokio::runtime::Runtime,
}

/// What differs between the services of the tests.
#[derive(Clone, Copy, Default)]
struct Shape<'a> {
    /// The media plane is a process of its own.
    is_apart: bool,
    /// `whisper.mode`, where it is not "off".
    whisper: Option<&'static str>,
    /// Subscribers who reach nobody get the menu.
    has_menu: bool,
    /// Calls for these purposes are recorded.
    records: Option<&'static str>,
    /// Callers hear why they are refused.
    announces_refusals: bool,
    /// Calls have codes, and a key is not waited for longer than a second.
    has_codes: bool,
    /// Puts clips into a folder.
    clips: Option<fn(&Path)>,
    /// Webhooks reach receivers on this machine.
    tells_nearby: bool,
    /// The settings of its database, where that is not a private one in its folder.
    database: Option<&'a str>,
}

/// Starts the binary with this arguments and waits for its good end; its standard output.
fn run(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_maskline"))
        .args(arguments)
        .arg("--config")
        .arg(folder.join("maskline.toml"))
        .output()
        .expect("the binary");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "maskline {arguments:?} failed:\n{errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// Makes the root key and the first operator's key.
fn first_key(folder: &Path) -> String {
    run(folder, &["key", "init"]);
    run(folder, &["key", "create", "--role", "operator", "--quiet"]).trim().to_owned()
}

/// Starts the binary with this command and lets it run.
fn spawn(folder: &Path, command: &str, log: &str) -> Process {
    let mut process = Command::new(env!("CARGO_BIN_EXE_maskline"));
    process.arg(command).arg("--config").arg(folder.join("maskline.toml"));
    Process::start(process, folder.join(log))
}

/// One GET; `None` when nobody answers.
pub(crate) fn http_get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer))
}

impl Service {
    /// Starts it and makes tenant, trunks, pool, numbers, keys and agent.
    pub(crate) fn start(name: &str) -> Self {
        Self::start_with(name, "")
    }

    /// The same with more settings of `[sip]`.
    pub(crate) fn start_with(name: &str, more: &str) -> Self {
        Self::start_on(name, more, "")
    }

    /// The same with more listeners, each behind a comma. Subscribers hear nothing before the
    /// bridge.
    pub(crate) fn start_on(name: &str, more: &str, listeners: &str) -> Self {
        Self::start_in(name, more, listeners, Shape::default())
    }

    /// With calls that are announced as their purpose demands.
    pub(crate) fn start_whispering(name: &str) -> Self {
        Self::start_in(name, "", "", Shape { whisper: Some("by_purpose"), ..Shape::default() })
    }

    /// With the menu for subscribers who reach nobody.
    pub(crate) fn start_with_menu(name: &str) -> Self {
        let shape = Shape { has_menu: true, ..Shape::default() };
        Self::start_in(name, "", "", shape)
    }

    /// With words for callers who are refused, as it ships.
    pub(crate) fn start_announcing_refusals(name: &str) -> Self {
        let shape = Shape { announces_refusals: true, ..Shape::default() };
        Self::start_in(name, "", "", shape)
    }

    /// With calls that are announced with a code as their purpose demands, in the clips of a
    /// folder, and with the menu.
    pub(crate) fn start_speaking(name: &str, clips: fn(&Path)) -> Self {
        let whisper = Some("by_purpose");
        let shape = Shape {
            whisper,
            has_menu: true,
            has_codes: true,
            clips: Some(clips),
            ..Shape::default()
        };
        Self::start_in(name, "", "", shape)
    }

    /// With calls that are announced and recorded, by this process or by the one of its media
    /// plane.
    pub(crate) fn start_recording(name: &str, is_apart: bool) -> Self {
        let whisper = Some("announce");
        let shape = Shape { is_apart, whisper, records: Some("all"), ..Shape::default() };
        Self::start_in(name, "", "", shape)
    }

    /// With calls that are announced as their purpose demands and recorded, and with webhooks that
    /// reach receivers on this machine: insurers learn all that they ever can.
    pub(crate) fn start_telling(name: &str) -> Self {
        let (whisper, records) = (Some("by_purpose"), Some("all"));
        let shape = Shape { whisper, records, tells_nearby: true, ..Shape::default() };
        Self::start_in(name, "", "", shape)
    }

    /// With calls that are announced, of which those for one purpose alone would be recorded.
    pub(crate) fn start_recording_claims(name: &str) -> Self {
        let (whisper, records) = (Some("announce"), Some("claim"));
        Self::start_in(name, "", "", Shape { whisper, records, ..Shape::default() })
    }

    /// The same with the media plane in a process of its own.
    pub(crate) fn start_apart(name: &str) -> Self {
        Self::start_apart_with(name, "")
    }

    /// With the database of these settings.
    pub(crate) fn start_at(name: &str, database: &str) -> Self {
        Self::start_in(name, "", "", Shape { database: Some(database), ..Shape::default() })
    }

    /// The same with more settings of `[sip]`.
    pub(crate) fn start_apart_with(name: &str, more: &str) -> Self {
        Self::start_in(name, more, "", Shape { is_apart: true, ..Shape::default() })
    }

    fn start_in(name: &str, more: &str, listeners: &str, shape: Shape<'_>) -> Self {
        let Shape { is_apart, whisper, has_menu, announces_refusals, has_codes, .. } = shape;
        let whisper = whisper.unwrap_or("off");
        let folder =
            std::env::temp_dir().join(format!("maskline-e2e-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a writable folder for temporary files");
        // Under root, PostgreSQL runs as another user and must reach its directory.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("our folder");
        let [api, admin, sip, sip_tls] =
            [(); 4].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port("127.0.0.1"))));
        let socket = if is_apart {
            format!("socket = \"{}/media.sock\"\n", folder.display())
        } else {
            String::new()
        };
        let recording = if let Some(purposes) = shape.records {
            let folder = folder.join("recordings");
            format!("[recording]\nfolder = \"{}\"\npurposes = \"{purposes}\"\n", folder.display())
        } else {
            String::new()
        };
        let prompts = shape.clips.map(|fill| {
            let folder = folder.join("prompts");
            fill(&folder);
            format!("prompts = \"{}\"\n", folder.display())
        });
        let prompts = prompts.unwrap_or_default();
        let timeout = if has_codes { "1s" } else { "6s" };
        let private = format!("[database]\ndata_dir = \"{}/pg\"\n", folder.display());
        let database = shape.database.unwrap_or(&private);
        let config = format!(
            "drain_timeout = \"2s\"\n{database}\
             [keys]\nroot_file = \"{0}/root.key\"\n[api]\nlisten = \"{api}\"\n\
             [admin]\nlisten = \"{admin}\"\n[sip]\n{more}probe_interval = \"0s\"\n\
             listen = [\"{sip}\", \"tcp:{sip}\", \"tls:{sip_tls}\"{listeners}]\n\
             tls_certificate = \"{1}/relay.pem\"\ntls_key = \"{1}/relay.key\"\n\
             [media]\nbind = \"127.0.0.1\"\nthreads = 1\n{socket}\
             announce_refusals = {announces_refusals}\n{prompts}\
             [whisper]\nmode = \"{whisper}\"\ncode = {has_codes}\ntimeout = \"{timeout}\"\n\
             [menu]\nenabled = {has_menu}\n{recording}\
             [webhooks]\nallow_http = {2}\nallow_private = {2}\n[log]\nfilter = \"trace\"\n",
            folder.display(),
            certificates::folder().display(),
            shape.tells_nearby
        );
        fs::write(folder.join("maskline.toml"), config).expect("a writable folder");
        let operator_key = first_key(&folder);
        let media = is_apart.then(|| spawn(&folder, "media", "media.log"));
        let mut process = spawn(&folder, "serve", "service.log");
        process.await_answer("the service", || {
            http_get(api, "/openapi.json").filter(|(status, _)| *status == 200)
        });
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let url = format!("http://{api}");
        let sides = Sides {
            insurer: SocketAddr::new(INSURER.parse().expect("an address"), free_port(INSURER)),
            carrier: SocketAddr::new(CARRIER.parse().expect("an address"), free_port(CARRIER)),
            softphones: [None; 2],
        };
        let key = || operator_key.as_str().into();
        let made = runtime
            .block_on(provision::provision(&url, key(), sides))
            .expect("the API makes what is needed");
        until("readiness", || http_get(admin, "/readyz").filter(|(status, _)| *status == 200));
        let endpoint = Endpoint { url: url.clone(), key: Some(key()), ..Endpoint::default() };
        let operator = Client::new(&endpoint).expect("a key is given");
        Self { folder, process, media, api, admin, sip, sip_tls, sides, made, operator, runtime }
    }

    /// Binds a policy to a virtual number.
    pub(crate) fn bind(&self, external_id: &str, real_number: &str) -> Value {
        self.bind_from(&self.made.pool, external_id, real_number)
    }

    /// Binds a policy to a virtual number of this pool.
    pub(crate) fn bind_from(&self, pool: &str, external_id: &str, real_number: &str) -> Value {
        let request = provision::bind(&self.made.crm, pool, external_id, real_number);
        self.runtime.block_on(request).expect("a free number")
    }

    /// Binds a policy as whoever has this key.
    pub(crate) fn bind_with(&self, key: &str, external_id: &str, real_number: &str) -> Value {
        let url = format!("http://{}", self.api);
        let endpoint = Endpoint { url, key: Some(key.into()), ..Endpoint::default() };
        let client = Client::new(&endpoint).expect("a key is given");
        let request = provision::bind(&client, &self.made.pool, external_id, real_number);
        self.runtime.block_on(request).expect("a free number")
    }

    /// A carrier that answers this many calls.
    pub(crate) fn answering_carrier(&self, calls: u32) -> Sipp {
        let waiting = Scenario {
            file: "answers.xml",
            status: "",
            local: self.sides.carrier,
            remote: None,
            fields: "",
            calls,
            calls_per_second: 10,
        };
        Sipp::start(&self.folder, &waiting)
    }

    /// Reads from the API as the CRM.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.runtime.block_on(self.made.crm.get(path)).expect("an answer")
    }

    /// Reads from the API as the operator.
    pub(crate) fn operator_get(&self, path: &str) -> Value {
        self.runtime.block_on(self.operator.get(path)).expect("an answer")
    }

    /// Changes something as the CRM.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.runtime.block_on(self.made.crm.post(path, body)).expect("an answer")
    }

    /// Changes something as the tenant's administrator.
    pub(crate) fn administer(&self, path: &str, body: &Value) -> Value {
        self.runtime.block_on(self.made.admin.post(path, body)).expect("an answer")
    }

    /// Reads as the tenant's administrator.
    pub(crate) fn look(&self, path: &str) -> Value {
        self.runtime.block_on(self.made.admin.get(path)).expect("an answer")
    }

    /// Changes something as the operator.
    pub(crate) fn operate(&self, path: &str, body: &Value) -> Value {
        self.runtime.block_on(self.operator.post(path, body)).expect("an answer")
    }

    /// Makes another trunk of the tenant, where its PBX is, with these terms, and waits until the
    /// relay knows it.
    pub(crate) fn add_pbx(&self, terms: &Value) -> Value {
        let trunks = self.operator_get("/v1/trunks");
        let trunks = trunks["data"].as_array().expect("a list");
        let known = trunks.iter().find(|trunk| trunk["role"] == "insurer").expect("a PBX");
        let mut trunk = terms.clone();
        for field in ["role", "tenant_id", "source_networks", "targets"] {
            if trunk.get(field).is_none() {
                trunk[field] = known[field].clone();
            }
        }
        let made = self.operate("/v1/trunks", &trunk);
        let id = made["id"].as_str().expect("an identifier");
        let is_known = |(_, page): &(u16, String)| {
            page.lines()
                .any(|line| line.starts_with("maskline_trunk_targets{") && line.contains(id))
        };
        until("the new trunk", || http_get(self.admin, "/metrics").filter(is_known));
        made
    }

    /// The text of a problem: a request of the CRM that must be refused.
    pub(crate) fn refused(&self, path: &str, body: &Value) -> String {
        let outcome = self.runtime.block_on(self.made.crm.post(path, body));
        outcome.expect_err("it is refused").to_string()
    }

    /// Waits until so many calls are on record; all that are, newest first.
    pub(crate) fn records(&self, count: usize) -> Vec<Value> {
        until("the records", || {
            let calls = self.all_records();
            (calls.len() >= count).then_some(calls)
        })
    }

    /// Page after page, to the last.
    fn all_records(&self) -> Vec<Value> {
        let mut calls = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/v1/calls?limit=200{cursor}"));
            calls.extend(page["data"].as_array().cloned().unwrap_or_default());
            let Some(next) = page["next_cursor"].as_str() else { return calls };
            cursor = format!("&cursor={next}");
        }
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> Vec<u8> {
        fs::read(&self.process.output).expect("its output")
    }

    /// Ends it as a fault of the machine would, and starts it again.
    pub(crate) fn kill_and_start_again(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait();
        self.process = spawn(&self.folder, "serve", "service-2.log");
        let admin = self.admin;
        until("readiness", || http_get(admin, "/readyz").filter(|(status, _)| *status == 200));
        // The client's connection has ended with the process; its first request finds that out.
        until("the API", || self.runtime.block_on(self.made.crm.get("/v1/calls")).ok());
    }

    /// Asks it to end and waits for its good end.
    pub(crate) fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.wait();
        assert!(status.success(), "it ended with {status}:\n{}", self.process.text());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.process.signal(Signal::TERM);
        self.process.wait();
        if std::thread::panicking() {
            eprintln!("what it wrote is in {}", self.folder.display());
        } else {
            // The folder is temporary in any case.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
