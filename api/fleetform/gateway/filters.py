"""The two filters whose content changes while Envoy runs (ECDS): the keys that are trusted, and the credentials that are revoked."""

from typing import Any

from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.config.rbac.v3 import rbac_pb2 as rules_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from google.protobuf import duration_pb2
from xds.core.v3 import extension_pb2 as xds_extension_pb2
from xds.type.matcher.v3 import matcher_pb2

from fleetform.credentials import PREFIX
from fleetform.gateway.resources import pack
from fleetform.gateway.snapshot import Access, TrustedRegion

TYPE_FILTER = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
JWT_FILTER = "ff.jwt"
REVOKED_FILTER = "ff.revoked"
CREDENTIAL_HEADER, PROJECT_HEADER, TOKEN_HEADER = "x-ff-jti", "x-ff-project", "x-ff-token"
"""What `jwt_authn` sets from the verified claims jti, project and sub."""

_LONGEST_LIFE_S = 90 * 86400
_CLOCK_SKEW_S = 30
_SCHEMES = ("Bearer", "bearer")
"""As clients write it: its case means nothing, and Envoy compares byte by byte."""
_NOBODY = "-"
"""Stands in an empty revoked list: Envoy refuses an empty map, and no credential id looks like this."""


def jwt_filter(access: Access) -> Any:
    """`jwt_authn` with one provider per trusted region: one that held every region's keys would let any of them sign for another."""
    config = jwt_pb2.JwtAuthentication()
    regions = [access.home, *access.peers]
    for region in regions:
        config.providers[region.region].CopyFrom(_provider(region))
    each = [jwt_pb2.JwtRequirement(provider_name=region.region) for region in regions]
    requirement = each[0] if len(each) == 1 else jwt_pb2.JwtRequirement(requires_any=jwt_pb2.JwtRequirementOrList(requirements=each))
    config.rules.append(jwt_pb2.RequirementRule(match={"prefix": "/"}, requires=requirement))
    return extension_pb2.TypedExtensionConfig(name=JWT_FILTER, typed_config=pack(config))


def revoked_filter(access: Access) -> Any:
    """`rbac` that denies the revoked credential ids, by one exact look-up."""
    header = http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=CREDENTIAL_HEADER)
    matcher = matcher_pb2.Matcher(on_no_match=_decision("ok", rules_pb2.RBAC.ALLOW))
    matcher.matcher_tree.input.CopyFrom(xds_extension_pb2.TypedExtensionConfig(name="jti", typed_config=pack(header)))
    denied = _decision("revoked", rules_pb2.RBAC.DENY)
    for credential_id in sorted(access.revoked) or [_NOBODY]:
        matcher.matcher_tree.exact_match_map.map[credential_id].CopyFrom(denied)
    return extension_pb2.TypedExtensionConfig(name=REVOKED_FILTER, typed_config=pack(rbac_pb2.RBAC(matcher=matcher)))


def _provider(region: TrustedRegion) -> Any:
    claims = {CREDENTIAL_HEADER: "jti", PROJECT_HEADER: "project", TOKEN_HEADER: "sub"}
    return jwt_pb2.JwtProvider(
        issuer=region.region,
        local_jwks=base_pb2.DataSource(inline_string=region.jwks),
        require_expiration=True,
        max_lifetime=duration_pb2.Duration(seconds=_LONGEST_LIFE_S),
        clock_skew_seconds=_CLOCK_SKEW_S,
        from_headers=[jwt_pb2.JwtHeader(name="Authorization", value_prefix=f"{scheme} {PREFIX}") for scheme in _SCHEMES],
        forward=True,
        payload_in_metadata="payload",
        claim_to_headers=[jwt_pb2.JwtClaimToHeader(header_name=header, claim_name=claim) for header, claim in claims.items()],
        jwt_cache_config=jwt_pb2.JwtCacheConfig(jwt_cache_size=1000),
    )


def _decision(name: str, action: Any) -> Any:
    decision = rules_pb2.Action(name=name, action=action)
    return matcher_pb2.Matcher.OnMatch(action=xds_extension_pb2.TypedExtensionConfig(name=name, typed_config=pack(decision)))
