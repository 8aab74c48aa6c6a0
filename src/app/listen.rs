//! HTTP listeners.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::StartError;

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
        let Self { key, listener, .. } = self;
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let end = stop.cancelled_owned();
        if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(end).await {
            tracing::error!(%error, key, "The listener of {key} ended: {error}");
        }
    }
}
