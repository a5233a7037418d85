"""Artifact addresses and prefixes."""

import pytest

from fleetform.errors import ArtifactRefused
from fleetform.host.artifacts.location import locate, path_problem

PREFIXES = ("s3://acme/models/", "s3://open/", "file:///srv/models/", "file:///srv/one")


@pytest.mark.parametrize(
    "artifact",
    [
        "s3://acme/models/summarizer/v1/",
        "s3://acme/models/",
        "s3://acme/models",
        "s3://open/anything/below",
        "file:///srv/models/x.gguf",
        "file:///srv/models/deep/folder/",
        "file:///srv/one/model",
        "file:///srv/one",
    ],
)
def test_below_a_prefix(artifact: str) -> None:
    assert locate(artifact, PREFIXES)


@pytest.mark.parametrize(
    "artifact",
    [
        "s3://acme/model",
        "s3://acme/models-of-others/x",
        "s3://acme/",
        "s3://other/models/x",
        "s3:///models/x",
        "file:///srv/modelsx/x",
        "file:///srv/oneself",
        "file:///srv/",
        "file:///etc/passwd",
        "file://host/srv/models/x",
        "file:///srv/models/../../etc/passwd",
        "file:///srv/models/./x",
        "file:///srv/models//x",
        "file:///srv/models/%2e%2e/x",
        "file:///srv/models/..\\x",
        "file:///srv/models/a\0b",
        "file:///srv/models/a\nb",
        "file:///srv/models/" + "x" * 2000,
        "http://acme/models/x",
        "/srv/models/x",
        "",
    ],
)
def test_outside_every_prefix_or_malformed(artifact: str) -> None:
    with pytest.raises(ArtifactRefused) as caught:
        locate(artifact, PREFIXES)
    assert caught.value.details["condition_reason"] == "AccessDenied"


def test_no_prefix_allows_nothing() -> None:
    with pytest.raises(ArtifactRefused, match="there are none"):
        locate("file:///srv/models/x", ())


@pytest.mark.parametrize("path", ["", "/etc", "a//b", "../a", "a/..", "a/./b", "a\\b", "a%2fb", "a\x1b[0m", "x" * 1025])
def test_paths_that_are_never_part_of_an_artifact(path: str) -> None:
    assert path_problem(path) is not None


def test_ordinary_paths_are_fine() -> None:
    assert [path_problem(p) for p in ("config.json", "1_Pooling/config.json", "Modell größe.safetensors")] == [None] * 3
