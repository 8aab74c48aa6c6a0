//! What the demo needs, made as an operator and an insurer would: over the control API.

use std::net::{IpAddr, SocketAddr};

use secrecy::SecretString;
use serde_json::{Value, json};

use crate::client::{Client, ClientError, Endpoint};

/// The virtual numbers of the demo; all made up.
pub const NUMBERS: [&str; 5] =
    ["17000000001", "17000000002", "17000000003", "17000000004", "17000000005"];
/// The extension of the demo's agent.
pub const AGENT: &str = "4821";
/// The extension that subscribers reach.
pub const DESK: &str = "8000";

/// Where the two sides of the relay are.
#[derive(Clone, Copy, Debug)]
pub struct Sides {
    /// The insurer's PBX.
    pub insurer: SocketAddr,
    /// The carrier.
    pub carrier: SocketAddr,
    /// Where a softphone may dial from as an agent too.
    pub softphones: [Option<IpAddr>; 2],
}

/// What was made.
pub struct Provisioned {
    /// The tenant's CRM.
    pub crm: Client,
    /// The tenant's administrator.
    pub admin: Client,
    /// The key of the CRM.
    pub crm_key: SecretString,
    /// The pool of virtual numbers.
    pub pool: String,
    /// The carrier's trunk.
    pub carrier_trunk: String,
}

/// Makes tenant, trunks, pool, numbers, keys and agent. `operator_key` is the first key of the
/// installation.
///
/// # Errors
/// When the API refuses anything.
pub async fn provision(
    url: &str,
    operator_key: SecretString,
    sides: Sides,
) -> Result<Provisioned, ClientError> {
    let client =
        |key| Client::new(&Endpoint { url: url.to_owned(), key: Some(key), ..Endpoint::default() });
    let operator = client(operator_key)?;
    let tenant = json!({"name": "Example Insurance", "desk_user": DESK});
    let tenant = id(&operator.post("/v1/tenants", &tenant).await?);
    let pbx = sides.insurer;
    add_insurer_trunk(&operator, &tenant, "example-pbx", pbx, &[pbx.ip()]).await?;
    let softphones: Vec<_> =
        sides.softphones.into_iter().flatten().filter(|ip| *ip != pbx.ip()).collect();
    if let Some(ip) = softphones.first() {
        let target = SocketAddr::new(*ip, 5060);
        add_insurer_trunk(&operator, &tenant, "example-softphone", target, &softphones).await?;
    }
    let carrier = json!({
        "name": "example-carrier", "role": "carrier",
        "source_networks": [sides.carrier.ip()], "targets": [sides.carrier],
    });
    let carrier_trunk = id(&operator.post("/v1/trunks", &carrier).await?);
    let pool = json!({"name": "example-mobile", "class": "mobile", "trunks": [carrier_trunk]});
    let pool = id(&operator.post("/v1/pools", &pool).await?);
    let numbers = json!({"pool": pool, "numbers": NUMBERS});
    operator.post("/v1/numbers:import", &numbers).await?;
    let admin_key = issue(&operator, &tenant, "insurer_admin").await?;
    let crm_key = issue(&operator, &tenant, "insurer_crm").await?;
    let agent = json!({"employee_id": "A-4821", "name": "Demo Agent", "caller_numbers": [AGENT]});
    let admin = client(admin_key)?;
    admin.post("/v1/agents", &agent).await?;
    Ok(Provisioned { crm: client(crm_key.clone())?, admin, crm_key, pool, carrier_trunk })
}

async fn add_insurer_trunk(
    operator: &Client,
    tenant: &str,
    name: &str,
    target: SocketAddr,
    sources: &[IpAddr],
) -> Result<(), ClientError> {
    let trunk = json!({
        "name": name, "role": "insurer", "tenant_id": tenant,
        "source_networks": sources, "targets": [target],
    });
    operator.post("/v1/trunks", &trunk).await?;
    Ok(())
}

async fn issue(operator: &Client, tenant: &str, role: &str) -> Result<SecretString, ClientError> {
    let key = json!({"name": role, "role": role, "tenant_id": tenant});
    let issued = operator.post("/v1/api-keys", &key).await?;
    Ok(issued["key"].as_str().unwrap_or_default().into())
}

/// Binds a policy to a virtual number.
///
/// # Errors
/// When the API refuses.
pub async fn bind(
    crm: &Client,
    pool: &str,
    external_id: &str,
    real_number: &str,
) -> Result<Value, ClientError> {
    let binding = json!({
        "external_id": external_id, "mode": "ax", "pool": pool,
        "policy": {"ref": "P-2026-0001"}, "subscriber": {"real_number": real_number},
    });
    crm.post("/v1/bindings", &binding).await
}

fn id(resource: &Value) -> String {
    resource["id"].as_str().unwrap_or_default().to_owned()
}
