"""What schemathesis asks of an answer beside its own checks."""

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

# Rules that depend on what is stored, or that no schema can say.
BEYOND_SCHEMAS = {
    "exactly_one",
    "invalid_address",
    "invalid_time",
    "not_supported_yet",
    "number_virtual",
    "real_number_here",
    "real_number_not_accepted",
    "receiver_url",
    "taken",
    "time_order",
    "unknown_reference",
}
# The same of single fields: names of zones, certificates, what is wanted beside something else.
BEYOND_SCHEMAS_AT = {
    ("/query/tenant_id", "missing"),
    ("/query/tenant_id", "unknown_field"),
    ("/query/pool", "unknown_field"),
    ("/time_zone", "invalid"),
    ("/tls_ca", "invalid"),
    ("/tls_ca", "missing"),
    ("/tls_name", "invalid"),
    ("/srtp", "invalid"),
    ("/tenant_id", "invalid"),
    ("/tenant_id", "missing"),
    ("/valid_until", "missing"),
    ("/policy/ends_at", "missing"),
    ("/city", "missing"),
    ("/number", "missing"),
    ("/agents", "missing"),
    ("/agents", "invalid"),
    # A file of no rows, and one without a header.
    ("", "length"),
    ("/external_id", "missing"),
}
# A thing has changed meanwhile, or another body came under the same Idempotency-Key.
STATE = {"precondition_failed", "idempotency_mismatch"}


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    """A file of lines is sent as it is."""
    return value if isinstance(value, bytes) else str(value).encode(errors="ignore")


def holds_whole_float(value):
    """JSON Schema counts 1.0 among the integers, JSON readers with types do not."""
    if isinstance(value, dict):
        return any(map(holds_whole_float, value.values()))
    if isinstance(value, list):
        return any(map(holds_whole_float, value))
    return isinstance(value, float) and value.is_integer()


@schemathesis.check
def valid_data_is_accepted(ctx, response, case):
    """As positive_data_acceptance, but told by the problem's codes and not by its status."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code not in (400, 412, 422):
        return
    problem = response.json()
    if problem["code"] in STATE or holds_whole_float(case.body):
        return
    broken = {(error["pointer"], error["code"]) for error in problem.get("errors", [])}
    schema = [b for b in broken if b[1] not in BEYOND_SCHEMAS and b not in BEYOND_SCHEMAS_AT]
    if schema or not broken:
        raise RejectedPositiveData(
            operation=case.operation.label,
            message=f"The schema permits what is refused: {sorted(schema) or problem['code']}",
            status_code=response.status_code,
            allowed_statuses=["2XX"],
        )


@schemathesis.check
def no_limit_is_met(ctx, response, case):
    """Answers of a limit would say nothing of the operation."""
    if response.status_code == 429:
        assert response.json()["code"] != "rate_limited", "a run is slower than the limits"
