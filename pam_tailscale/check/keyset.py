"""The keys that a provider publishes, and which signatures each of them may verify. Pure.

RFC 7517 (JWK), RFC 7518 section 6 (RSA, EC), RFC 8037 (EdDSA). Fetching and keeping them is jwks.py.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from pam_tailscale.check.strict import parse_object

TEXT_MAX = 262144
"""Characters of a key set. Large providers publish a dozen keys, with their certificates 20 KiB."""
KEYS_MAX = 64
RSA_BITS_MIN, RSA_BITS_MAX = 2048, 8192
"""RFC 7518 section 3.3 has the lower bound; above the upper a verification would take long."""

_EXPONENT_MAX = 12  # characters: 64 bits, and 65537 has 4
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
    ("OKP", "Ed448"): frozenset({"EdDSA"}),
}
"""One curve, one algorithm (RFC 7518 section 3.4, RFC 8037 section 3.1)."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key."""

    public: Any = field(repr=False)
    algorithms: frozenset[str]
    """Of which algorithms it may verify a signature (RFC 8725 section 3.1)."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys that verify signatures, by their ids."""

    by_id: Mapping[str, Key] = field(default_factory=dict)
    only: Key | None = None
    """The key, where there is just one."""
    fingerprint: str = ""
    """Another one for every other text of a key set."""

    def __bool__(self) -> bool:
        return bool(self.by_id) or self.only is not None

    def find(self, key_id: str | None) -> Key | None:
        """The key of a token; one without an id fits only where there is no choice (OpenID Connect Core 10.1)."""
        return self.only if key_id is None else self.by_id.get(key_id)


def parse(text: str) -> KeySet:
    """Read a JWK set (RFC 7517 section 5): what is not for signatures, or not understood, is left out.

    Raises ValueError.
    """
    if len(text) > TEXT_MAX:
        raise ValueError(f"more than {TEXT_MAX} characters")
    entries = parse_object(text).get("keys")
    if not isinstance(entries, list) or len(entries) > KEYS_MAX:
        raise ValueError(f"no list of at most {KEYS_MAX} keys")
    found = [(entry.get("kid"), key) for entry in entries if (key := _key(entry)) is not None]
    times = Counter(kid for kid, _ in found if isinstance(kid, str))
    # Of two keys with one id nobody can say which is meant (RFC 7517 section 4.5): it is neither.
    by_id = {kid: key for kid, key in found if isinstance(kid, str) and times[kid] == 1}
    return KeySet(by_id, found[0][1] if len(found) == 1 else None, hashlib.sha256(text.encode()).hexdigest())


def _key(entry: object) -> Key | None:
    if not isinstance(entry, dict) or not _is_for_signatures(entry):
        return None
    algorithms = _algorithms(entry)
    if "alg" in entry:  # RFC 7517 section 4.4: the one that it is intended for
        algorithms &= {entry["alg"]} if isinstance(entry["alg"], str) else set()
    public = _public(entry) if algorithms else None
    return None if public is None else Key(public, algorithms)


def _is_for_signatures(entry: Mapping[str, Any]) -> bool:
    """RFC 7517 sections 4.2 and 4.3; where a key does not say, it may be."""
    operations = entry.get("key_ops", ["verify"])
    return entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _algorithms(entry: Mapping[str, Any]) -> frozenset[str]:
    kind, curve = entry.get("kty"), entry.get("crv")
    if kind == "RSA":
        return _RSA
    return _CURVES.get((kind, curve), frozenset()) if isinstance(kind, str) and isinstance(curve, str) else frozenset()


def _public(entry: Mapping[str, Any]) -> Any:
    """The key, of its public members alone, so that nobody's private key is made; None where it cannot be used."""
    members = {name: entry[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in entry}
    if not all(isinstance(value, str) and value.isascii() for value in members.values()):
        return None
    try:
        if members["kty"] == "RSA":
            return _rsa(members)
        return (ECAlgorithm if members["kty"] == "EC" else OKPAlgorithm).from_jwk(members)
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        return None


def _rsa(members: dict[str, str]) -> Any:
    if len(members["e"]) > _EXPONENT_MAX or len(members["n"]) > RSA_BITS_MAX // 6 + 2:
        return None
    public: Any = RSAAlgorithm.from_jwk(members)
    return public if RSA_BITS_MIN <= public.key_size <= RSA_BITS_MAX else None
