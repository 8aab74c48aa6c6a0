//! Who may do what: one table of operation x role. A route that has no row here is refused for
//! everybody.

use std::fmt;

/// What a key is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Runs the platform; never sees real numbers.
    Operator,
    /// Administers one tenant.
    InsurerAdmin,
    /// The tenant's CRM: binds, looks up, ends.
    InsurerCrm,
    /// Reads the tenant's things.
    InsurerAuditor,
    /// Findings, blocks, complaints.
    Compliance,
    /// Approves reveals.
    Approver,
    /// Reads statistics and proofs.
    Regulator,
    /// Health and live calls.
    Ops,
}

/// Where all operations live.
pub const BASE: &str = "/v1";

/// Many bindings at once, below [`BASE`]: its body is larger than those of the others.
pub const BATCH_PATH: &str = "/bindings:batch";

/// Imports, below [`BASE`]: their bodies are read while they come.
pub const IMPORTS_PATH: &str = "/jobs/imports";

/// The number of roles.
pub const ROLES: usize = 8;

impl Role {
    /// Every role, in the order of the table's columns.
    pub const ALL: [Self; ROLES] = [
        Self::Operator,
        Self::InsurerAdmin,
        Self::InsurerCrm,
        Self::InsurerAuditor,
        Self::Compliance,
        Self::Approver,
        Self::Regulator,
        Self::Ops,
    ];

    /// The words of [`Self::ALL`], for messages.
    pub const LABELS: &'static str = "operator, insurer_admin, insurer_crm, insurer_auditor, \
                                      compliance, approver, regulator, ops";

    /// The stable word in the store and the API.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::InsurerAdmin => "insurer_admin",
            Self::InsurerCrm => "insurer_crm",
            Self::InsurerAuditor => "insurer_auditor",
            Self::Compliance => "compliance",
            Self::Approver => "approver",
            Self::Regulator => "regulator",
            Self::Ops => "ops",
        }
    }

    /// Reads a word back.
    #[must_use]
    pub fn find_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.label() == label)
    }

    /// Keys of this role belong to a tenant.
    #[must_use]
    pub const fn needs_tenant(self) -> bool {
        match self {
            Self::InsurerAdmin | Self::InsurerCrm | Self::InsurerAuditor => true,
            Self::Operator | Self::Compliance | Self::Approver | Self::Regulator | Self::Ops => {
                false
            }
        }
    }

    const fn column(self) -> usize {
        match self {
            Self::Operator => 0,
            Self::InsurerAdmin => 1,
            Self::InsurerCrm => 2,
            Self::InsurerAuditor => 3,
            Self::Compliance => 4,
            Self::Approver => 5,
            Self::Regulator => 6,
            Self::Ops => 7,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One operation: its route, the scope a key needs, and a cell per role.
#[derive(Clone, Copy, Debug)]
pub struct OperationRow {
    /// The `operationId` in the OpenAPI file.
    pub operation: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// The path template below [`BASE`].
    pub path: &'static str,
    /// The scope that a key with a list of scopes must hold.
    pub scope: &'static str,
    cells: [bool; ROLES],
}

impl OperationRow {
    /// The cell of `role`.
    #[must_use]
    pub fn permits(&self, role: Role) -> bool {
        self.cells.get(role.column()).copied().unwrap_or(false)
    }
}

const fn row(
    operation: &'static str,
    method: &'static str,
    path: &'static str,
    scope: &'static str,
    cells: &[u8; ROLES],
) -> OperationRow {
    let mut permitted = [false; ROLES];
    let mut column = 0;
    while column < ROLES {
        permitted[column] = cells[column] == b'x';
        column += 1;
    }
    OperationRow { operation, method, path, scope, cells: permitted }
}

const GET: &str = "GET";
const POST: &str = "POST";
const PUT: &str = "PUT";
const PATCH: &str = "PATCH";
const DELETE: &str = "DELETE";

/// The table. Columns: operator, insurer_admin, insurer_crm, insurer_auditor, compliance, approver,
/// regulator, ops.
#[rustfmt::skip]
pub const OPERATIONS: &[OperationRow] = &[
    row("tenants_create",     POST,   "/tenants",                 "tenants:write",     b"x......."),
    row("tenants_list",       GET,    "/tenants",                 "tenants:read",      b"x......."),
    row("tenants_get",        GET,    "/tenants/{id}",            "tenants:read",      b"x......."),
    row("tenants_patch",      PATCH,  "/tenants/{id}",            "tenants:write",     b"x......."),
    row("api_keys_create",    POST,   "/api-keys",                "api_keys:write",    b"xx......"),
    row("api_keys_list",      GET,    "/api-keys",                "api_keys:read",     b"xx......"),
    row("api_keys_roll",      POST,   "/api-keys/{id}/roll",      "api_keys:write",    b"xx......"),
    row("api_keys_delete",    DELETE, "/api-keys/{id}",           "api_keys:write",    b"xx......"),
    row("agents_create",      POST,   "/agents",                  "agents:write",      b".x......"),
    row("agents_list",        GET,    "/agents",                  "agents:read",       b".xxx...."),
    row("agents_get",         GET,    "/agents/{id}",             "agents:read",       b".xxx...."),
    row("agents_patch",       PATCH,  "/agents/{id}",             "agents:write",      b".x......"),
    row("agents_delete",      DELETE, "/agents/{id}",             "agents:write",      b".x......"),
    row("agents_sip_login",   POST,   "/agents/{id}/sip-login",   "agents:write",      b".x......"),
    row("agents_sip_login_delete", DELETE, "/agents/{id}/sip-login", "agents:write",   b".x......"),
    row("trunks_create",      POST,   "/trunks",                  "trunks:write",      b"x......."),
    row("trunks_list",        GET,    "/trunks",                  "trunks:read",       b"x......x"),
    row("trunks_get",         GET,    "/trunks/{id}",             "trunks:read",       b"x......x"),
    row("trunks_patch",       PATCH,  "/trunks/{id}",             "trunks:write",      b"x......."),
    row("trunks_delete",      DELETE, "/trunks/{id}",             "trunks:write",      b"x......."),
    row("trunks_access",      GET,    "/trunks/{id}/access",      "trunks:read",       b"x......x"),
    row("trunks_account",     PUT,    "/trunks/{id}/account",     "trunks:write",      b"x......."),
    row("trunks_account_delete", DELETE, "/trunks/{id}/account",  "trunks:write",      b"x......."),
    row("trunks_login",       POST,   "/trunks/{id}/login",       "trunks:write",      b"x......."),
    row("trunks_login_delete", DELETE, "/trunks/{id}/login",      "trunks:write",      b"x......."),
    row("pools_create",       POST,   "/pools",                   "pools:write",       b"x......."),
    row("pools_list",         GET,    "/pools",                   "pools:read",        b"xxxx...x"),
    row("pools_get",          GET,    "/pools/{id}",              "pools:read",        b"xxxx...x"),
    row("pools_patch",        PATCH,  "/pools/{id}",              "pools:write",       b"x......."),
    row("pools_capacity",     GET,    "/pools/{id}/capacity",     "pools:read",        b"x......x"),
    row("numbers_import",     POST,   "/numbers:import",          "numbers:write",     b"x......."),
    row("numbers_list",       GET,    "/numbers",                 "numbers:read",      b"x......x"),
    row("numbers_get",        GET,    "/numbers/{x}",             "numbers:read",      b"x......x"),
    row("numbers_patch",      PATCH,  "/numbers/{x}",             "numbers:write",     b"x......."),
    row("subscribers_create", POST,   "/subscribers",             "subscribers:write", b".xx....."),
    row("subscribers_get",    GET,    "/subscribers/{id}",        "subscribers:read",  b".xxx...."),
    row("subscribers_number", PUT,    "/subscribers/{id}/number", "subscribers:write", b".xx....."),
    row("subscribers_number_history", GET, "/subscribers/{id}/number-history",
                                                                 "subscribers:read",  b".x.x...."),
    row("bindings_create",    POST,   "/bindings",                "bindings:write",    b".xx....."),
    row("bindings_batch",     POST,   BATCH_PATH,                 "bindings:write",    b".xx....."),
    row("imports_create",     POST,   IMPORTS_PATH,               "bindings:write",    b".xx....."),
    row("imports_list",       GET,    IMPORTS_PATH,               "bindings:read",     b".xxx...."),
    row("imports_get",        GET,    "/jobs/imports/{id}",       "bindings:read",     b".xxx...."),
    row("imports_errors",     GET,    "/jobs/imports/{id}/errors", "bindings:read",    b".xxx...."),
    row("imports_cancel",     POST,   "/jobs/imports/{id}/cancel", "bindings:write",   b".xx....."),
    row("bindings_list",      GET,    "/bindings",                "bindings:read",     b".xxx...."),
    row("bindings_get",       GET,    "/bindings/{id}",           "bindings:read",     b".xxx...."),
    row("bindings_patch",     PATCH,  "/bindings/{id}",           "bindings:write",    b".xx....."),
    row("bindings_renew",     POST,   "/bindings/{id}/renew",     "bindings:write",    b".xx....."),
    row("bindings_suspend",   POST,   "/bindings/{id}/suspend",   "bindings:write",    b".xx....."),
    row("bindings_resume",    POST,   "/bindings/{id}/resume",    "bindings:write",    b".xx....."),
    row("bindings_unbind",    POST,   "/bindings/{id}/unbind",    "bindings:write",    b".xx....."),
    row("intents_create",     POST,   "/call-intents",            "calls:write",       b".xx....."),
    row("intents_list",       GET,    "/call-intents",            "calls:read",        b".xxx...."),
    row("intents_get",        GET,    "/call-intents/{id}",       "calls:read",        b".xxx...."),
    row("intents_cancel",     POST,   "/call-intents/{id}/cancel", "calls:write",      b".xx....."),
    row("test_clock_advance", POST,   "/test-clock/advance",      "bindings:write",    b".xx....."),
    row("calls_list",         GET,    "/calls",                   "calls:read",        b".xxx...."),
    row("calls_live",         GET,    "/calls/live",              "calls:read",        b"xxxx...x"),
    row("calls_events",       GET,    "/calls/events",            "calls:read",        b"xxxx...x"),
    row("calls_get",          GET,    "/calls/{id}",              "calls:read",        b".xxx...."),
    row("events_list",        GET,    "/events",                  "events:read",       b".xxx...."),
    row("event_types_list",   GET,    "/event-types",             "events:read",       b".xxx...."),
    row("webhooks_create",    POST,   "/webhook-endpoints",       "webhooks:write",    b".x......"),
    row("webhooks_list",      GET,    "/webhook-endpoints",       "webhooks:read",     b".x.x...."),
    row("webhooks_get",       GET,    "/webhook-endpoints/{id}",  "webhooks:read",     b".x.x...."),
    row("webhooks_patch",     PATCH,  "/webhook-endpoints/{id}",  "webhooks:write",    b".x......"),
    row("webhooks_delete",    DELETE, "/webhook-endpoints/{id}",  "webhooks:write",    b".x......"),
    row("webhooks_rotate", POST, "/webhook-endpoints/{id}/rotate-secret",
                                                                 "webhooks:write",    b".x......"),
    row("webhooks_ping", POST, "/webhook-endpoints/{id}/ping", "webhooks:write", b".x......"),
    row("webhooks_deliveries", GET, "/webhook-endpoints/{id}/deliveries",
                                                                 "webhooks:read",     b".x.x...."),
    row("webhooks_replay", POST, "/webhook-deliveries/{id}/replay", "webhooks:write", b".x......"),
    row("recordings_list",    GET,    "/recordings",              "recordings:read",   b".x.x...."),
    row("recordings_link",    POST,   "/recordings/{id}/links",   "recordings:fetch",  b".x.x...."),
    row("calls_terminate",    POST,   "/calls/{id}/terminate",    "calls:write",       b"xxx....."),
];

/// The row of a route; `None` refuses it.
#[must_use]
pub fn find_operation(method: &str, path: &str) -> Option<&'static OperationRow> {
    let path = path.strip_prefix(BASE)?;
    OPERATIONS.iter().find(|row| row.method == method && row.path == path)
}

/// Every scope there is.
#[must_use]
pub fn is_scope(scope: &str) -> bool {
    OPERATIONS.iter().any(|row| row.scope == scope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn columns_follow_the_order_of_the_roles() {
        for (index, role) in Role::ALL.into_iter().enumerate() {
            assert_eq!(role.column(), index);
            assert_eq!(Role::find_label(role.label()), Some(role));
        }
        assert_eq!(Role::LABELS.split(", ").count(), ROLES);
    }

    #[test]
    fn an_operation_has_one_row() {
        let routes: BTreeSet<_> = OPERATIONS.iter().map(|row| (row.method, row.path)).collect();
        let names: BTreeSet<_> = OPERATIONS.iter().map(|row| row.operation).collect();
        assert_eq!((routes.len(), names.len()), (OPERATIONS.len(), OPERATIONS.len()));
    }

    #[test]
    fn roles_that_bind_never_run_the_platform() {
        for row in OPERATIONS {
            let subscriber_data = row.path.starts_with("/subscribers");
            assert!(!(subscriber_data && row.permits(Role::Operator)), "{}", row.operation);
            let changes_platform = ["/tenants", "/trunks", "/pools", "/numbers"]
                .iter()
                .any(|prefix| row.path.starts_with(prefix))
                && row.method != "GET";
            assert!(!(changes_platform && row.permits(Role::InsurerAdmin)), "{}", row.operation);
        }
    }
}
