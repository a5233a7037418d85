"""API keys: `cd-` and a JWT signed with the region's own key (ES256). The private key never leaves this machine; no key is stored.

The control API believes the signature and reads everything else from its rows; the gateway reads the claims.
"""

import base64
import hashlib
import os
import secrets
import stat
from datetime import datetime
from pathlib import Path

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleetform.domain.base import Record
from fleetform.errors import SetupError, Unauthenticated

PREFIX = "cd-"
ALGORITHM = "ES256"
ALL_ENDPOINTS = "*"
KEY_MAX = 16_384
"""Longest key that is looked at, in characters. A thousand endpoint names of average length fit."""


class Claims(Record, frozen=True, kw_only=True):
    """What a key says. sub: `token:<project>:<name>`. roles: includes expanded. endpoints: names, or `*`. iat, exp: Unix seconds."""

    iss: str
    sub: str
    jti: str
    project: str
    roles: tuple[str, ...]
    endpoints: tuple[str, ...]
    iat: int
    exp: int


class SigningKey:
    """The region's key pair. kid: its RFC 7638 thumbprint. repr shows no more than that."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        point = private.public_key().public_numbers()
        public = {"crv": "P-256", "kty": "EC", "x": _number(point.x), "y": _number(point.y)}
        digest = hashlib.sha256(msgspec.json.encode(public, order="sorted")).digest()
        self.kid = _base64(digest)
        self.public_jwk = {**public, "alg": ALGORITHM, "kid": self.kid, "use": "sig"}

    def __repr__(self) -> str:
        return f"SigningKey({self.kid})"

    def jwks(self) -> str:
        """The public half as a JSON Web Key Set, for gateways and peer regions."""
        return msgspec.json.encode({"keys": [self.public_jwk]}, order="sorted").decode()

    def mint(self, claims: Claims) -> str:
        """The key that says claims."""
        return PREFIX + jwt.PyJWS().encode(msgspec.json.encode(claims), self._private, ALGORITHM, headers={"kid": self.kid, "typ": "JWT"})

    def verify(self, key: str, region: str, now: datetime) -> Claims:
        """What key says, once its signature, issuer and time hold; Unauthenticated in words that fit, else."""
        if not key.startswith(PREFIX) or len(key) > KEY_MAX:
            raise Unauthenticated("the API key is not one of ours: a key begins with 'cd-'")
        try:
            payload = jwt.PyJWS().decode(key.removeprefix(PREFIX), self._private.public_key(), algorithms=[ALGORITHM])
            claims = msgspec.json.decode(payload, type=Claims)
        except (jwt.PyJWTError, msgspec.DecodeError, ValueError) as error:
            raise Unauthenticated("the API key is not valid: it was not issued by this region, or it is damaged") from error
        if claims.iss != region:
            raise Unauthenticated(f"the API key belongs to region {claims.iss!r}; this is region {region!r}")
        if claims.exp <= now.timestamp():
            raise Unauthenticated(f"the API key {claims.jti} has expired; mint a new one for its token")
        return claims


def new_id() -> str:
    """A fresh credential id: 16 hexadecimal digits."""
    return secrets.token_hex(8)


def load_or_create(path: Path) -> SigningKey:
    """The key in path; made there (0600, on disk before it is used) when there is none.

    SetupError when the file is not such a key, or others may read it.
    """
    if not path.exists():
        _create(path)
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise SetupError(f"{path} may be read by others; run: chmod 600 {path}")
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SetupError(f"the signing key {path} cannot be read: {error.strerror}; run as the user who owns it") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SetupError(f"{path} is not a private key; restore it from a backup (a new one makes every issued key invalid)") from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise SetupError(f"{path} holds a key of another kind; an EC P-256 key is needed")
    return SigningKey(private)


def _create(path: Path) -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link is refused where the name exists, so of two processes starting at once both take the first one's key.
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _number(value: int) -> str:
    return _base64(value.to_bytes(32, "big"))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
