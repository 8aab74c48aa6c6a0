//! Calls that are recorded by the real binary: what each side has said is fetched once, and lies
//! nowhere in clear.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use maskline::rtp::g711::encode_a_law;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::http::{Request, ask};
use crate::leaks::{files as files_since, sql};
use crate::peers::{Softphone, until};
use crate::service::Service;
use crate::sound;

const REAL: &str = "+8613800001234";
const AGENT_HZ: u32 = 440;
const SUBSCRIBER_HZ: u32 = 880;
/// Three seconds of both sides on the disk.
const BYTES_OF_A_TALK: u64 = 60_000;
/// Longer than any of the calls.
const CALL_SECONDS: u32 = 90;

/// A subscriber who answers every call, and whom an agent reaches.
struct Talk {
    service: Service,
    x: String,
    subscriber: Softphone,
}

impl Talk {
    fn new(name: &str, is_apart: bool) -> Self {
        Self::on(Service::start_recording(name, is_apart))
    }

    fn on(service: Service) -> Self {
        let binding = service.bind("E-1", REAL);
        let x = binding["virtual_number"].as_str().expect("a number").to_owned();
        let subscriber = Self::subscriber(&service);
        Self { service, x, subscriber }
    }

    fn subscriber(service: &Service) -> Softphone {
        let at = (service.sides.carrier.ip(), service.sides.carrier.port());
        Softphone::start_for(&service.folder, REAL, at, SUBSCRIBER_HZ, None)
    }

    /// The agent's phone, which calls.
    fn agent(&self) -> Softphone {
        let service = &self.service;
        let at = (service.sides.insurer.ip(), service.sides.insurer.port());
        let to = format!("sip:{}@{}", self.x, service.sip);
        let to = Some((to.as_str(), CALL_SECONDS));
        Softphone::start_for(&service.folder, "4821", at, AGENT_HZ, to)
    }

    /// The same in a call of which some seconds are on the disk; and that file.
    fn begin(&self) -> (Softphone, PathBuf) {
        let agent = self.agent();
        let partial = self.service.folder.join("recordings/five_years/partial");
        let file = until("some seconds of sound on the disk", || {
            let files = fs::read_dir(&partial).ok()?;
            let long =
                |path: &PathBuf| fs::metadata(path).is_ok_and(|it| it.len() > BYTES_OF_A_TALK);
            files.filter_map(|entry| Some(entry.ok()?.path())).find(long)
        });
        (agent, file)
    }

    /// The newest recording, when there are so many.
    fn recording(&self, count: usize) -> Value {
        until("the recording", || {
            let list = self.service.look("/v1/recordings");
            let list = list["data"].as_array().cloned().expect("a list");
            (list.len() == count).then(|| list[0].clone())
        })
    }

    fn link(&self, recording: &Value) -> String {
        let id = recording["id"].as_str().expect("an identifier");
        let link = self.service.administer(&format!("/v1/recordings/{id}/links"), &json!({}));
        link["path"].as_str().expect("a path").to_owned()
    }
}

/// One GET without a key: status, headers, body.
fn fetch(service: &Service, path: &str) -> (u16, String, Vec<u8>) {
    let answer = ask(service.api, &Request::get(path));
    (answer.status, answer.head.to_lowercase(), answer.body)
}

/// The caller and the callee of a fetched file.
fn tracks(wav: Vec<u8>) -> [Vec<i16>; 2] {
    let mut reader = hound::WavReader::new(Cursor::new(wav)).expect("a WAV file");
    assert_eq!((reader.spec().channels, reader.spec().sample_rate), (2, 8_000));
    let samples: Vec<i16> = reader.samples().map(|sample| sample.expect("a sample")).collect();
    [0, 1].map(|side| samples.iter().skip(side).step_by(2).copied().collect())
}

fn each_side_is_on_its_own_track(tracks: &[Vec<i16>; 2]) {
    let tones = [(AGENT_HZ, SUBSCRIBER_HZ), (SUBSCRIBER_HZ, AGENT_HZ)];
    for (track, (own, other)) in tracks.iter().zip(tones) {
        assert!(track.len() > 16_000, "{} samples", track.len());
        // The second before the last: nothing that begins or ends is in it.
        let second = &track[track.len() - 12_000..track.len() - 4_000];
        let (own, other) = (sound::share(second, own), sound::share(second, other));
        assert!(own > 0.9 && other < 0.05, "{own:.2} of its tone, {other:.2} of the other");
    }
}

/// Whether eight samples of this track in a row stand in a file as they were sent.
fn holds_sound(file: &[u8], track: &[i16]) -> bool {
    let said: Vec<u8> = track.iter().map(|sample| encode_a_law(*sample)).collect();
    // Of silence there is much everywhere.
    let words = said.windows(8).filter(|word| word.iter().any(|byte| *byte != word[0]));
    let words: HashSet<&[u8]> = words.collect();
    file.windows(8).any(|word| words.contains(word))
}

/// The same of large files: whether one of some long words of the track stands there.
fn holds_words(file: &[u8], track: &[i16]) -> bool {
    let said: Vec<u8> = track.iter().map(|sample| encode_a_law(*sample)).collect();
    holds_middle(file, &said)
}

/// The same of 16 bits a sample.
fn holds_samples(file: &[u8], track: &[i16]) -> bool {
    let said: Vec<u8> = track.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    holds_middle(file, &said)
}

fn holds_middle(file: &[u8], said: &[u8]) -> bool {
    let middle = said.len() / 4 * 2;
    let words = [0, 50, 100, 150].map(|at| &said[middle + at..middle + at + 24]);
    words.into_iter().any(|word| memchr::memmem::find(file, word).is_some())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() { files_below(&path) } else { vec![path] }
        })
        .collect()
}

/// Ends the agent's call; the recording and its two tracks.
fn ends_and_is_fetched(talk: &Talk, mut agent: Softphone, count: usize) -> [Vec<i16>; 2] {
    let service = &talk.service;
    agent.process.signal(Signal::TERM);
    agent.process.wait();
    let recording = talk.recording(count);
    assert_eq!((&recording["complete"], &recording["lost_packets"]), (&json!(true), &json!(0)));
    let path = talk.link(&recording);
    let (status, head, wav) = fetch(service, &path);
    assert_eq!(status, 200, "{head}");
    assert!(head.contains("content-type: audio/wav"), "{head}");
    assert!(head.contains("x-recording-complete: true"), "{head}");
    let tracks = tracks(wav);
    each_side_is_on_its_own_track(&tracks);

    let (status, _, _) = fetch(service, &path);
    assert_eq!(status, 404, "a link works once");
    let deeds = "select string_agg(action, ' ' order by id) from audit_entry \
                 where action like 'recording.%'";
    assert!(sql(service, deeds).contains("recording.linked recording.fetched"));
    let record = &service.records(count)[0];
    assert_eq!(record["marks"], json!(["recorded"]), "{record}");
    assert_eq!(record["id"], recording["call_id"]);
    tracks
}

#[test]
fn both_sides_of_a_call_are_fetched_once_and_a_crash_leaves_what_was_said_until_then() {
    let mut talk = Talk::new("recorded", false);
    let settings = fs::metadata(talk.service.folder.join("maskline.toml"));
    let started_at = settings.and_then(|file| file.modified()).expect("the settings");
    let (agent, _) = talk.begin();
    let tracks = ends_and_is_fetched(&talk, agent, 1);
    let files = files_below(&talk.service.folder.join("recordings"));
    assert_eq!(files.len(), 1, "{files:?}");
    let file = fs::read(&files[0]).expect("a recording");
    for track in &tracks {
        let in_clear: Vec<u8> = track.iter().map(|sample| encode_a_law(*sample)).collect();
        assert!(holds_sound(&in_clear, track), "in clear it would be found");
        assert!(holds_words(&in_clear, track), "in clear it would be found");
        assert!(!holds_sound(&file, track), "the file holds sound in clear");
    }

    // Nothing of it is in the database, its log of writes or ours either.
    let mut surfaces = files_since(&talk.service.folder.join("pg"), started_at);
    surfaces.push(("log".to_owned(), talk.service.log()));
    assert!(surfaces.len() > 10, "there is something to search");
    for (name, bytes) in &surfaces {
        for track in &tracks {
            assert!(!holds_words(bytes, track), "{name} holds sound in clear");
        }
    }

    // The next call is cut off by a crash.
    let (agent, partial) = talk.begin();
    talk.service.kill_and_start_again();
    drop(agent);
    let recording = talk.recording(2);
    assert_eq!(recording["complete"], json!(false), "{recording}");
    let (status, head, wav) = fetch(&talk.service, &talk.link(&recording));
    assert_eq!(status, 200, "{head}");
    assert!(head.contains("x-recording-complete: false"), "{head}");
    each_side_is_on_its_own_track(&self::tracks(wav));
    until("its lasting name", || (!partial.exists()).then_some(()));
}

#[test]
fn the_process_of_the_media_plane_records_and_the_service_finds_it_even_after_its_crash() {
    let mut talk = Talk::new("recorded-apart", true);
    let (agent, _) = talk.begin();
    ends_and_is_fetched(&talk, agent, 1);

    let (agent, _) = talk.begin();
    talk.service.media.take().expect("a process").signal(Signal::KILL);
    let recording = talk.recording(2);
    assert_eq!(recording["complete"], json!(false), "{recording}");
    let (status, _, wav) = fetch(&talk.service, &talk.link(&recording));
    assert_eq!(status, 200);
    each_side_is_on_its_own_track(&tracks(wav));
    drop(agent);
    drop(talk.subscriber);
}

/// The files that the service has open, wherever they are.
fn open_files(service: &Service) -> BTreeSet<PathBuf> {
    let folder = format!("/proc/{}/fd", service.process.id());
    let entries = fs::read_dir(folder).expect("a process").filter_map(Result::ok);
    let names = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    // Sockets, pipes and the like have no path.
    names.filter(|name| name.is_absolute() && !name.starts_with("/dev")).collect()
}

/// What lies in the folder of the service, but for the database and the phones, which may hold what
/// they hear.
fn own_files(service: &Service) -> BTreeSet<PathBuf> {
    let is_own = |path: &PathBuf| {
        let below = path.strip_prefix(&service.folder).expect("below the folder");
        let top = below.iter().next().map(|name| name.to_string_lossy().into_owned());
        top.is_some_and(|name| name != "pg" && !name.starts_with("phone-"))
    };
    files_below(&service.folder).into_iter().filter(is_own).collect()
}

#[test]
fn a_call_that_is_not_recorded_leaves_no_sound_and_no_file_anywhere() {
    let talk = Talk::on(Service::start_recording_claims("unrecorded"));
    let service = &talk.service;
    let settings = fs::metadata(service.folder.join("maskline.toml"));
    let started_at = settings.and_then(|file| file.modified()).expect("the settings");
    let (files, open) = (own_files(service), open_files(service));
    assert!(files.len() > 2 && open.len() > 1, "{files:?} {open:?}");

    let mut agent = talk.agent();
    let [from_subscriber, from_agent] = [(&agent, SUBSCRIBER_HZ), (&talk.subscriber, AGENT_HZ)]
        .map(|(phone, hz)| {
            until("two seconds of the other's tone", || {
                let heard = phone.heard_so_far()?;
                let last = heard.get(heard.len().checked_sub(16_000)?..)?.to_vec();
                let is_tone = last.chunks(8_000).all(|second| sound::share(second, hz) > 0.9);
                is_tone.then_some(last)
            })
        });
    let tracks = [from_subscriber, from_agent];
    assert_eq!(own_files(service), files, "while they talk");
    assert_eq!(open_files(service), open, "while they talk");
    agent.process.signal(Signal::TERM);
    agent.process.wait();
    let record = &service.records(1)[0];
    assert_eq!((&record["marks"], &record["cause"]), (&json!([]), &json!("caller_hangup")));
    assert_eq!(own_files(service), files, "afterwards");
    assert_eq!(service.look("/v1/recordings")["data"], json!([]));

    let in_clear: Vec<u8> = tracks[0].iter().map(|sample| encode_a_law(*sample)).collect();
    assert!(holds_words(&in_clear, &tracks[0]), "in clear it would be found");
    let as_heard = fs::read(talk.subscriber.file().expect("what it heard")).expect("a file");
    assert!(holds_samples(&as_heard, &tracks[1]), "as samples it would be found");
    let mut surfaces = files_since(&service.folder.join("pg"), started_at);
    surfaces.extend(
        own_files(service)
            .iter()
            .map(|path| (path.display().to_string(), fs::read(path).expect("a readable file"))),
    );
    assert!(surfaces.len() > 10, "there is something to search");
    for (name, bytes) in &surfaces {
        for track in &tracks {
            assert!(!holds_words(bytes, track), "{name} holds sound");
            assert!(!holds_samples(bytes, track), "{name} holds sound as samples");
        }
    }
}
