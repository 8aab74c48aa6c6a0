//! `Idempotency-Key`: the first answer to a POST is kept for 48 hours, and repeated instead of the
//! work. The key, the request and the answer are stored as keyed hashes and sealed.
//!
//! Most changes have a name of the client's own (`external_id`, a subscriber's number, a unique
//! name) or are the same when done twice: their answer is kept after them, and a crash in between
//! costs the repeat the first answer and nothing else. The others commit by [`Completion`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, response};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use tracing::Instrument as _;

use super::Api;
use super::auth::Actor;
use super::error::{ApiError, Code, render};
use super::extract::{BODY_BYTES_MAX, body_bytes_max, is_import, read_body};
use super::field_error::{FieldError, Rule};
use super::layers::{REQUEST_TIME_MAX, RequestContext};
use crate::store::idempotency::{Begun, Claim, KeptAnswer};
use crate::store::{PlatformTx, StoreError, TenantTx};
use crate::vault::Cell;

/// The request header.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Set on an answer that was kept.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
/// The longest key.
pub const KEY_CHARS_MAX: usize = 255;
/// How long an answer is kept.
pub const KEEP_TIME: Duration = Duration::from_secs(48 * 60 * 60);
/// A request that has not answered after this has died, and may be tried again.
pub const LOCK_TIME: Duration = Duration::from_secs(4 * REQUEST_TIME_MAX.as_secs());
/// The largest answer that is kept, in bodies of its operation: what was sent comes back beside
/// what was made of it, and a number of few characters may come back in many.
const ANSWER_BODIES_MAX: usize = 8;
/// The largest answer that is kept together with its change.
const ANSWER_BYTES_MAX: usize = ANSWER_BODIES_MAX * BODY_BYTES_MAX;

/// The headers of an answer that are kept with it.
const KEPT_HEADERS: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::CONTENT_LANGUAGE, header::LOCATION, header::ETAG];

/// The layer around every operation, inside authentication.
pub async fn once(
    State(api): State<Api>,
    actor: Actor,
    context: axum::Extension<RequestContext>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let key = key_of(&parts);
    let is_import = is_import(&parts);
    let request = Request::from_parts(parts, body);
    let key = match key {
        // A repeated import is recognised while its body comes: nobody holds all of it.
        Ok(Some(_)) if is_import => return to_the_end(next.run(request)).await,
        Ok(Some(key)) => key,
        Ok(None) if request.method().is_safe() => return next.run(request).await,
        Ok(None) => return to_the_end(next.run(request)).await,
        Err(error) => return error.into_response(),
    };
    let context = context.0;
    let work = Once { api, actor, context, key }.run(request, next);
    to_the_end(async move { work.await.into_response() }).await
}

/// The work goes on when the client has gone or the time is up: what is committed is also told to
/// the relay, and a kept answer is there when the client comes back.
async fn to_the_end(work: impl Future<Output = Response> + Send + 'static) -> Response {
    let work = tokio::spawn(work.in_current_span());
    work.await.unwrap_or_else(|_| ApiError::new(Code::Internal).into_response())
}

/// The key of a POST, if it has one.
pub(super) fn key_of(parts: &Parts) -> Result<Option<String>, ApiError> {
    if parts.method != Method::POST {
        return Ok(None);
    }
    let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let invalid = |rule| ApiError::from(FieldError::new("/header/idempotency-key", rule));
    let text = value.to_str().map_err(|_| invalid(Rule::Invalid))?;
    if !(1..=KEY_CHARS_MAX).contains(&text.len()) {
        return Err(invalid(Rule::Length(1, KEY_CHARS_MAX)));
    }
    match values.next() {
        Some(_) => Err(invalid(Rule::Duplicate)),
        None => Ok(Some(text.to_owned())),
    }
}

struct Once {
    api: Api,
    actor: Actor,
    context: RequestContext,
    key: String,
}

impl Once {
    async fn run(self, request: Request, next: Next) -> Result<Response, ApiError> {
        let (parts, body) = request.into_parts();
        let body = read_body(&parts, body).await?;
        let answer_bytes_max = ANSWER_BODIES_MAX * body_bytes_max(&parts);
        let claim = self.claim(&parts, &body);
        match self.api.store().begin_once(&claim, self.api.now().wall).await? {
            Begun::Started => {}
            Begun::InProgress => return Err(Code::IdempotencyInProgress.into()),
            Begun::Mismatch => return Err(Code::IdempotencyMismatch.into()),
            Begun::Kept(answer) => return self.replay(&claim, &answer),
        }
        let mut request = Request::from_parts(parts, Body::from(body));
        request.extensions_mut().insert(Claimed(Arc::new(claim.clone())));
        let work = next.run(request);
        // A panic is caught outside of this layer; the claim must be given back here.
        let response = tokio::spawn(work).await;
        let response = response.unwrap_or_else(|_| ApiError::new(Code::Internal).into_response());
        self.keep(&claim, response, answer_bytes_max).await
    }

    fn claim(&self, parts: &Parts, body: &[u8]) -> Claim {
        let hasher = self.api.request_hasher();
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        let content_type = parts.headers.get(header::CONTENT_TYPE);
        let request = [
            parts.method.as_str().as_bytes(),
            target.as_bytes(),
            content_type.map_or(b"".as_slice(), HeaderValue::as_bytes),
            body,
        ];
        // Keys of the platform share one owner: each of them has names of its own.
        let platform_key = match self.actor.tenant {
            Some(_) => Vec::new(),
            None => self.actor.key.as_u128().to_be_bytes().to_vec(),
        };
        Claim {
            tenant: self.actor.tenant,
            // A client may have put anything into its key: it is stored as a keyed hash.
            key_hash: hasher.hash(&[b"key", &platform_key, self.key.as_bytes()]),
            request_hash: hasher.hash(&request),
            keep: KEEP_TIME,
            lock: LOCK_TIME,
        }
    }

    /// Keeps a final answer; gives the claim back when the fault is ours.
    async fn keep(
        &self,
        claim: &Claim,
        response: Response,
        bytes_max: usize,
    ) -> Result<Response, ApiError> {
        let store = self.api.store();
        if response.extensions().get::<Completed>().is_some() {
            return Ok(response);
        }
        let response = render(response, &self.context.id, self.context.language);
        if response.status().is_server_error() {
            store.abandon_once(claim).await?;
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let Ok(body) = to_bytes(body, bytes_max).await else {
            store.abandon_once(claim).await?;
            return Err(Code::Internal.into());
        };
        let answer = seal(&self.api, claim, &parts, &body)?;
        store.complete_once(claim, &answer, self.api.now().wall).await?;
        Ok(Response::from_parts(parts, body.into()))
    }

    fn replay(&self, claim: &Claim, answer: &KeptAnswer) -> Result<Response, ApiError> {
        let cell = Cell::of_answer(claim.owner(), &claim.key_hash);
        let frame = self.api.store().vault().open_answer(&cell, &answer.sealed);
        let frame = frame.map_err(StoreError::from)?;
        let mut response = read_frame(&frame).ok_or(ApiError::new(Code::Internal))?;
        let status = StatusCode::from_u16(answer.status);
        *response.status_mut() = status.map_err(|_| ApiError::new(Code::Internal))?;
        let replayed = HeaderValue::from_static("true");
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, replayed);
        Ok(response)
    }
}

fn seal(
    api: &Api,
    claim: &Claim,
    parts: &response::Parts,
    body: &[u8],
) -> Result<KeptAnswer, ApiError> {
    let frame = write_frame(&parts.headers, body);
    let cell = Cell::of_answer(claim.owner(), &claim.key_hash);
    let sealed = api.store().vault().seal_answer(&cell, &frame).map_err(StoreError::from)?;
    Ok(KeptAnswer { status: parts.status.as_u16(), sealed })
}

/// Makes a change durable together with its answer, for what has no name of the client's own by
/// which a repeat would be recognised: after a crash at any moment a repeat either finds the answer
/// or finds nothing done.
#[derive(Clone, Debug)]
pub struct Completion {
    api: Api,
    claim: Option<Claimed>,
}

/// The claim of the request, when it has a key.
#[derive(Clone, Debug)]
struct Claimed(Arc<Claim>);

/// On an answer that is kept already.
#[derive(Clone, Copy, Debug)]
struct Completed;

impl FromRequestParts<Api> for Completion {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Infallible> {
        Ok(Self { api: api.clone(), claim: parts.extensions.get().cloned() })
    }
}

impl Completion {
    /// Commits the change, and gives its answer back.
    ///
    /// # Errors
    /// The change is not made when its answer cannot be kept.
    pub async fn commit(self, mut tx: PlatformTx, answer: Response) -> Result<Response, ApiError> {
        let answer = match &self.claim {
            None => answer,
            Some(Claimed(claim)) => {
                let (answer, kept) = self.seal(claim, answer).await?;
                let is_ours = tx.complete_once(claim, &kept, self.api.now().wall).await?;
                still_ours(is_ours)?;
                answer
            }
        };
        tx.commit().await?;
        Ok(answer)
    }

    /// The same of a change that a tenant makes to what is its own.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn commit_own(
        self,
        mut tx: TenantTx,
        answer: Response,
    ) -> Result<Response, ApiError> {
        let answer = match &self.claim {
            None => answer,
            Some(Claimed(claim)) => {
                let (answer, kept) = self.seal(claim, answer).await?;
                let is_ours = tx.complete_once(claim, &kept, self.api.now().wall).await?;
                still_ours(is_ours)?;
                answer
            }
        };
        tx.commit().await?;
        Ok(answer)
    }

    /// The answer as it is given, and as it is kept.
    async fn seal(
        &self,
        claim: &Claim,
        answer: Response,
    ) -> Result<(Response, KeptAnswer), ApiError> {
        let (mut parts, body) = answer.into_parts();
        let body = to_bytes(body, ANSWER_BYTES_MAX).await;
        let body = body.map_err(|_| ApiError::new(Code::Internal))?;
        let kept = seal(&self.api, claim, &parts, &body)?;
        parts.extensions.insert(Completed);
        Ok((Response::from_parts(parts, body.into()), kept))
    }
}

/// Somebody else has taken the claim over meanwhile: it does the work.
fn still_ours(is_ours: bool) -> Result<(), ApiError> {
    if is_ours { Ok(()) } else { Err(Code::IdempotencyInProgress.into()) }
}

/// One line for each kept header, in their order, then the body.
fn write_frame(headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(body.len() + 256);
    for name in &KEPT_HEADERS {
        frame.extend_from_slice(headers.get(name).map_or(b"", HeaderValue::as_bytes));
        frame.push(b'\n');
    }
    frame.extend_from_slice(body);
    frame
}

fn read_frame(frame: &[u8]) -> Option<Response> {
    let mut parts = frame.splitn(KEPT_HEADERS.len() + 1, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in &KEPT_HEADERS {
        let value = parts.next()?;
        if !value.is_empty() {
            headers.insert(name, HeaderValue::from_bytes(value).ok()?);
        }
    }
    let mut response = Response::new(Body::from(parts.next()?.to_vec()));
    *response.headers_mut() = headers;
    Some(response)
}
