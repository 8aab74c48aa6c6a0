//! What the store and the relay report, as problems. Constraints have names for this purpose.

use super::error::{ApiError, Code};
use super::field_error::{FieldError, Rule};
use crate::relay::handle::RelayStuck;
use crate::store::StoreError;

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Conflict { constraint } => match find_conflict(constraint) {
                Some(conflict) => return conflict,
                // A rule that the handlers should have checked: nothing was stored.
                None => Code::StateConflict,
            },
            StoreError::Unavailable(_) => Code::Unavailable,
            StoreError::Internal(_)
            | StoreError::NotConnected { .. }
            | StoreError::Unreadable { .. }
            | StoreError::Vault(_)
            | StoreError::RootKeyForeign
            | StoreError::RoleTooStrong { .. }
            | StoreError::ServerTooOld { .. }
            | StoreError::Migration(_) => Code::Internal,
        };
        // A store error holds no values: the log may have it.
        Self::new(code).because(error.to_string())
    }
}

impl From<RelayStuck> for ApiError {
    fn from(error: RelayStuck) -> Self {
        Self::new(Code::Unavailable).because(error.to_string())
    }
}

fn find_conflict(constraint: &str) -> Option<ApiError> {
    let taken = |pointer| ApiError::at(Code::AlreadyExists, FieldError::new(pointer, Rule::Taken));
    let unknown = |pointer| ApiError::from(FieldError::new(pointer, Rule::UnknownReference));
    Some(match constraint {
        "agent_employee_id" => taken("/employee_id"),
        "agent_caller_number_pkey" => taken("/caller_numbers"),
        "trunk_name" | "pool_name" => taken("/name"),
        "trunk_tenant" | "api_key_tenant" => unknown("/tenant_id"),
        "pool_trunk_trunk" => unknown("/trunks"),
        "virtual_number_pool" => unknown("/pool"),
        "subscriber_lookup_hash" => taken("/real_number"),
        "binding_external_id" => Code::ExternalIdConflict.into(),
        "binding_live_number"
        | "binding_live_subscriber"
        | "binding_live_agent"
        | "binding_number_mode"
        | "virtual_number_transition"
        | "virtual_number_return" => Code::NumberTaken.into(),
        _ => return None,
    })
}
