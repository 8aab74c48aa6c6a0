//! What goes wrong, as RFC 9457 problems: one table of codes with their status and their words in
//! two languages. A problem never holds a value that a client sent: it names the rule, the place
//! and nothing else.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::field_error::FieldError;
use super::request_id::RequestId;
use crate::domain::cause::Cause;

/// Content type of every error answer.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The most field errors one problem lists.
pub const FIELD_ERRORS_MAX: usize = 50;

/// The two languages of messages.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Language {
    /// English, the default.
    #[default]
    En,
    /// Simplified Chinese.
    Zh,
}

impl Language {
    /// The better liked one of our two languages in `Accept-Language` (RFC 9110 §12.5.4); English
    /// when none is named.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
        let (mut best, mut best_quality) = (Self::En, 0.0);
        for item in accepted.unwrap_or_default().split(',').take(16) {
            let (tag, quality) = item.split_once(';').unwrap_or((item, ""));
            let quality = quality.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.parse().ok());
            let primary = tag.trim().split('-').next().unwrap_or_default();
            let language = match primary.to_ascii_lowercase().as_str() {
                "zh" => Self::Zh,
                "en" => Self::En,
                _ => continue,
            };
            if let Some(quality) = quality.filter(|quality| *quality > best_quality) {
                (best, best_quality) = (language, quality);
            }
        }
        best
    }

    /// Reads [`Self::tag`] back.
    #[must_use]
    pub fn find_tag(tag: &str) -> Option<Self> {
        [Self::En, Self::Zh].into_iter().find(|language| language.tag() == tag)
    }

    /// The value of `Content-Language`.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh-CN",
        }
    }
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident $code:literal $status:ident $retryable:literal
       $title_en:literal $title_zh:literal $detail_en:literal $detail_zh:literal;)+) => {
        /// The closed list of problem codes.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Code {
            $($(#[$doc])* $name,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The stable word.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// The same request may succeed later.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $(Self::$name => $retryable,)+ }
            }

            /// A short title and one sentence.
            #[must_use]
            pub const fn words(self, language: Language) -> (&'static str, &'static str) {
                match (self, language) {
                    $((Self::$name, Language::En) => ($title_en, $detail_en),
                      (Self::$name, Language::Zh) => ($title_zh, $detail_zh),)+
                }
            }
        }
    };
}

problems! {
    /// The body is no JSON (or no CSV) at all.
    MalformedBody "malformed_body" BAD_REQUEST false
        "Malformed body" "请求体格式错误"
        "The body could not be read." "无法解析请求体。";
    /// More query parameters than any operation has.
    TooManyParameters "too_many_parameters" BAD_REQUEST false
        "Too many parameters" "查询参数过多"
        "The query has more parameters than any operation reads." "查询参数数量超过上限。";
    /// No key, or none that is valid here.
    Unauthenticated "unauthenticated" UNAUTHORIZED false
        "Not authenticated" "未认证"
        "The request needs a valid API key." "请求需要有效的 API 密钥。";
    /// The key may not do this.
    Forbidden "forbidden" FORBIDDEN false
        "Not permitted" "无权限"
        "The role or the scopes of this key do not permit this operation."
        "该密钥的角色或范围不允许此操作。";
    /// The operation needs a tenant's own key.
    TenantKeyRequired "tenant_key_required" FORBIDDEN false
        "A tenant's key is needed" "需要租户密钥"
        "This operation belongs to a tenant; use one of its keys." "此操作属于租户，请使用该租户的密钥。";
    /// The operation belongs to test mode.
    TestKeyRequired "test_key_required" FORBIDDEN false
        "A test key is needed" "需要测试密钥"
        "This operation belongs to test mode; use a key of a test tenant."
        "此操作属于测试模式，请使用测试租户的密钥。";
    /// The tenant is suspended: no new bindings.
    TenantSuspended "tenant_suspended" FORBIDDEN false
        "Tenant suspended" "租户已停用"
        "The tenant is suspended and takes no new bindings." "租户已停用，不能新建绑定。";
    /// A call would be refused; `reasons` says why.
    PolicyRefused "policy_refused" FORBIDDEN false
        "The call would be refused" "呼叫将被拒绝"
        "A call of this agent to this subscriber would be refused now; see reasons."
        "该坐席现在呼叫该用户将被拒绝，见 reasons。";
    /// No such thing for this caller.
    NotFound "not_found" NOT_FOUND false
        "Not found" "未找到"
        "There is nothing here by this name." "此处没有该资源。";
    /// The path exists, the method does not.
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED false
        "Method not allowed" "方法不允许"
        "This path does not have that method." "该路径不支持此方法。";
    /// A thing of that natural key exists with other content.
    ExternalIdConflict "external_id_conflict" CONFLICT false
        "Taken by other content" "外部编号冲突"
        "A binding with this external_id exists with other content."
        "已存在相同 external_id 但内容不同的绑定。";
    /// The wanted virtual number is not free.
    NumberTaken "number_taken" CONFLICT false
        "Number taken" "号码不可用"
        "The virtual number is not available." "该虚拟号码不可用。";
    /// The wanted virtual number rests after a binding of the tenant's own.
    NumberCooling "number_cooling" CONFLICT false
        "Number at rest" "号码冷却中"
        "The virtual number rests after a binding with somebody else."
        "该虚拟号码在与他人的绑定结束后处于冷却期。";
    /// No pool is of the wanted city.
    GeoMismatch "geo_mismatch" CONFLICT false
        "Not in that city" "城市不符"
        "The pool is not of that city, or no pool is." "号码池不属于该城市，或该城市没有号码池。";
    /// No virtual number is free.
    PoolEmpty "pool_empty" CONFLICT false
        "No number available" "号码池已空"
        "The pool has no available number for this tenant." "号码池中没有可分配给该租户的号码。";
    /// The thing exists already.
    AlreadyExists "already_exists" CONFLICT false
        "Already exists" "已存在"
        "Something with one of these values exists already." "已存在具有相同值的资源。";
    /// There are as many of these as there may be.
    LimitReached "limit_reached" CONFLICT false
        "Limit reached" "已达上限"
        "There are as many of these as there may be." "该类资源数量已达上限。";
    /// The state does not allow this change.
    StateConflict "state_conflict" CONFLICT false
        "Not in this state" "状态不允许"
        "The current state does not allow this change." "当前状态不允许此变更。";
    /// The first request with this key is still running.
    IdempotencyInProgress "idempotency_in_progress" CONFLICT true
        "Still running" "处理中"
        "A request with this Idempotency-Key is still running."
        "具有相同 Idempotency-Key 的请求仍在处理中。";
    /// The tenant has an import that is not over.
    ImportRunning "import_running" CONFLICT true
        "An import is running" "导入进行中"
        "An import of this tenant is not over; look for it in the list, or cancel it."
        "该租户有尚未结束的导入任务，可在列表中查看或取消。";
    /// `If-Match` names another version.
    PreconditionFailed "precondition_failed" PRECONDITION_FAILED false
        "Changed meanwhile" "已被修改"
        "The resource has changed since it was read." "资源在读取后已被修改。";
    /// More than the body limit.
    BodyTooLarge "body_too_large" PAYLOAD_TOO_LARGE false
        "Body too large" "请求体过大"
        "The body is larger than this operation reads." "请求体超过此操作的上限。";
    /// Not a content type of this operation.
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE false
        "Unsupported media type" "不支持的媒体类型"
        "The Content-Type is not one that this operation reads." "此操作不支持该 Content-Type。";
    /// A field breaks a rule; `errors` says which.
    ValidationFailed "validation_failed" UNPROCESSABLE_ENTITY false
        "Invalid request" "请求无效"
        "One or more fields are invalid; see errors." "一个或多个字段无效，见 errors。";
    /// Designed, but not built yet.
    NotSupportedYet "not_supported_yet" UNPROCESSABLE_ENTITY false
        "Not supported yet" "暂不支持"
        "This version does not support that yet; see errors." "当前版本暂不支持，见 errors。";
    /// The tenant may name subscribers by id only.
    RealNumberNotAccepted "real_number_not_accepted" UNPROCESSABLE_ENTITY false
        "Real numbers are not accepted" "不接受真实号码"
        "This tenant names subscribers by id only." "该租户只能以用户编号引用用户。";
    /// A subscriber's number is one of our virtual numbers.
    NumberVirtual "number_virtual" UNPROCESSABLE_ENTITY false
        "A virtual number" "虚拟号码"
        "The subscriber's number is a virtual one of this platform: a call would come back to it."
        "该用户号码是本平台的虚拟号码，呼叫会回到本平台。";
    /// The same key came with another request.
    IdempotencyMismatch "idempotency_mismatch" UNPROCESSABLE_ENTITY false
        "Another request" "请求不一致"
        "This Idempotency-Key was used for another request."
        "该 Idempotency-Key 已用于另一个请求。";
    /// The key, or its tenant, asks more often than it may.
    RateLimited "rate_limited" TOO_MANY_REQUESTS true
        "Too many requests" "请求过多"
        "The key or its tenant has made more requests than it may; go on more slowly."
        "该密钥或其租户的请求数超过上限，请放慢速度。";
    /// The tenant fetches as many recordings as it may.
    TooManyDownloads "too_many_downloads" TOO_MANY_REQUESTS true
        "Too many downloads" "下载过多"
        "As many recordings of this tenant are being fetched as may be; the link is still good."
        "该租户同时下载的录音已达上限，链接仍然有效。";
    /// As many streams are open as may be.
    TooManyStreams "too_many_streams" TOO_MANY_REQUESTS true
        "Too many streams" "实时连接过多"
        "As many streams of live calls are open as may be; close one, or list the calls."
        "实时通话连接数已达上限，请关闭其中一个或改用列表查询。";
    /// The file of a recording is gone.
    RecordingMissing "recording_missing" INTERNAL_SERVER_ERROR false
        "Recording missing" "录音缺失"
        "The file of this recording is missing; nothing was sent and the link is still good."
        "该录音的文件缺失，未发送任何内容，链接仍然有效。";
    /// The file of a recording is not what was written.
    RecordingChanged "recording_changed" INTERNAL_SERVER_ERROR false
        "Recording changed" "录音被更改"
        "The file is not what was recorded; nothing was sent and the link is still good."
        "该文件与录制内容不符，未发送任何内容，链接仍然有效。";
    /// Our own fault.
    Internal "internal" INTERNAL_SERVER_ERROR true
        "Internal error" "内部错误"
        "Something went wrong on our side; the request id finds it in the log."
        "服务内部出错，可凭请求编号在日志中查找。";
    /// The database or the relay is away.
    Unavailable "unavailable" SERVICE_UNAVAILABLE true
        "Unavailable" "服务暂不可用"
        "The service cannot answer now; nothing was changed for certain."
        "服务暂时无法应答，变更未确认生效。";
    /// As many recordings are fetched as may be.
    DownloadsFull "downloads_full" SERVICE_UNAVAILABLE true
        "Too many downloads" "下载繁忙"
        "As many recordings are being fetched as may be; the link is still good."
        "同时下载的录音已达上限，链接仍然有效。";
    /// The handler took too long.
    Timeout "timeout" GATEWAY_TIMEOUT true
        "Timed out" "处理超时"
        "The request was not finished in time." "请求未能及时完成。";
}

/// One problem on its way to the client. It is written out by [`render`], where request id and
/// language are known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiError {
    code: Code,
    fields: Vec<FieldError>,
    cause: Option<String>,
    reasons: Vec<Cause>,
}

impl ApiError {
    /// A problem without a place.
    #[must_use]
    pub const fn new(code: Code) -> Self {
        Self { code, fields: Vec::new(), cause: None, reasons: Vec::new() }
    }

    /// A problem at one place of the request.
    #[must_use]
    pub fn at(code: Code, field: FieldError) -> Self {
        Self { code, fields: vec![field], cause: None, reasons: Vec::new() }
    }

    /// [`Code::ValidationFailed`] with everything that was found, at most [`FIELD_ERRORS_MAX`].
    #[must_use]
    pub fn invalid(mut fields: Vec<FieldError>) -> Self {
        fields.truncate(FIELD_ERRORS_MAX);
        Self { code: Code::ValidationFailed, fields, cause: None, reasons: Vec::new() }
    }

    /// Why a call would be refused.
    #[must_use]
    pub fn with_reasons(mut self, reasons: Vec<Cause>) -> Self {
        self.reasons = reasons;
        self
    }

    /// What the log should say about it; `cause` must hold no values.
    #[must_use]
    pub fn because(mut self, cause: String) -> Self {
        self.cause = Some(cause);
        self
    }

    /// Its code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What the client is told; what the log should say about it is said.
    #[must_use]
    pub fn problem(&self, request_id: &RequestId, language: Language) -> Problem {
        let code = self.code;
        if let Some(cause) = &self.cause {
            tracing::warn!(request.id = %request_id, code = code.label(),
                "A request failed: {cause}");
        }
        let (title, detail) = code.words(language);
        Problem {
            kind: format!("urn:maskline:problem:{}", code.label()),
            title,
            status: code.status().as_u16(),
            code: code.label(),
            detail,
            request_id: request_id.to_string(),
            retryable: code.retryable(),
            reasons: self.reasons.iter().map(|reason| reason.label()).collect(),
            errors: self.fields.iter().map(|field| field.body(language)).collect(),
        }
    }

    /// The places it names.
    #[must_use]
    pub fn fields(&self) -> &[FieldError] {
        &self.fields
    }
}

impl From<Code> for ApiError {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl From<FieldError> for ApiError {
    fn from(field: FieldError) -> Self {
        Self::invalid(vec![field])
    }
}

impl IntoResponse for ApiError {
    /// Only the status; [`render`] writes the body.
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// The body of every error answer, RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// A URN of the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short title in the language of the request.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The stable word to decide on.
    pub code: &'static str,
    /// One sentence in the language of the request.
    pub detail: &'static str,
    /// Finds the request in the log.
    pub request_id: String,
    /// The same request may succeed later.
    pub retryable: bool,
    /// Why a call would be refused: causes as records of calls have them, the first one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<&'static str>,
    /// The places of the request that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemField>,
}

/// One wrong place.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemField {
    /// JSON Pointer (RFC 6901) into the body, `/query/…` or `/header/…` for the rest of the
    /// request.
    pub pointer: String,
    /// The stable word of the broken rule.
    pub code: &'static str,
    /// The rule in the language of the request.
    pub message: String,
}

/// Writes the body of a problem that a handler or a layer has left in the extensions; other answers
/// pass.
#[must_use]
pub fn render(mut response: Response, request_id: &RequestId, language: Language) -> Response {
    let Some(error) = response.extensions_mut().remove::<Arc<ApiError>>() else {
        return response;
    };
    let code = error.code;
    let problem = error.problem(request_id, language);
    let (mut parts, _) = response.into_parts();
    let headers = &mut parts.headers;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
    headers.remove(header::CONTENT_LENGTH);
    if code == Code::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if code.retryable() {
        // A download takes a while.
        let is_download = matches!(code, Code::TooManyDownloads | Code::DownloadsFull);
        let wait_s = if is_download { "10" } else { "1" };
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(wait_s));
    }
    let body = serde_json::to_vec(&problem).expect("a problem has only strings and numbers");
    Response::from_parts(parts, body.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn language(accept: &'static str) -> Language {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(accept));
        Language::of(&headers)
    }

    #[test]
    fn the_better_liked_language_wins() {
        assert_eq!(Language::of(&HeaderMap::new()), Language::En);
        assert_eq!(language("zh-CN,zh;q=0.9,en;q=0.8"), Language::Zh);
        assert_eq!(language("en-GB, zh;q=0.9"), Language::En);
        assert_eq!(language("en;q=0.2, zh-Hans;q=0.3"), Language::Zh);
        assert_eq!(language("fr, de;q=0.5"), Language::En);
        assert_eq!(language("zh;q=abc"), Language::En);
    }

    #[test]
    fn every_code_has_its_own_word_and_speaks_both_languages() {
        let labels: BTreeSet<_> = Code::ALL.iter().map(|code| code.label()).collect();
        assert_eq!(labels.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(!code.words(Language::Zh).1.is_ascii(), "{code:?}");
            assert!(code.words(Language::En).1.is_ascii(), "{code:?}");
        }
    }
}
