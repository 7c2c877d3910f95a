"""Keys of a provider and what they sign: tokens as they should be, and as they should not."""

import base64
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import get_default_algorithms

ISSUER = "https://login.example.com"
CLIENT = "client-1"

ALGORITHMS = get_default_algorithms()


@dataclass(frozen=True)
class SigningKey:
    """A private key with its id, and the algorithm it signs with."""

    id: str | None
    algorithm: str
    private: Any = field(repr=False)


@functools.cache
def rsa_key(number: int, bits: int = 2048) -> Any:
    """The same for the same number, since making one takes a while."""
    assert number >= 0
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@functools.cache
def ec_key(curve: str = "P-256", number: int = 1) -> Any:
    """The same for the same arguments."""
    assert number >= 0
    curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "secp256k1": ec.SECP256K1()}
    return ec.generate_private_key(curves[curve])


@functools.cache
def ed_key(curve: str = "Ed25519") -> Any:
    """The same for the same curve."""
    return (ed25519.Ed25519PrivateKey if curve == "Ed25519" else ed448.Ed448PrivateKey).generate()


def public(key: SigningKey, **members: Any) -> dict[str, Any]:
    """The JWK that is published; members that are None are left out."""
    verifier: Any = ALGORITHMS[key.algorithm]
    jwk = json.loads(verifier.to_jwk(key.private.public_key()))
    jwk.pop("key_ops", None)
    if jwk["kty"] == "EC":  # PyJWT up to 2.6 leaves out zeros that belong there (RFC 7518 section 6.2.1.2)
        numbers, size = key.private.public_key().public_numbers(), (key.private.key_size + 7) // 8
        jwk |= {"x": encode(numbers.x.to_bytes(size, "big")), "y": encode(numbers.y.to_bytes(size, "big"))}
    jwk |= {"kid": key.id, "use": "sig", "alg": key.algorithm, **members}
    return {name: value for name, value in jwk.items() if value is not None}


def key_set(*keys: SigningKey | Mapping[str, Any]) -> str:
    """The document that is published."""
    return json.dumps({"keys": [public(key) if isinstance(key, SigningKey) else key for key in keys]})


def encode(content: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode(part: str) -> bytes:
    """The other way round."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def sign(key: SigningKey, claims: Mapping[str, Any] | bytes, **header: Any) -> str:
    """A token; claims may be any bytes; header fields that are None are left out."""
    fields = {"alg": key.algorithm, "kid": key.id, "typ": "JWT", **header}
    head = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
    return sign_parts(key, head, claims if isinstance(claims, bytes) else json.dumps(claims).encode())


def sign_parts(key: SigningKey, header: bytes, payload: bytes) -> str:
    """The same for a header that is not made of fields."""
    message = f"{encode(header)}.{encode(payload)}"
    verifier: Any = ALGORITHMS[key.algorithm]
    return f"{message}.{encode(verifier.sign(message.encode(), key.private))}"


def claims(now: int, **changed: Any) -> dict[str, Any]:
    """Those of Alice, who authenticated a minute ago; None takes one away."""
    usual = {
        "iss": ISSUER,
        "aud": CLIENT,
        "sub": "subject-alice",
        "email": "alice@example.com",
        "email_verified": True,
        "iat": now - 10,
        "exp": now + 290,
        "auth_time": now - 60,
    }
    return {name: value for name, value in {**usual, **changed}.items() if value is not None}
