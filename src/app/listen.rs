//! HTTP listeners.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::StartError;

/// Serves a router until `stop`, or for ever; gives the bound address.
pub(super) async fn serve(
    key: &'static str,
    address: SocketAddr,
    router: Router,
    stop: Option<CancellationToken>,
) -> Result<(SocketAddr, JoinHandle<()>), StartError> {
    let refused = |error| StartError::Listen { key, address, error };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = tokio::spawn(async move {
        let end = async move {
            match stop {
                Some(stop) => stop.cancelled().await,
                None => std::future::pending().await,
            }
        };
        if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(end).await {
            tracing::error!(%error, key, "The listener of {key} ended: {error}");
        }
    });
    Ok((bound, serving))
}
