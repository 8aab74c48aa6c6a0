//! Which handlers there are, and the OpenAPI 3.1 file made from them. A handler gets a route only
//! together with its place in the file.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Content, ObjectBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder, Schema,
    SecurityRequirement, Type,
};
use utoipa::{OpenApi as _, ToSchema as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::bindings::BindingStateWord;
use super::calls::{CauseWord, DirectionWord};
use super::error::{PROBLEM_JSON, Problem};
use super::events::EventCursor;
use super::links::link;
use super::numbers::NumberStateWord;
use super::paging::Cursor;
use super::roles::{BASE, find_operation};
use super::values::{Time, VirtualNumberField, text_schema};
use super::webhooks::DeliveryStateWord;
use super::{
    Api, agents, api_keys, binding_batch, binding_change, bindings, calls, events, imports,
    intents, live_calls, numbers, pools, recordings, sip_access, subscribers, tenants, test_clock,
    trunks, webhooks,
};
use crate::domain::event::EventKind;
use crate::domain::id::{AgentId, BindingId, CallId, ImportId, PoolId, SubscriberId, TenantId};

/// Where the file is served.
pub const DOCUMENT_PATH: &str = "/openapi.json";
/// Where the pages are served.
pub const PAGES_PATH: &str = "/docs";

const SCHEME: &str = "bearer";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "maskline control API",
        description = "Virtual numbers for insurers: bind, watch and end. Errors are RFC 9457 \
                       problems; a real number goes in through two fields and never comes out.\n\n\
                       No request with an Idempotency-Key is carried out twice. Should the service \
                       crash between a change and its answer, a repeat is recognised by the name \
                       you gave (external_id, the subscriber's number: 200; employee_id, name: \
                       409) or by the state it asks for (200). What has no such name (tenants, API \
                       keys) is made together with its answer, or not at all.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    // What only parameters name is not found by itself.
    components(schemas(
        Problem,
        Cursor,
        EventCursor,
        EventKind,
        CauseWord,
        DirectionWord,
        BindingStateWord,
        NumberStateWord,
        DeliveryStateWord,
        Time,
        VirtualNumberField,
        AgentId,
        BindingId,
        CallId,
        ImportId,
        PoolId,
        SubscriberId,
        TenantId,
    ))
)]
struct Document;

/// Every operation with its handler, and the finished file.
pub(super) fn operations() -> (Router<Api>, OpenApi) {
    let nouns = OpenApiRouter::new()
        .routes(routes!(tenants::create, tenants::list))
        .routes(routes!(tenants::get, tenants::patch))
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::roll))
        .routes(routes!(api_keys::delete))
        .routes(routes!(agents::create, agents::list))
        .routes(routes!(agents::get, agents::patch, agents::delete))
        .routes(routes!(sip_access::create_agent_login, sip_access::delete_agent_login))
        .routes(routes!(trunks::create, trunks::list))
        .routes(routes!(trunks::get, trunks::patch, trunks::delete))
        .routes(routes!(sip_access::access))
        .routes(routes!(sip_access::put_account, sip_access::delete_account))
        .routes(routes!(sip_access::create_login, sip_access::delete_login))
        .routes(routes!(pools::create, pools::list))
        .routes(routes!(pools::get, pools::patch))
        .routes(routes!(pools::capacity))
        .routes(routes!(numbers::import))
        .routes(routes!(numbers::list))
        .routes(routes!(numbers::get, numbers::patch))
        .routes(routes!(subscribers::create))
        .routes(routes!(subscribers::get))
        .routes(routes!(subscribers::replace_number))
        .routes(routes!(subscribers::number_history))
        .routes(routes!(bindings::create, bindings::list))
        .routes(routes!(binding_batch::batch))
        .routes(routes!(imports::create, imports::list))
        .routes(routes!(imports::get))
        .routes(routes!(imports::errors))
        .routes(routes!(imports::cancel))
        .routes(routes!(bindings::get, binding_change::patch))
        .routes(routes!(binding_change::renew))
        .routes(routes!(bindings::suspend))
        .routes(routes!(bindings::resume))
        .routes(routes!(bindings::unbind))
        .routes(routes!(intents::create, intents::list))
        .routes(routes!(intents::get))
        .routes(routes!(intents::cancel))
        .routes(routes!(test_clock::advance))
        .routes(routes!(calls::list))
        .routes(routes!(calls::live))
        .routes(routes!(live_calls::stream))
        .routes(routes!(calls::get))
        .routes(routes!(calls::terminate))
        .routes(routes!(events::list))
        .routes(routes!(events::types))
        .routes(routes!(webhooks::create, webhooks::list))
        .routes(routes!(webhooks::get, webhooks::patch, webhooks::delete))
        .routes(routes!(webhooks::rotate))
        .routes(routes!(webhooks::ping))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::replay))
        .routes(routes!(recordings::list))
        .routes(routes!(recordings::link));
    let (router, mut document) =
        OpenApiRouter::with_openapi(Document::openapi()).nest(BASE, nouns).split_for_parts();
    finish(&mut document);
    (router, document)
}

/// The file and the pages that show it.
pub(super) fn pages(document: OpenApi) -> Router<Api> {
    let text = document.to_json().expect("the document is made of maps and strings");
    let text: Arc<str> = text.into();
    let serve = move || async move {
        ([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response()
    };
    let pages = SwaggerUi::new(PAGES_PATH).config(Config::from(DOCUMENT_PATH));
    Router::from(pages).route(DOCUMENT_PATH, get(serve))
}

/// The OpenAPI file, for tools and tests.
#[must_use]
pub fn document() -> OpenApi {
    operations().1
}

/// What holds for all operations is written once, here.
fn finish(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("mk_live_… or mk_test_…")
        .description(Some(
            "Or, with a key that signs, no `Authorization` but an HTTP Message Signature (RFC \
             9421) by `hmac-sha256` that covers `@method`, `@path`, `@query`, and `content-type`, \
             `content-digest`, `if-match` and `idempotency-key` where they are present.",
        ))
        .build();
    components.security_schemes.insert(SCHEME.to_owned(), SecurityScheme::Http(bearer).into());
    document.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(SCHEME, [])]);
    for schema in components.schemas.values_mut() {
        describe_properties(schema);
    }
    for (path, item) in &mut document.paths.paths {
        let methods = [
            ("GET", &mut item.get),
            ("POST", &mut item.post),
            ("PUT", &mut item.put),
            ("PATCH", &mut item.patch),
            ("DELETE", &mut item.delete),
        ];
        for (method, operation) in methods {
            if let Some(operation) = operation {
                describe(method, path, operation);
            }
        }
    }
    link(document);
}

/// What is said of a field that may be null stands beside its type; it belongs to the field.
fn describe_properties(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            for property in object.properties.values_mut() {
                if let RefOr::T(Schema::OneOf(either)) = property
                    && let Some(RefOr::Ref(reference)) = either.items.first()
                    && !reference.description.is_empty()
                {
                    either.description = Some(reference.description.clone());
                }
            }
        }
        RefOr::T(Schema::AllOf(all)) => all.items.iter_mut().for_each(describe_properties),
        RefOr::T(_) | RefOr::Ref(_) => {}
    }
}

fn describe(method: &str, path: &str, operation: &mut Operation) {
    let problem = ResponseBuilder::new()
        .description("A problem, RFC 9457")
        .content(PROBLEM_JSON, Content::new(Some(Ref::from_schema_name(Problem::name()))))
        .build();
    for status in ["4XX", "5XX"] {
        operation.responses.responses.insert(status.to_owned(), problem.clone().into());
    }
    let parameters = operation.parameters.get_or_insert_default();
    for parameter in parameters.iter_mut() {
        if let RefOr::T(parameter) = parameter
            && parameter.parameter_in == ParameterIn::Path
        {
            let what = if parameter.name == "x" { "The virtual number." } else { "Its `id`." };
            parameter.description.get_or_insert_with(|| what.to_owned());
        }
    }
    let any = ObjectBuilder::new().schema_type(Type::String).into();
    parameters.push(header_parameter("X-Request-Id", "Echoed; names the request in the log.", any));
    if method == "POST" {
        let text = "The first answer to this key is kept for 48 hours and repeated.";
        let form = text_schema("^(?=.{1,255}$)[\\t -~]*[!-~][\\t -~]*$", None);
        parameters.push(header_parameter("Idempotency-Key", text, form));
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        for content in body.content.values_mut() {
            if let RefOr::T(content) = content {
                content.schema = content.schema.take().map(without_null);
            }
        }
    }
    if let Some(row) = find_operation(method, path) {
        let roles: Vec<_> = super::roles::Role::ALL
            .into_iter()
            .filter(|role| row.permits(*role))
            .map(super::roles::Role::label)
            .collect();
        let summary = operation.description.take().unwrap_or_default();
        let roles = roles.join(", ");
        let text = format!("{summary}\n\nRoles: {roles}. Scope: `{}`.", row.scope);
        operation.description = Some(text.trim_start().to_owned());
    }
}

/// A body that may be left out is no body that may be `null`.
fn without_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    match &schema {
        RefOr::T(Schema::OneOf(either)) => {
            let mut kinds = either.items.iter().filter(|kind| matches!(kind, RefOr::Ref(_)));
            kinds.next().cloned().unwrap_or(schema)
        }
        RefOr::T(_) | RefOr::Ref(_) => schema,
    }
}

fn header_parameter(name: &str, description: &str, form: RefOr<Schema>) -> RefOr<Parameter> {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(form))
        .build()
        .into()
}
