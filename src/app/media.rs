//! The media plane of the settings: in this process, or in the one of `maskline media`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::addresses::advertised;
use super::signalling::shards;
use super::{StartError, listen, recording};
use crate::config::Config;
use crate::domain::network::Transport;
use crate::media::sounds::{Library, library_hash};
use crate::media::tape::{Recorder, Tape};
use crate::media::{self, FreePorts, Outside, Plane, PlaneConfig, Server, ShardLink, Waker};
use crate::rtp::plane::PlaneAddress;
use crate::rtp::sound::Sounds;
use crate::telemetry;

/// As the signalling sees it.
pub(super) enum MediaPlane {
    Own(Plane),
    Outside(Outside),
}

impl MediaPlane {
    /// Starts it, or connects to it. There is one link for each waker.
    pub(super) fn start(
        config: &Config,
        sip_address: IpAddr,
        sounds: Arc<Sounds>,
        tape: Option<Tape>,
        wakers: Vec<Waker>,
    ) -> Result<(Self, Vec<ShardLink>), StartError> {
        let wrong = |error| StartError::System { what: "the media plane", error };
        if let Some(path) = &config.media.socket {
            let (outside, links) =
                Outside::connect(path, wakers, library_hash(&sounds)).map_err(wrong)?;
            return Ok((Self::Outside(outside), links.into_iter().map(ShardLink::Apart).collect()));
        }
        let settings = settings(config, sip_address, sounds).map_err(wrong)?;
        let settings = PlaneConfig { tape, ..settings };
        let (plane, links) = Plane::start(&settings, wakers).map_err(wrong)?;
        Ok((Self::Own(plane), links.into_iter().map(ShardLink::Own).collect()))
    }

    /// It can be reached and its threads are alive.
    pub(super) fn is_running(&self) -> bool {
        match self {
            Self::Own(plane) => plane.is_running(),
            Self::Outside(outside) => outside.is_connected(),
        }
    }

    pub(super) fn free_ports(&self) -> FreePorts {
        match self {
            Self::Own(plane) => plane.free_ports(),
            Self::Outside(outside) => outside.free_ports(),
        }
    }
}

fn settings(config: &Config, sip: IpAddr, sounds: Arc<Sounds>) -> io::Result<PlaneConfig> {
    let media = &config.media;
    let threads = if media.threads == 0 { processors() } else { media.threads };
    let advertise = media.advertise.unwrap_or(sip);
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| io::Error::other("no randomness"))?;
    Ok(PlaneConfig {
        address: PlaneAddress { bind: media.bind, advertise },
        ports: media.ports.first..=media.ports.last,
        port_quarantine: media.port_quarantine,
        silence_timeout: media.silence_timeout,
        threads,
        sessions_max: config.sip.calls_max,
        sounds,
        tape: None,
        seed,
    })
}

pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// `maskline media` at work. Its calls end with it.
pub struct MediaService {
    // In the order of their end: the server holds links of the plane.
    server: Server,
    plane: Arc<Plane>,
    recorder: Option<Recorder>,
    admin: Option<(SocketAddr, JoinHandle<()>)>,
    stop: CancellationToken,
}

impl MediaService {
    /// Where health and metrics are served, if anywhere.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(address, _)| *address)
    }

    /// All threads are alive.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.plane.is_running() && self.server.is_running()
    }

    /// Ends it, and with it all calls; their recordings are whole.
    pub async fn stop(self) {
        let Self { server, plane, recorder, admin, stop } = self;
        stop.cancel();
        if let Some((_, task)) = admin {
            // A task that panicked has said so already.
            let _ = task.await;
        }
        drop(server);
        drop(plane);
        drop(recorder);
    }
}

/// Starts the media plane of the settings and serves its socket.
///
/// # Errors
/// [`StartError`] names what is in the way.
pub async fn start_media(config: &Config) -> Result<MediaService, StartError> {
    let Some(path) = &config.media.socket else { return Err(StartError::NoMediaSocket) };
    let wrong = |error| StartError::System { what: "the media plane", error };
    let metrics = telemetry::metrics_page()?;
    let library = Library::load(config.media.prompts.as_deref())?;
    let sip = config.sip.listen.of(Transport::Udp).next();
    let sip = sip.expect("the settings were checked: one listener is UDP");
    let socket = media::listen(path)?;
    let sounds = library_hash(&library.sounds);
    let admin = match config.media.admin {
        Some(address) => Some(listen::bind("media.admin", address).await?),
        None => None,
    };
    let recorder = recording::start_apart(config)
        .map_err(|error| StartError::System { what: "the recorder", error })?;
    let settings = settings(config, advertised(config, sip).ip(), library.sounds);
    let tape = recorder.as_ref().and_then(Recorder::tape);
    let settings = settings.map(|settings| PlaneConfig { tape, ..settings });
    let mut server = Server::new(shards(config)).map_err(wrong)?;
    let (plane, links) = Plane::start(&settings.map_err(wrong)?, server.wakers()).map_err(wrong)?;
    let plane = Arc::new(plane);
    let orphan_time = config.sip.duration_max;
    server.serve(socket, &plane, links, sounds, orphan_time).map_err(wrong)?;
    let stop = CancellationToken::new();
    let admin = admin.map(|bound| {
        let alive = Arc::downgrade(&plane);
        let health = move || {
            let alive = alive.upgrade().is_some_and(|plane| plane.is_running());
            let status = if alive { 200 } else { 503 };
            let status = axum::http::StatusCode::from_u16(status).unwrap_or_default();
            let word = if alive { "ok" } else { "a media thread has ended" };
            std::future::ready((status, Json(json!({"status": word}))))
        };
        let pages = Router::new()
            .route("/healthz", get(health))
            .route("/metrics", get(async move || metrics.render()));
        (bound.address, tokio::spawn(bound.serve(pages, stop.clone())))
    });
    Ok(MediaService { server, plane, recorder, admin, stop })
}
