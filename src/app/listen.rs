//! HTTP listeners.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::https::{Https, TlsListener};
use crate::api::peer::TlsPeer;

/// How long a peer may leave what it was sent unacknowledged, or take nothing of what waits for it
/// (RFC 5482): after that its connection is reset. A reader of a stream that is gone, or that does
/// not read, would keep its place for as long as TCP tries otherwise, a quarter of an hour or ever.
const STALLED_MAX: Duration = Duration::from_secs(60);

/// A bound listener that does not answer yet.
pub(super) struct Bound {
    key: &'static str,
    listener: TcpListener,
    /// Where it is bound.
    pub(super) address: SocketAddr,
}

/// Binds the address of a setting.
pub(super) async fn bind(key: &'static str, address: SocketAddr) -> Result<Bound, StartError> {
    let refused = |error| StartError::Listen { key, address, error };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok(Bound { key, listener, address })
}

impl Bound {
    /// Serves a router until `stop`.
    pub(super) async fn serve(self, router: Router, stop: CancellationToken) {
        self.serve_patiently(router, stop, STALLED_MAX).await;
    }

    /// The same over TLS where there is something to serve it with.
    pub(super) async fn serve_maybe_tls(
        self,
        https: Option<Https>,
        router: Router,
        stop: CancellationToken,
    ) {
        let Some(https) = https else { return self.serve(router, stop).await };
        let Self { key, listener, .. } = self;
        let listener = TlsListener::new(listener, https, STALLED_MAX);
        let service = router.into_make_service_with_connect_info::<TlsPeer>();
        let end = stop.cancelled_owned();
        if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(end).await {
            tracing::error!(%error, key, "The listener of {key} ended: {error}");
        }
    }

    async fn serve_patiently(self, router: Router, stop: CancellationToken, stalled_max: Duration) {
        let Self { key, listener, .. } = self;
        let listener = listener.tap_io(move |stream| limit_stalling(stream, stalled_max));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let end = stop.cancelled_owned();
        if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(end).await {
            tracing::error!(%error, key, "The listener of {key} ended: {error}");
        }
    }
}

/// A connection whose peer stalls for longer is reset.
pub(super) fn limit_stalling(stream: &TcpStream, stalled_max: Duration) {
    let set = SockRef::from(stream).set_tcp_user_timeout(Some(stalled_max));
    if let Err(error) = set {
        tracing::debug!(%error, "A connection has no limit for stalling");
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::Ipv4Addr;

    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use futures_util::stream::unfold;
    use tokio::io::AsyncWriteExt as _;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_reader_that_does_not_read_is_given_up() {
        let bound = bind("api.listen", (Ipv4Addr::LOCALHOST, 0).into()).await.expect("a port");
        let address = bound.address;
        // The sender lives in the body: it is gone when the connection is.
        let (place, mut given_back) = mpsc::channel::<()>(1);
        let endless = move || {
            let place = place.clone();
            async move {
                let pieces = unfold(place, async |place| {
                    Some((Ok::<_, Infallible>(Bytes::from_static(&[b'.'; 65_536])), place))
                });
                Body::from_stream(pieces)
            }
        };
        let router = Router::new().route("/", get(endless));
        let stop = CancellationToken::new();
        let stalled_max = Duration::from_millis(100);
        let serving = tokio::spawn(bound.serve_patiently(router, stop.clone(), stalled_max));
        let mut reader = TcpStream::connect(address).await.expect("a connection");
        reader.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a request");
        reader.readable().await.expect("an answer begins");
        // No more connections, so that this body holds the last sender.
        stop.cancel();
        assert_eq!(given_back.recv().await, None);
        serving.await.expect("no panic");
        drop(reader);
    }
}
