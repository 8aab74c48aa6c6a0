//! Who asks: the key that was sent, or has signed; where it may come from, and whether its role and
//! scopes permit the operation. This runs before any handler, for every route.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::warn;

use super::Api;
use super::error::{ApiError, Code};
use super::extract::{is_import, read_body};
use super::peer::Peer;
use super::rate::Left;
use super::roles::{BASE, OPERATIONS, OperationRow, Role, find_operation};
use super::secrets::{HASH_BYTES, bearer_hash, is_equal};
use super::signature::{self, Claim, SignedBody};
use crate::domain::id::{ApiKeyId, TenantId};
use crate::store::StoreError;
use crate::store::api_key::{ApiKey, KeyOwner};

/// How long a key is remembered: on another node a revoked key may be taken for this long.
pub const KEY_CACHE_TIME: Duration = Duration::from_secs(5);

/// The most keys remembered.
pub const KEY_CACHE_MAX: u64 = 10_000;

/// The most used nonces that a process remembers by itself; the store knows all of them.
pub const NONCES_MAX: u64 = 100_000;

/// Keys seen lately, by what they are found by.
pub(super) type KeyCache<T> = moka::sync::Cache<T, ApiKey>;

/// Who sent the request.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The key.
    pub key: ApiKeyId,
    /// Whose key it is; none for the platform's own.
    pub tenant: Option<TenantId>,
    /// What it is for.
    pub role: Role,
    /// It works on test tenants only.
    pub is_test: bool,
    /// The scopes it is limited to; empty: all of its role.
    pub scopes: Arc<[String]>,
}

impl Actor {
    /// A key of these scopes reaches no further than this actor does.
    #[must_use]
    pub fn covers(&self, scopes: &[String]) -> bool {
        self.scopes.is_empty()
            || (!scopes.is_empty() && scopes.iter().all(|scope| self.scopes.contains(scope)))
    }
}

/// An actor of a tenant.
#[derive(Clone, Copy, Debug)]
pub struct TenantActor {
    /// Whose.
    pub tenant: TenantId,
    /// The key.
    pub key: ApiKeyId,
}

impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or(Code::Unauthenticated.into())
    }
}

impl<S: Sync> FromRequestParts<S> for TenantActor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let actor = parts.extensions.get::<Actor>();
        let actor = actor.ok_or(ApiError::new(Code::Unauthenticated))?;
        let key = actor.key;
        actor.tenant.map(|tenant| Self { tenant, key }).ok_or(Code::TenantKeyRequired.into())
    }
}

/// The layer around every operation. Whoever was counted hears how much is left, whatever the
/// answer is.
pub async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut left = None;
    let mut response = match let_in(&api, &parts, body, &mut left).await {
        Ok(admitted) => {
            parts.extensions.insert(admitted.actor);
            if let Some(unread) = admitted.unread {
                parts.extensions.insert(unread);
            }
            next.run(Request::from_parts(parts, admitted.body)).await
        }
        Err(error) => error.into_response(),
    };
    if let Some(left) = left {
        left.write(response.headers_mut());
    }
    response
}

/// A request that may go on.
struct Admitted {
    actor: Actor,
    body: Body,
    /// What was signed of a body that nobody has read yet.
    unread: Option<SignedBody>,
}

/// First who asks, then whether so much may be asked: only then is anything written down. What is
/// known to be a replay does not count: who saw a request could use up what its key may.
async fn let_in(
    api: &Api,
    request: &Parts,
    body: Body,
    left: &mut Option<Left>,
) -> Result<Admitted, ApiError> {
    let (key, claim) = authenticate(api, request).await?;
    let role = Role::find_label(&key.role).ok_or(ApiError::new(Code::Unauthenticated))?;
    let actor = Actor {
        key: key.id,
        tenant: key.tenant,
        role,
        is_test: key.is_test,
        scopes: key.scopes.into(),
    };
    if claim.as_ref().is_some_and(|claim| api.used_nonces().contains_key(&nonce(api, claim))) {
        return Err(refuse("replayed"));
    }
    let counted = api.rate().admit(&actor);
    *left = counted.unwrap_or_else(Some);
    if counted.is_err() {
        return Err(Code::RateLimited.into());
    }
    let (body, unread) = match claim {
        Some(claim) => take_once(api, &claim, request, body).await?,
        None => (body, None),
    };
    let operation = operation_of(request)?;
    let has_scope = actor.scopes.is_empty() || actor.scopes.iter().any(|s| s == operation.scope);
    if !operation.permits(role) || !has_scope {
        return Err(Code::Forbidden.into());
    }
    Ok(Admitted { actor, body, unread })
}

/// The rest of what a signature says: this body, and not a second time.
async fn take_once(
    api: &Api,
    claim: &Claim,
    request: &Parts,
    body: Body,
) -> Result<(Body, Option<SignedBody>), ApiError> {
    let (body, unread) = if is_import(request) {
        (body, Some(claim.body()))
    } else {
        let body = read_body(request, body).await?;
        if !claim.is_of(&body) {
            return Err(refuse("another body"));
        }
        (Body::from(body), None)
    };
    let (used, keep) = (nonce(api, claim), signature::NONCE_TIME);
    let is_first = api.store().use_nonce(claim.key, used.1, api.now().wall, keep).await?;
    api.used_nonces().insert(used, ());
    match is_first {
        true => Ok((body, unread)),
        false => Err(refuse("replayed")),
    }
}

/// The word of a signed request, as it is remembered: a client may have put anything into it.
fn nonce(api: &Api, claim: &Claim) -> (ApiKeyId, [u8; 16]) {
    let hash = api.request_hasher().hash(&[b"nonce", claim.nonce.as_bytes()]);
    let (&hash, _) = hash.split_first_chunk().expect("16 of 32 bytes");
    (claim.key, hash)
}

/// A route without a row in the table is refused: nobody has said who may use it.
fn operation_of(request: &Parts) -> Result<&'static OperationRow, ApiError> {
    let path = request.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let method = match request.method.as_str() {
        "HEAD" => "GET",
        method => method,
    };
    let has_path = || OPERATIONS.iter().any(|row| path.strip_prefix(BASE) == Some(row.path));
    find_operation(method, path).ok_or_else(|| match has_path() {
        true => Code::MethodNotAllowed.into(),
        false => Code::Forbidden.into(),
    })
}

/// Every failure looks the same; the security log says more, without the key.
pub(super) fn refuse(reason: &'static str) -> ApiError {
    warn!(target: "maskline::security", reason, "An API request was not authenticated");
    ApiError::new(Code::Unauthenticated)
}

/// By its signature, or else by the key that it carries.
async fn authenticate(api: &Api, request: &Parts) -> Result<(ApiKey, Option<Claim>), ApiError> {
    let headers = &request.headers;
    let (key, claim) = match signature::is_signed(headers) {
        true => by_signature(api, request).await.map(|(key, claim)| (key, Some(claim)))?,
        false => (by_bearer(api, headers).await?, None),
    };
    let now = api.now().wall;
    if key.revoked_at.is_some() || key.expires_at.is_some_and(|at| at <= now) {
        return Err(refuse("key is over"));
    }
    let peer = Peer::of(&request.extensions);
    let from_here = |peer: IpAddr| key.source_networks.iter().any(|net| net.contains(peer));
    if !key.source_networks.is_empty() && !peer.ip.is_some_and(from_here) {
        return Err(refuse("source address"));
    }
    if key.certificate.is_some() && key.certificate != peer.certificate {
        return Err(refuse("client certificate"));
    }
    Ok((key, claim))
}

async fn by_signature(api: &Api, request: &Parts) -> Result<(ApiKey, Claim), ApiError> {
    let claim = Claim::read(request).map_err(refuse)?;
    let key = find_signer(api, claim.key).await?.ok_or_else(|| refuse("unknown key"))?;
    let sealed = key.signing_sealed.as_deref().ok_or_else(|| refuse("a key that is sent"))?;
    let secret = api.store().vault().open_api_secret(key.id, sealed).map_err(StoreError::from)?;
    if !claim.is_signed_with(&secret) {
        return Err(refuse("signature"));
    }
    match claim.is_timely(api.now().wall) {
        true => Ok((key, claim)),
        false => Err(refuse("time of the signature")),
    }
}

async fn by_bearer(api: &Api, headers: &HeaderMap) -> Result<ApiKey, ApiError> {
    let text = bearer(headers).ok_or_else(|| refuse("no bearer key"))?;
    let hash = bearer_hash(api.store().vault(), text).ok_or_else(|| refuse("not a key"))?;
    let key = find_key(api, &hash).await?.ok_or_else(|| refuse("unknown key"))?;
    // The index found it by its hash; this comparison makes the decision.
    if !is_equal(&key.secret_hash, &hash) {
        return Err(refuse("unknown key"));
    }
    match key.requires_signature {
        false => Ok(key),
        true => Err(refuse("not signed")),
    }
}

/// Exactly one `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key)
}

async fn find_key(api: &Api, hash: &[u8; HASH_BYTES]) -> Result<Option<ApiKey>, ApiError> {
    if let Some(key) = api.key_cache().get(hash) {
        return Ok(Some(key));
    }
    let key = api.store().find_api_key(hash).await?;
    if let Some(key) = &key {
        api.key_cache().insert(*hash, key.clone());
    }
    Ok(key)
}

async fn find_signer(api: &Api, id: ApiKeyId) -> Result<Option<ApiKey>, ApiError> {
    if let Some(key) = api.signer_cache().get(&id) {
        return Ok(Some(key));
    }
    let anybody = KeyOwner::Anybody { only_test: false };
    let key = api.store().find_api_key_of(anybody, id).await?;
    if let Some(key) = &key {
        api.signer_cache().insert(id, key.clone());
    }
    Ok(key)
}
