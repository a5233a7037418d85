"""API keys: made, believed, refused; and the file of the key that signs them."""

import base64
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import msgspec
import pytest

from fleetform import credentials
from fleetform.credentials import Claims, SigningKey
from fleetform.errors import SetupError, Unauthenticated

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return credentials.load_or_create(tmp_path / "keys" / "signing.pem")


def claims(**changes: object) -> Claims:
    base = Claims(
        iss="local",
        sub="token:acme:app",
        jti="00112233aabbccdd",
        project="acme",
        roles=("inference.invoker",),
        endpoints=("*",),
        iat=int(NOW.timestamp()),
        exp=int((NOW + timedelta(hours=1)).timestamp()),
    )
    return msgspec.structs.replace(base, **changes)


def test_a_key_says_what_it_was_minted_with(key: SigningKey) -> None:
    minted = key.mint(claims())
    assert minted.startswith("cd-")
    assert key.verify(minted, "local", NOW) == claims()
    assert jwt.get_unverified_header(minted[3:]) == {"alg": "ES256", "kid": key.kid, "typ": "JWT"}


def test_the_published_set_verifies_it_and_holds_no_private_part(key: SigningKey) -> None:
    published = json.loads(key.jwks())
    (public,) = published["keys"]
    assert set(public) == {"alg", "crv", "kid", "kty", "use", "x", "y"}
    found = jwt.decode(key.mint(claims())[3:], jwt.PyJWK(public), algorithms=["ES256"], options={"verify_exp": False, "verify_iat": False})
    assert found["project"] == "acme"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda k, m: m[3:], "begins with 'cd-'"),
        (lambda k, m: "cd-", "not valid"),
        (lambda k, m: "cd-a.b.c", "not valid"),
        (lambda k, m: "cd-é.b.c", "not valid"),
        (lambda k, m: "cd-" + "a" * credentials.KEY_MAX, "begins with"),
        (lambda k, m: m[:-10] + ("A" if m[-10] != "A" else "B") + m[-9:], "not valid"),
        (lambda k, m: m.rsplit(".", 1)[0] + ".", "not valid"),
        (lambda k, m: _unsigned(), "not valid"),
        (lambda k, m: _signed_with_the_public_key(k), "not valid"),
        (lambda k, m: k.mint(claims(iss="eu")), "region 'eu'; this is region 'local'"),
        (lambda k, m: k.mint(claims(exp=int(NOW.timestamp()))), "has expired"),
    ],
)
def test_what_is_not_ours_is_refused(key: SigningKey, spoil: "object", words: str) -> None:
    assert callable(spoil)
    with pytest.raises(Unauthenticated, match=words):
        key.verify(spoil(key, key.mint(claims())), "local", NOW)


def test_another_key_does_not_sign_for_us(key: SigningKey, tmp_path: Path) -> None:
    other = credentials.load_or_create(tmp_path / "other.pem")
    with pytest.raises(Unauthenticated, match="not valid"):
        key.verify(other.mint(claims()), "local", NOW)


def test_a_payload_that_says_too_little_is_refused(key: SigningKey) -> None:
    text = "cd-" + jwt.PyJWS().encode(b'{"iss": "local"}', key._private, "ES256")
    with pytest.raises(Unauthenticated, match="not valid"):
        key.verify(text, "local", NOW)


def test_the_file_is_private_and_lasts(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.pem"
    first = credentials.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert credentials.load_or_create(path).kid == first.kid
    assert list(path.parent.iterdir()) == [path]
    assert "PRIVATE" not in repr(first)


def test_starting_at_once_makes_one_key(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    with ThreadPoolExecutor(8) as pool:
        assert len({key.kid for key in pool.map(credentials.load_or_create, [path] * 8)}) == 1


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    credentials.load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(SetupError, match="chmod 600"):
        credentials.load_or_create(path)


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    path.write_text("not a key")
    path.chmod(0o600)
    with pytest.raises(SetupError, match="not a private key"):
        credentials.load_or_create(path)


def _unsigned() -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"cd-{part({'alg': 'none'})}.{part(msgspec.to_builtins(claims()))}."


def _signed_with_the_public_key(key: SigningKey) -> str:
    return "cd-" + jwt.PyJWS().encode(msgspec.json.encode(claims()), str(key.public_jwk["x"]), "HS256")
