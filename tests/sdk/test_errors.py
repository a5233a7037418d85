"""Every refusal becomes an error of its own, with the server's words."""

import pytest

import fleetform_sdk as sdk
from fleetform_sdk._errors import status_error
from tests.sdk.fake_api import problem


@pytest.mark.parametrize(
    ("status", "type_"),
    [
        (400, sdk.BadRequestError),
        (401, sdk.AuthenticationError),
        (403, sdk.PermissionDeniedError),
        (404, sdk.NotFoundError),
        (409, sdk.ConflictError),
        (412, sdk.PreconditionFailedError),
        (413, sdk.APIStatusError),
        (422, sdk.UnprocessableError),
        (429, sdk.RateLimitError),
        (500, sdk.InternalServerError),
        (503, sdk.InternalServerError),
    ],
)
def test_status_decides_the_type(status: int, type_: type[sdk.APIStatusError]) -> None:
    error = status_error(status, problem(status, "some-kind", "some detail"))
    assert type(error) is type_
    assert (error.status_code, error.kind, error.detail) == (status, "some-kind", "some detail")


def test_problem_members_are_attributes() -> None:
    field = {"pointer": "/spec/scaling/max_replicas", "detail": "1 is below min_replicas (2)", "code": "bounds"}
    body = problem(422, "invalid-spec", "1 field is wrong", errors=[field], free=3)
    error = status_error(422, body, request_id="req-7")
    assert [(e.pointer, e.detail, e.code) for e in error.errors] == [tuple(field.values())]
    assert error.extensions == {"free": 3}
    assert error.title == "invalid spec"
    assert str(error) == "422: 1 field is wrong (request req-7)"


@pytest.mark.parametrize(
    "body", ["<html>bad gateway</html>", None, [], {"detail": None, "errors": "no list"}, {"errors": [1, {"detail": 5}]}]
)
def test_anything_may_come_as_a_body(body: object) -> None:
    error = status_error(502, body)
    assert isinstance(error, sdk.InternalServerError)
    assert error.kind == ""
    assert str(error).startswith("502: ")


def test_the_tree_has_one_root() -> None:
    exported = [getattr(sdk, name) for name in sdk.__all__]
    errors = [thing for thing in exported if isinstance(thing, type) and issubclass(thing, Exception)]
    assert len(errors) > 15
    assert all(issubclass(error, sdk.FleetformError) for error in errors)
    assert issubclass(sdk.APITimeoutError, sdk.APIConnectionError)
