//! Recordings on their way to whoever has a link: no key is asked for. However slowly they are
//! read, no thread waits for it, and there are never many of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;
use tower_http::catch_panic::CatchPanicLayer;

use super::Api;
use super::error::{ApiError, Code};
use super::layers::{self, REQUEST_TIME_MAX};
use crate::domain::id::{RecordingId, TenantId};
use crate::recording::{
    Extent, Outcome, PIECE_BYTES_MAX, Pieces, Place, Reader, RecordingError, Wav, fingerprint,
};
use crate::store::convert::unix_ms;
use crate::store::recording::Recording;

/// The most recordings that are fetched at a time.
const DOWNLOADS_MAX: usize = 8;
/// The most of them that are one tenant's.
const TENANT_DOWNLOADS_MAX: usize = 2;
/// A client may listen while it fetches, and no slower: a second takes 32,000 bytes.
const PATIENCE: Patience = Patience {
    piece: Duration::from_secs(30),
    start: Duration::from_secs(60),
    bytes_per_second: 32_000,
};

/// The least that is read of a file in a second before the first byte of it is sent.
const CHECKED_PER_SECOND: u64 = 5_000_000;

/// How slow a client may be.
#[derive(Clone, Copy)]
struct Patience {
    /// How long it may take for a piece of [`PIECE_BYTES_MAX`].
    piece: Duration,
    /// How much longer it may take for all than at that speed.
    start: Duration,
    bytes_per_second: u64,
}

/// Who fetches recordings now.
#[derive(Debug, Default)]
pub(super) struct Downloads(Mutex<BTreeMap<TenantId, usize>>);

/// The place of one download, free again when it is dropped.
#[derive(Debug)]
struct Download {
    downloads: Arc<Downloads>,
    tenant: TenantId,
}

impl Downloads {
    fn begin(self: &Arc<Self>, tenant: TenantId) -> Result<Download, ApiError> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = if running.values().sum::<usize>() >= DOWNLOADS_MAX {
            Some(Code::DownloadsFull)
        } else if running.get(&tenant).copied().unwrap_or(0) >= TENANT_DOWNLOADS_MAX {
            Some(Code::TooManyDownloads)
        } else {
            None
        };
        if let Some(code) = full {
            count("full");
            return Err(code.into());
        }
        *running.entry(tenant).or_insert(0) += 1;
        Ok(Download { downloads: Arc::clone(self), tenant })
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let mut running = self.downloads.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.tenant) {
            *count -= 1;
        }
        running.retain(|_, count| *count > 0);
    }
}

fn count(result: &'static str) {
    metrics::counter!("maskline_recording_downloads_total", "result" => result).increment(1);
}

/// Where links lead.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/recordings/{token}", get(fetch))
        .method_not_allowed_fallback(layers::method_not_allowed)
        .layer(CatchPanicLayer::custom(layers::panicked))
}

/// How long it may take until the first byte can be sent: all of the file is read twice before.
const fn checked_within(bytes: u64) -> Duration {
    let reading = Duration::from_secs(bytes / CHECKED_PER_SECOND);
    REQUEST_TIME_MAX.saturating_add(reading)
}

async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    timeout(time, work).await.unwrap_or_else(|_| {
        tracing::warn!("A recording was not found or checked in time");
        Err(Code::Timeout.into())
    })
}

async fn fetch(State(api): State<Api>, Path(token): Path<String>) -> Result<Response, ApiError> {
    let hash = api.store().vault().api_key_hash(token.as_bytes());
    let found = within(REQUEST_TIME_MAX, async {
        Ok(api.store().find_linked_recording(&hash, api.now().wall).await?)
    });
    let recording = found.await?.ok_or_else(|| ApiError::from(Code::NotFound))?;
    within(checked_within(recording.bytes), give_out(&api, &hash, recording)).await
}

/// The link is used up when the first byte can be sent, and not before.
async fn give_out(api: &Api, hash: &[u8; 32], recording: Recording) -> Result<Response, ApiError> {
    let not_found = || ApiError::from(Code::NotFound);
    let folder = api.recordings().ok_or_else(not_found)?.to_owned();
    let (tenant, id, is_complete) = (recording.tenant, recording.id, recording.complete);
    let download = api.downloads().begin(tenant)?;
    // It holds its place as long as it reads, whether or not somebody still waits for the answer.
    let checked = spawn_blocking(move || (check(&recording, &folder), download)).await;
    let (checked, download) = checked.map_err(failed)?;
    let (file, wrapped) = match checked {
        Ok(checked) => checked,
        Err(unfit) => return Err(refuse(api, hash, id, unfit).await),
    };
    let key = api.store().open_recording_key(tenant, id, &wrapped).await?;
    // What is known not to be whole is given out as far as it can be read.
    let extent = if is_complete { Extent::Whole } else { Extent::Prefix };
    let measured =
        spawn_blocking(move || (Wav::measure(io::BufReader::new(file), key, extent), download));
    let (measured, download) = measured.await.map_err(failed)?;
    let wav = match measured {
        Ok(wav) => wav,
        Err(error) => return Err(refuse(api, hash, id, error.into()).await),
    };
    let (length, outcome) = (wav.bytes(), wav.outcome());
    let pieces = wav.pieces().map_err(failed)?;
    if !api.store().use_recording_link(hash, api.now().wall).await? {
        return Err(not_found());
    }
    let (read, write) = tokio::io::duplex(PIECE_BYTES_MAX);
    tokio::spawn(send(pieces, write, length, PATIENCE, download));
    let mut response = Body::from_stream(ReaderStream::new(read)).into_response();
    let name = format!("attachment; filename=\"{id}.wav\"");
    let is_whole = match outcome {
        Outcome::Complete(_) => "true",
        Outcome::CutOff => "false",
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("audio/wav")),
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::HeaderName::from_static("x-recording-complete"),
            HeaderValue::from_static(is_whole),
        ),
    ];
    response.headers_mut().extend(headers.map(|(name, value)| (Some(name), value)));
    if let Ok(name) = HeaderValue::try_from(name) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// Sends a WAV file as fast as it is read, within its time. What is cut off is shorter than was
/// promised, so that the client sees it.
async fn send<R: Read + Seek + Send + 'static>(
    pieces: Pieces<R>,
    out: DuplexStream,
    bytes: u64,
    patience: Patience,
    download: Download,
) {
    let time = patience.start + Duration::from_secs(bytes / patience.bytes_per_second);
    let sent = timeout(time, send_pieces(pieces, out, patience.piece)).await;
    drop(download);
    match sent.unwrap_or(Err(NotSent::TooSlow)) {
        Ok(()) => count("sent"),
        Err(NotSent::TooSlow) => {
            count("too_slow");
            tracing::info!("A recording was read too slowly and is cut off");
        }
        Err(NotSent::Gone) => count("left"),
        Err(NotSent::Unreadable(error)) => {
            count("failed");
            tracing::error!(%error, "A recording cannot be read any more: {error}");
        }
    }
}

/// Why a recording was not sent whole.
enum NotSent {
    TooSlow,
    Gone,
    Unreadable(io::Error),
}

/// A thread is taken for each piece, and given back while the client reads it.
async fn send_pieces<R: Read + Seek + Send + 'static>(
    mut pieces: Pieces<R>,
    mut out: DuplexStream,
    time: Duration,
) -> Result<(), NotSent> {
    loop {
        let reading = spawn_blocking(move || {
            let piece = pieces.next_piece();
            (pieces, piece)
        });
        let (rest, piece) =
            reading.await.map_err(|error| NotSent::Unreadable(io::Error::other(error)))?;
        let piece = piece.map_err(|error| NotSent::Unreadable(io::Error::other(error)))?;
        if piece.is_empty() {
            return Ok(());
        }
        let written = timeout(time, out.write_all(&piece)).await;
        written.map_err(|_| NotSent::TooSlow)?.map_err(|_| NotSent::Gone)?;
        pieces = rest;
    }
}

/// What went wrong is written down here; the client learns nothing of it.
fn failed(error: impl std::fmt::Display) -> ApiError {
    tracing::error!(%error, "A recording cannot be fetched: {error}");
    Code::Internal.into()
}

/// Why a recording is not given out.
enum Unfit {
    /// It is nowhere.
    Missing,
    /// It is not what was recorded.
    Changed,
    /// Nothing is known against it.
    Failed(RecordingError),
}

impl From<RecordingError> for Unfit {
    fn from(error: RecordingError) -> Self {
        match error {
            RecordingError::NotOurs | RecordingError::Empty | RecordingError::Changed(_) => {
                Self::Changed
            }
            RecordingError::Io(_) | RecordingError::Key(_) => Self::Failed(error),
        }
    }
}

/// Nothing was sent: the link stays good. Whoever asked is told what is wrong, and so is everybody
/// who looks after recordings.
async fn refuse(api: &Api, hash: &[u8; 32], id: RecordingId, unfit: Unfit) -> ApiError {
    let (code, why) = match unfit {
        Unfit::Missing => (Code::RecordingMissing, "missing"),
        Unfit::Changed => (Code::RecordingChanged, "changed"),
        Unfit::Failed(error) => return failed(error),
    };
    count(why);
    tracing::error!(recording.id = %id, why, "{id} is not given out: its file is {why}");
    match api.store().note_unfit_recording(hash, why, api.now().wall).await {
        Ok(()) => code.into(),
        Err(error) => error.into(),
    }
}

/// The file where it is kept, or under the name that it had while it was written. It may be given
/// its name between two looks.
fn open(place: &Place, folder: &std::path::Path) -> io::Result<File> {
    let (kept, partial) = (place.kept(folder), place.partial(folder));
    let mut found = File::open(&kept);
    for path in [&partial, &kept] {
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => found = File::open(path),
            Ok(_) | Err(_) => return found,
        }
    }
    found
}

/// The file of a recording and its wrapped key, if every byte of it is what the row says.
fn check(recording: &Recording, folder: &std::path::Path) -> Result<(File, Vec<u8>), Unfit> {
    let place = Place {
        recording: recording.id,
        retention: recording.retention,
        started_ms: unix_ms(recording.started_at),
    };
    let file = match open(&place, folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unfit::Missing),
        opened => opened.map_err(RecordingError::from)?,
    };
    let bytes = file.metadata().map_err(RecordingError::from)?.len();
    if bytes != recording.bytes {
        return Err(Unfit::Changed);
    }
    let (sha256, bytes) = fingerprint(&file).map_err(RecordingError::from)?;
    let reader = Reader::open(io::BufReader::new(&file))?;
    let about = reader.about();
    let is_its = (about.tenant, about.recording) == (recording.tenant, recording.id);
    if !is_its || (sha256, bytes) != (recording.sha256, recording.bytes) {
        return Err(Unfit::Changed);
    }
    let wrapped = reader.wrapped_key().to_vec();
    Ok((file, wrapped))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio::io::AsyncReadExt as _;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::domain::id::CallId;
    use crate::recording::{About, Frame, Track, Writer};
    use crate::rtp::g711::Law;
    use crate::rtp::plane::Side;
    use crate::vault::SecretKey;

    fn tenant(number: u128) -> TenantId {
        TenantId::from_u128(number)
    }

    /// A recording of half a minute.
    fn recorded() -> Wav<Cursor<Vec<u8>>> {
        let key = || SecretKey::from_bytes(&[7; 32]).expect("32 bytes");
        let about = About {
            tenant: tenant(1),
            recording: RecordingId::from_u128(2),
            call: CallId::from_u128(3),
            started_ms: 0,
        };
        let mut writer = Writer::begin(Vec::new(), &about, &key(), b"wrapped").expect("a header");
        for at in 0..1_500 {
            let (track, law, samples) = (Track(Side::A), Law::A, &[0x2a; 160]);
            let frame = Frame { track, law, at_ms: at * 20, timestamp: at * 160, samples };
            writer.add(&frame).expect("a frame");
        }
        let file = writer.finish().expect("an end").out;
        Wav::measure(Cursor::new(file), key(), Extent::Whole).expect("a good file")
    }

    /// Sends it to a client that reads its first bytes and no more, with one thread for files.
    fn unread(patience: Patience, test: impl AsyncFnOnce(JoinHandle<()>, DuplexStream)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .build();
        runtime.expect("a runtime").block_on(async {
            let downloads = Arc::new(Downloads::default());
            let download = downloads.begin(tenant(1)).expect("room");
            let wav = recorded();
            let (length, pieces) = (wav.bytes(), wav.pieces().expect("a good file"));
            let (mut read, write) = tokio::io::duplex(PIECE_BYTES_MAX);
            let sending = tokio::spawn(send(pieces, write, length, patience, download));
            let mut first = [0; 44];
            read.read_exact(&mut first).await.expect("it begins");
            test(sending, read).await;
            assert!(downloads.0.lock().expect("whole").is_empty(), "its place is free");
        });
    }

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);

    #[test]
    fn a_client_that_reads_nothing_holds_no_thread() {
        let patience = Patience { piece: LONG, start: LONG, bytes_per_second: 1 };
        unread(patience, async |sending, read| {
            let others = timeout(LONG / 6, spawn_blocking(|| ())).await;
            others.expect("the thread is free").expect("it runs");
            drop(read);
            sending.await.expect("no panic");
        });
    }

    #[test]
    fn a_client_that_stops_or_is_too_slow_for_all_is_cut_off() {
        let stops = Patience { piece: SHORT, start: LONG, bytes_per_second: 1 };
        let slow = Patience { piece: LONG, start: SHORT, bytes_per_second: u64::MAX };
        for patience in [stops, slow] {
            unread(patience, async |sending, mut read| {
                timeout(LONG / 6, sending).await.expect("cut off").expect("no panic");
                let mut rest = Vec::new();
                read.read_to_end(&mut rest).await.expect("what was on its way");
                assert!(rest.len() <= PIECE_BYTES_MAX, "shorter than was promised");
            });
        }
    }

    /// Two sides, 50 packets a second each, 188 bytes of each in the file.
    #[test]
    fn a_long_recording_has_more_time_to_be_checked_than_a_request_and_none_has_for_ever() {
        let hours = |hours: u64| checked_within(hours * 3_600 * 100 * 188);
        assert_eq!(checked_within(0), REQUEST_TIME_MAX);
        // 135 MB, read twice: 18 MB/s are enough.
        assert!(hours(2) > 2 * REQUEST_TIME_MAX, "{:?}", hours(2));
        assert!(hours(24) < Duration::from_secs(600), "{:?}", hours(24));
    }

    #[test]
    fn there_is_room_for_so_many_downloads_of_a_tenant_and_of_all() {
        let downloads = Arc::new(Downloads::default());
        let mut running = Vec::new();
        for number in 0..DOWNLOADS_MAX / TENANT_DOWNLOADS_MAX {
            for _ in 0..TENANT_DOWNLOADS_MAX {
                running.push(downloads.begin(tenant(number as u128)).expect("room"));
            }
        }
        let refused = |number| downloads.begin(tenant(number)).expect_err("full").code();
        assert_eq!(refused(99), Code::DownloadsFull);
        running.truncate(TENANT_DOWNLOADS_MAX);
        assert_eq!(refused(0), Code::TooManyDownloads);
        drop(downloads.begin(tenant(99)).expect("room again"));
        drop(running);
        assert!(downloads.0.lock().expect("whole").is_empty());
    }
}
