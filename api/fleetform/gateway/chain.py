"""The HTTP filters of the listener, in order. Everything that costs memory comes after the caller is known.

health        /healthz, without a key
strip         a client's own x-ff-* and x-envoy-* headers
ff.jwt        signature, issuer, expiry; claims to metadata and headers (by ECDS, see filters.py)
ff.revoked    revoked credential ids (by ECDS)
ff.token      region, OpenAI-Project, role
ff.buffer     lifts the body limit to ours
ff.model      `model` of the body to metadata; what is wrong with the body to `why`
ff.key        project/model to the header that names the cluster; directly behind ff.model, which drops the cached route
ff.scope      not JSON, no model, endpoint outside the token's scope
ff.usage_*    token counts of the answer to metadata, for the access log; not those of a stream of a declared engine
router
"""

from typing import Any

from fleetform.gateway import cel
from fleetform.gateway.filters import JWT_FILTER, REVOKED_FILTER
from fleetform.gateway.resources import ANSWER_BUFFER, METADATA, VLLM
from fleetform.settings import Settings

EXTENSIONS = "type.googleapis.com/envoy.extensions"
HEALTH_PATH = "/healthz"
INFERENCE_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
ENDPOINT_HEADER = "x-ff-endpoint"
PROJECT_CLAIM = "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:project)%"
TOKEN_CLAIM = "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:sub)%"  # noqa: S105  # names a claim, holds none
MODEL = "%DYNAMIC_METADATA(ff:model)%"
USAGE_FIELDS = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")

Json = dict[str, Any]


def http_filters(settings: Settings) -> list[Json]:
    """The chain of this region's gateway."""
    filters = f"{EXTENSIONS}.filters.http"
    return [
        _health(),
        _strip(),
        _discovered(JWT_FILTER, f"{filters}.jwt_authn.v3.JwtAuthentication"),
        _discovered(REVOKED_FILTER, f"{filters}.rbac.v3.RBAC"),
        _rbac("ff.token", _token_rules(settings.region)),
        _typed("ff.buffer", f"{filters}.buffer.v3.Buffer", max_request_bytes=settings.max_body_mib << 20),
        _model(),
        _key(),
        _rbac("ff.scope", _scope_rules()),
        _usage_json(),
        _usage_sse(),
        _typed("envoy.filters.http.router", f"{filters}.router.v3.Router", suppress_envoy_headers=True),
    ]


def typed(type_url: str, /, **fields: Any) -> Json:
    """A typed_config."""
    return {"@type": type_url, **fields}


def _typed(name: str, type_url: str, /, **fields: Any) -> Json:
    return {"name": name, "typed_config": typed(type_url, **fields)}


def _discovered(name: str, type_url: str) -> Json:
    """A filter whose configuration comes by ECDS. No time limit: without it the listener stays shut, rather than answering 500."""
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {"name": name, "config_discovery": {"config_source": source, "type_urls": [type_url]}}


def _health() -> Json:
    return _typed(
        "ff.health",
        f"{EXTENSIONS}.filters.http.health_check.v3.HealthCheck",
        pass_through_mode=False,
        headers=[{"name": ":path", "string_match": {"exact": HEALTH_PATH}}],
    )


def _strip() -> Json:
    prefixes = ("x-ff-", "x-envoy-")
    return _typed(
        "ff.strip",
        f"{EXTENSIONS}.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in prefixes]},
    )


def _model() -> Json:
    why = {"metadata_namespace": "ff", "key": "why"}
    rule = {
        "selectors": [{"key": "model"}],
        "on_present": {"metadata_namespace": "ff", "key": "model", "type": "STRING"},
        "on_missing": {**why, "value": "missing"},
        "on_error": {**why, "value": "not_json"},
    }
    return _typed(
        "ff.model",
        f"{EXTENSIONS}.filters.http.json_to_metadata.v3.JsonToMetadata",
        # The default list of content types calls "application/json; charset=utf-8" an error.
        request_rules={"allow_content_types_regex": {"regex": ".*"}, "allow_empty_content_type": True, "rules": [rule]},
    )


def _key() -> Json:
    header = {"key": ENDPOINT_HEADER, "value": f"{PROJECT_CLAIM}/{MODEL}"}
    return _typed(
        "ff.key",
        f"{EXTENSIONS}.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": [{"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}]},
    )


def _token_rules(region: str) -> Json:
    project_header = cel.path("request", "headers", "openai-project")
    is_ours = cel.equal(cel.claim("iss"), cel.text(region))
    names_project = cel.contains(cel.path("request", "headers"), cel.text("openai-project"))
    other_project = cel.unequal(project_header, cel.claim("project"))
    return _rules(
        [
            (cel.unequal(cel.claim("iss"), cel.text(region)), "wrong_region"),
            (cel.both(names_project, other_project, cel.unequal(project_header, cel.text(""))), "wrong_scope"),
        ],
        allow=cel.both(
            is_ours,
            cel.unequal(cel.claim("jti"), cel.text("")),
            cel.unequal(cel.claim("project"), cel.text("")),
            cel.contains(cel.claim("roles"), cel.text("inference.invoker")),
        ),
    )


def _scope_rules() -> Json:
    why = cel.path("metadata", "filter_metadata", "ff", "why")
    model = cel.path("metadata", "filter_metadata", "ff", "model")
    is_inference = cel.both(
        cel.equal(cel.path("request", "method"), cel.text("POST")),
        cel.contains(cel.texts(INFERENCE_PATHS), cel.path("request", "url_path")),
    )
    in_scope = cel.either(cel.contains(cel.claim("endpoints"), cel.text("*")), cel.contains(cel.claim("endpoints"), model))
    return _rules(
        [
            (cel.both(is_inference, cel.equal(why, cel.text("not_json"))), "not_json"),
            (cel.both(is_inference, cel.equal(why, cel.text("missing"))), "missing_model"),
        ],
        allow=cel.either(cel.negate(is_inference), in_scope),
    )


def _rules(denials: list[tuple[cel.Node, str]], allow: cel.Node) -> Json:
    """Named denials in order, then what is allowed; everything else is `endpoint_not_allowed`."""
    matchers = [_branch(condition, name, "DENY") for condition, name in denials]
    matchers.append(_branch(allow, "ok", "ALLOW"))
    return {"matcher_list": {"matchers": matchers}, "on_no_match": _decision("endpoint_not_allowed", "DENY")}


def _branch(condition: cel.Node, name: str, action: str) -> Json:
    return {"predicate": {"single_predicate": _holds(condition)}, "on_match": _decision(name, action)}


def _holds(condition: cel.Node) -> Json:
    matcher = "type.googleapis.com/xds.type.matcher.v3"
    expression = {"cel_expr_parsed": {"expr": cel.numbered(condition), "source_info": {}}}
    return {
        "input": _typed("attributes", f"{matcher}.HttpAttributesCelMatchInput"),
        "custom_match": _typed("cel", f"{matcher}.CelMatcher", expr_match=expression),
    }


def _decision(name: str, action: str) -> Json:
    return {"action": _typed(name, "type.googleapis.com/envoy.config.rbac.v3.Action", name=name, action=action)}


def _rbac(name: str, matcher: Json) -> Json:
    return _typed(name, f"{EXTENSIONS}.filters.http.rbac.v3.RBAC", matcher=matcher)


def _usage_rules() -> list[Json]:
    return [
        {"selectors": [{"key": "usage"}, {"key": field}], "on_present": {"metadata_namespace": "ff.usage", "key": field}}
        for field in USAGE_FIELDS
    ]


def _usage_json() -> Json:
    """The filter holds an answer back until it is whole, and fails those over the connection's buffer: so it sees small ones only."""
    rules = typed(f"{EXTENSIONS}.filters.http.json_to_metadata.v3.JsonToMetadata", response_rules={"rules": _usage_rules()})
    return _only_if("ff.usage_json", rules, _answer_header("content-length", f"[0-9]{{1,{len(str(ANSWER_BUFFER)) - 1}}}"))


def _usage_sse() -> Json:
    """Envoy 1.40 dies of an event whose data is JSON and neither an object nor a list: `data: null`. So the filter sees the streams of
    engines alone whose events we know, and those of declared engines go past it.
    """
    parser = typed(f"{EXTENSIONS}.content_parsers.json.v3.JsonContentParser", rules=[{"rule": rule} for rule in _usage_rules()])
    rules = typed(
        f"{EXTENSIONS}.filters.http.sse_to_metadata.v3.SseToMetadata",
        response_rules={"content_parser": {"name": "json", "typed_config": parser}},
    )
    engine = cel.path("xds", "cluster_metadata", "filter_metadata", METADATA, "engine")
    # The first waits for the answer: of the request the cluster is not known yet.
    return _only_if("ff.usage_sse", rules, _answer_header("content-type", ".*"), _holds(cel.equal(engine, cel.text(VLLM))))


def _only_if(name: str, config: Json, *predicates: Json) -> Json:
    """A filter that is skipped unless all predicates hold."""
    each = [{"single_predicate": predicate} for predicate in predicates]
    all_hold = each[0] if len(each) == 1 else {"and_matcher": {"predicate": each}}
    skip = _typed("skip", f"{EXTENSIONS}.filters.common.matcher.action.v3.SkipFilter")
    return _typed(
        name,
        f"{EXTENSIONS}.common.matching.v3.ExtensionWithMatcher",
        extension_config={"name": name, "typed_config": config},
        xds_matcher={"matcher_list": {"matchers": [{"predicate": {"not_matcher": all_hold}, "on_match": {"action": skip}}]}},
    )


def _answer_header(name: str, regex: str) -> Json:
    """A header of the answer is there, and is like that."""
    matcher = "type.googleapis.com/envoy.type.matcher.v3.HttpResponseHeaderMatchInput"
    return {"input": _typed(name, matcher, header_name=name), "value_match": {"safe_regex": {"google_re2": {}, "regex": regex}}}
