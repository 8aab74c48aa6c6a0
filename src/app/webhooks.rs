//! How far deliveries reach, by the settings, and what delivers.

use std::io;
use std::sync::Arc;

use super::StartError;
use crate::config::Config;
use crate::domain::webhook::Reach;
use crate::jobs::webhooks::{Dispatcher, NameServers, Poster, TRY_TIME};
use crate::store::RelayPool;
use crate::vault::Vault;

pub(super) fn reach(config: &Config) -> Reach {
    let it = config.webhooks;
    Reach { allow_http: it.allow_http, allow_private: it.allow_private }
}

pub(super) fn dispatcher(
    config: &Config,
    pool: &RelayPool,
    vault: &Arc<Vault>,
) -> Result<Dispatcher, StartError> {
    let system = |error| StartError::System { what: "webhooks", error };
    let names = NameServers::of_system().map_err(|error| system(io::Error::other(error)))?;
    let reach = reach(config);
    if reach != Reach::default() {
        tracing::warn!("Webhooks reach further than is safe: see [webhooks] of the settings");
    }
    let poster = Poster::new(Arc::new(names), reach, TRY_TIME);
    let poster = poster.map_err(|error| system(io::Error::other(error)))?;
    Ok(Dispatcher::new(pool.clone(), Arc::clone(vault), poster))
}
