"""A provider's key set: which of its keys may verify what."""

import json
from typing import Any

import pytest

from pam_tailscale.check import keyset
from pam_tailscale.check.keyset import KeySet
from tests.support.tokens import SigningKey, ec_key, ed_key, encode, key_set, public, rsa_key

RSA = SigningKey("key-1", "RS256", rsa_key(1))
RSA_ALL = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


def parsed(*keys: SigningKey | dict[str, Any]) -> KeySet:
    """The set of these keys."""
    return keyset.parse(key_set(*keys))


@pytest.mark.parametrize(
    ("key", "members", "algorithms"),
    [
        (RSA, {}, {"RS256"}),
        (RSA, {"alg": None}, RSA_ALL),
        (RSA, {"alg": None, "use": None}, RSA_ALL),
        (RSA, {"alg": "PS512"}, {"PS512"}),
        (RSA, {"key_ops": ["verify"]}, {"RS256"}),
        (SigningKey("key-1", "ES256", ec_key("P-256")), {"alg": None}, {"ES256"}),
        (SigningKey("key-1", "ES384", ec_key("P-384")), {"alg": None}, {"ES384"}),
        (SigningKey("key-1", "ES512", ec_key("P-521")), {"alg": None}, {"ES512"}),
        (SigningKey("key-1", "EdDSA", ed_key("Ed25519")), {}, {"EdDSA"}),
        (SigningKey("key-1", "EdDSA", ed_key("Ed448")), {"alg": None}, {"EdDSA"}),
    ],
    ids=["RSA", "RSA any", "RSA no use", "RSA PS512", "RSA ops", "P-256", "P-384", "P-521", "Ed25519", "Ed448"],
)
def test_a_key_verifies_what_it_is_for(key: SigningKey, members: dict[str, Any], algorithms: set[str]) -> None:
    """By its kind, its curve, and what it says itself."""
    found = parsed(public(key, **members)).find("key-1")
    assert found is not None
    assert found.algorithms == algorithms


@pytest.mark.parametrize(
    "key",
    [
        None,
        7,
        [],
        {},
        {"kid": "key-1"},
        {"kid": "key-1", "kty": ["RSA"]},
        {"kid": "key-1", "kty": "oct", "k": encode(b"secret" * 10), "alg": "HS256"},
        {"kid": "key-1", "kty": "oct", "k": encode(b"secret" * 10)},
        {"kid": "key-1", "kty": "RSA"},
        {"kid": "key-1", "kty": "RSA", "n": "AQAB", "e": "AQAB"},
        public(RSA, n=7),
        public(RSA, n=""),
        public(RSA, n="\xe9" * 342),
        public(RSA, e="AQ"),
        public(RSA, e="Ag"),
        public(RSA, e=""),
        public(RSA, e="A" * 300),
        public(RSA, e=encode(b"\1" * 200)),
        public(RSA, n=encode(b"\xff" * 1025)),
        public(SigningKey("key-1", "RS256", rsa_key(1, 1024))),
        public(RSA, use="enc"),
        public(RSA, use=7),
        public(RSA, key_ops=["encrypt"]),
        public(RSA, key_ops="verify"),
        public(RSA, key_ops=[]),
        public(RSA, alg="RSA-OAEP"),
        public(RSA, alg="HS256"),
        public(RSA, alg="none"),
        public(RSA, alg="ES256"),
        public(RSA, alg=7),
        public(RSA, alg=["RS256"]),
        public(RSA, kty="EC"),
        public(RSA, kty="EC", crv="P-256"),
        public(SigningKey("key-1", "ES256", ec_key("secp256k1")), alg=None),
        public(SigningKey("key-1", "ES256", ec_key("P-256")), alg="ES384"),
        public(SigningKey("key-1", "ES256", ec_key("P-256")), crv="P-384", alg=None),
        public(SigningKey("key-1", "ES256", ec_key("P-256")), crv=["P-256"]),
        public(SigningKey("key-1", "ES256", ec_key("P-256")), x=encode(b"\1" * 32)),
        public(SigningKey("key-1", "ES256", ec_key("P-256")), x="AQ"),
        public(SigningKey("key-1", "ES256", ec_key("P-256")), y=None),
        public(SigningKey("key-1", "EdDSA", ed_key()), crv="X25519", alg=None),
        public(SigningKey("key-1", "EdDSA", ed_key()), x="AQ"),
        public(SigningKey("key-1", "EdDSA", ed_key()), x=None),
    ],
    ids=range(43),
)
def test_a_key_that_cannot_be_used_is_no_key(key: Any) -> None:
    """Unknown kinds, other uses, too weak, broken: the others of the set still count."""
    good = SigningKey("good", "ES256", ec_key())
    keys = parsed(key, good)
    assert list(keys.by_id) == ["good"]
    assert not keyset.parse(json.dumps({"keys": [key]}))


def test_a_private_key_is_published_by_mistake() -> None:
    """Of it, too, only the public half is taken."""
    numbers = RSA.private.private_numbers()
    leaked = public(RSA, d=encode(numbers.d.to_bytes(256, "big")))
    found = parsed(leaked).find("key-1")
    assert found is not None
    assert not hasattr(found.public, "sign")


def test_two_keys_with_one_id_are_none() -> None:
    """Nobody can say which is meant."""
    twice = public(SigningKey("key-1", "RS256", rsa_key(2)))
    keys = parsed(RSA, twice, SigningKey("key-2", "ES256", ec_key()))
    assert keys.find("key-1") is None
    assert keys.find("key-2") is not None


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ((), False),
        ((RSA,), True),
        ((SigningKey(None, "RS256", rsa_key(1)),), True),
        ((RSA, public(RSA, kid="enc", use="enc")), True),
        ((RSA, SigningKey("key-2", "ES256", ec_key())), False),
        ((RSA, SigningKey(None, "ES256", ec_key())), False),
        ((RSA, RSA), False),
    ],
    ids=["none", "one", "one without id", "one for signatures", "two", "one with id", "one twice"],
)
def test_a_token_without_a_key_id(keys: tuple[Any, ...], found: bool) -> None:  # noqa: FBT001
    """It is taken to mean the key only where there is one."""
    assert (parsed(*keys).find(None) is not None) is found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value"),
        ("[]", "no object"),
        ("{}", "no list"),
        ('{"keys": {}}', "no list"),
        ('{"keys": null}', "no list"),
        ('{"keys": [], "keys": []}', "twice"),
        (json.dumps({"keys": [{}] * 65}), "at most 64"),
        ('{"keys": [' + " " * keyset.TEXT_MAX + "]}", "more than 262144"),
    ],
    ids=["empty", "list", "nothing", "object", "null", "repeated", "many", "long"],
)
def test_a_key_set_that_cannot_be_read(text: str, problem: str) -> None:
    """It is an error, and not an empty set: that would be a statement of the provider."""
    with pytest.raises(ValueError, match=problem):
        keyset.parse(text)


def test_another_text_has_another_fingerprint() -> None:
    """By it what was verified under other keys is not remembered for these."""
    prints = {parsed(RSA).fingerprint, parsed().fingerprint, KeySet().fingerprint, parsed(RSA, RSA).fingerprint}
    assert len(prints) == 4
    assert parsed(RSA).fingerprint == parsed(RSA).fingerprint


def test_an_unknown_id_finds_nothing() -> None:
    """Ids are compared exactly; a number as an id is no id."""
    keys = parsed(RSA, public(RSA, kid=7))
    assert [keys.find(one) for one in ("", "KEY-1", "key-1 ", "7", "key-2")] == [None] * 5
    assert keys.find("key-1") is not None
