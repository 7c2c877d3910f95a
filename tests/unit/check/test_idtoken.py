"""What an ID token proves: every claim and every header field altered, every confusion of algorithms."""

import base64
import hashlib
import hmac
import json
import math
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.check import idtoken, keyset
from pam_tailscale.check.evidence import TOKEN_MAX
from pam_tailscale.check.idtoken import SKEW, Claims, Expected, Flaw, Flawed
from pam_tailscale.config import ALGORITHMS
from pam_tailscale.secret import Secret
from tests.support.tokens import (
    CLIENT,
    ISSUER,
    SigningKey,
    claims,
    decode,
    ec_key,
    ed_key,
    encode,
    key_set,
    public,
    rsa_key,
    sign,
    sign_parts,
)

NOW = 1_800_000_000
EXPECTED = Expected(ISSUER, CLIENT, ALGORITHMS)
RSA = SigningKey("key-1", "RS256", rsa_key(1))
OTHER = SigningKey("key-2", "RS256", rsa_key(2))
EC = SigningKey("key-3", "ES256", ec_key())
KEYS = keyset.parse(key_set(public(RSA, alg=None), OTHER, public(EC, alg=None)))
HEADER = {"alg": "RS256", "kid": "key-1", "typ": "JWT"}


def verify(
    token: str, *, keys: keyset.KeySet = KEYS, taking: bool = True, expected: Expected = EXPECTED
) -> Claims | Flawed:
    """What is signed, and possible now; with the keys of this file."""
    found = idtoken.signed(Secret(token), keys, expected)
    return found if isinstance(found, Flawed) else idtoken.timely(found, NOW, taking=taking) or found


def flaw(answer: Claims | Flawed | float | None) -> Flaw | None:
    """The flaw, if there is one."""
    return answer.flaw if isinstance(answer, Flawed) else None


def good(**changed: Any) -> Claims:
    """What a right token says."""
    found = verify(sign(RSA, claims(NOW, **changed)))
    assert isinstance(found, Claims), found
    return found


def test_a_right_token() -> None:
    """All that later rules look at is in it."""
    assert good(nbf=NOW - 5) == Claims(
        subject="subject-alice",
        email="alice@example.com",
        email_verified=True,
        issued=NOW - 10,
        expires=NOW + 290,
        not_before=NOW - 5,
        auth_time=NOW - 60,
    )


@pytest.mark.parametrize(
    ("algorithm", "private"),
    [
        *[(name, rsa_key(1)) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")],
        ("ES256", ec_key("P-256")),
        ("ES384", ec_key("P-384")),
        ("ES512", ec_key("P-521")),
        ("EdDSA", ed_key("Ed25519")),
        ("EdDSA", ed_key("Ed448")),
    ],
)
def test_every_algorithm_that_may_be_configured(algorithm: str, private: Any) -> None:
    """Each verifies what it has signed, and nothing where the configuration does not name it."""
    key = SigningKey("key-1", algorithm, private)
    keys = keyset.parse(key_set(key))
    token = sign(key, claims(NOW))
    assert isinstance(verify(token, keys=keys, taking=False), Claims)
    altered = token[:-8] + ("AAAAAAAA" if not token.endswith("AAAAAAAA") else "BBBBBBBB")
    assert flaw(verify(altered, keys=keys, taking=False)) in {Flaw.SIGNATURE, Flaw.MALFORMED}
    without = Expected(ISSUER, CLIENT, ALGORITHMS - {algorithm})
    assert flaw(verify(token, keys=keys, taking=False, expected=without)) is Flaw.ALGORITHM


def by_hmac(secret: bytes, **header: Any) -> str:
    """A token with an HMAC by this secret in place of a signature."""
    head = json.dumps({**HEADER, "alg": "HS256", **header}).encode()
    message = f"{encode(head)}.{encode(json.dumps(claims(NOW)).encode())}"
    return f"{message}.{encode(hmac.digest(secret, message.encode(), hashlib.sha256))}"


def pem(key: SigningKey) -> bytes:
    """The public key, as attackers take it for a secret."""
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    data: bytes = key.private.public_key().public_bytes(encoding, form)
    return data


def unsigned(**header: Any) -> str:
    """A token with nothing behind its second dot."""
    return sign(RSA, claims(NOW), **header).rpartition(".")[0] + "."


EC_AS_RSA = sign(EC, claims(NOW), alg="RS256")
ATTACKS = {
    "none": (sign(RSA, claims(NOW), alg="none"), Flaw.ALGORITHM),
    "none, nothing behind it": (unsigned(alg="none"), Flaw.MALFORMED),
    "None": (sign(RSA, claims(NOW), alg="None"), Flaw.ALGORITHM),
    "NONE": (sign(RSA, claims(NOW), alg="NONE"), Flaw.ALGORITHM),
    "no alg": (sign(RSA, claims(NOW), alg=None), Flaw.ALGORITHM),
    "alg is empty": (sign(RSA, claims(NOW), alg=""), Flaw.ALGORITHM),
    "alg is a list": (sign(RSA, claims(NOW), alg=["RS256"]), Flaw.ALGORITHM),
    "alg is a number": (sign(RSA, claims(NOW), alg=256), Flaw.ALGORITHM),
    "alg in lower case": (sign(RSA, claims(NOW), alg="rs256"), Flaw.ALGORITHM),
    "alg with a space": (sign(RSA, claims(NOW), alg="RS256 "), Flaw.ALGORITHM),
    "ES256K": (sign(EC, claims(NOW), alg="ES256K"), Flaw.ALGORITHM),
    "HMAC by the public key": (by_hmac(pem(RSA)), Flaw.ALGORITHM),
    "HMAC by the public key of EC": (by_hmac(pem(EC), kid="key-3"), Flaw.ALGORITHM),
    "HMAC by nothing": (by_hmac(b""), Flaw.ALGORITHM),
    "HMAC by the modulus": (by_hmac(public(RSA)["n"].encode()), Flaw.ALGORITHM),
    "HMAC that says RS256": (by_hmac(pem(RSA), alg="RS256"), Flaw.SIGNATURE),
    "another algorithm of the same key": (sign(RSA, claims(NOW), alg="PS256"), Flaw.SIGNATURE),
    "another hash": (sign(RSA, claims(NOW), alg="RS512"), Flaw.SIGNATURE),
    "EC signature as RSA, RSA key": (sign(EC, claims(NOW), alg="RS256", kid="key-1"), Flaw.SIGNATURE),
    "EC signature as RSA, EC key": (EC_AS_RSA, Flaw.ALGORITHM),
    "RSA signature as EC, EC key": (sign(RSA, claims(NOW), alg="ES256", kid="key-3"), Flaw.SIGNATURE),
    "RSA signature as EC, RSA key": (sign(RSA, claims(NOW), alg="ES256"), Flaw.ALGORITHM),
    "EC as EdDSA": (sign(EC, claims(NOW), alg="EdDSA"), Flaw.ALGORITHM),
    "P-256 as ES384": (sign(EC, claims(NOW), alg="ES384"), Flaw.ALGORITHM),
    "the key says another algorithm": (
        sign(SigningKey("key-2", "PS256", rsa_key(2)), claims(NOW)),
        Flaw.ALGORITHM,
    ),
    "the id of another key": (sign(OTHER, claims(NOW), kid="key-1"), Flaw.SIGNATURE),
    "another's key": (sign(SigningKey("key-1", "RS256", rsa_key(3)), claims(NOW)), Flaw.SIGNATURE),
    "an unknown id": (sign(RSA, claims(NOW), kid="key-9"), Flaw.KEY_UNKNOWN),
    "an empty id": (sign(RSA, claims(NOW), kid=""), Flaw.KEY_UNKNOWN),
    "no id, several keys": (sign(RSA, claims(NOW), kid=None), Flaw.KEY_UNKNOWN),
    "the id is null": (
        sign_parts(RSA, json.dumps({**HEADER, "kid": None}).encode(), json.dumps(claims(NOW)).encode()),
        Flaw.MALFORMED,
    ),
    "the id is a number": (sign(RSA, claims(NOW), kid=1), Flaw.MALFORMED),
    "the id is a path": (sign(RSA, claims(NOW), kid="../../dev/null"), Flaw.KEY_UNKNOWN),
    "crit": (sign(RSA, claims(NOW), crit=["exp"], exp=1), Flaw.MALFORMED),
    "crit is empty": (sign(RSA, claims(NOW), crit=[]), Flaw.MALFORMED),
    "b64": (sign(RSA, claims(NOW), b64=False), Flaw.MALFORMED),
    "b64 and crit": (sign(RSA, claims(NOW), b64=False, crit=["b64"]), Flaw.MALFORMED),
    "enc": (sign(RSA, claims(NOW), enc="A128GCM"), Flaw.MALFORMED),
    "zip": (sign(RSA, claims(NOW), zip="DEF"), Flaw.MALFORMED),
    "an access token": (sign(RSA, claims(NOW), typ="at+jwt"), Flaw.MALFORMED),
    "a logout token": (sign(RSA, claims(NOW), typ="logout+jwt"), Flaw.MALFORMED),
    "typ is a number": (sign(RSA, claims(NOW), typ=1), Flaw.MALFORMED),
    "typ is empty": (sign(RSA, claims(NOW), typ=""), Flaw.MALFORMED),
    "typ is nested deep": (
        sign_parts(RSA, b'{"alg":"RS256","kid":"key-1","typ":%s}' % (b"[" * 300 + b"]" * 300), b"{}"),
        Flaw.MALFORMED,
    ),
}


@pytest.mark.parametrize(("token", "expected"), ATTACKS.values(), ids=ATTACKS)
def test_attacks_on_the_signature(token: str, expected: Flaw) -> None:
    """Only a key that is published, for just this algorithm, makes a token."""
    assert flaw(verify(token)) is expected


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256"])
def test_a_key_in_the_header_is_not_looked_at(name: str) -> None:
    """A token says itself by which key it wants to be verified: it is not asked."""
    forger = SigningKey("key-1", "RS256", rsa_key(3))
    offered = {**public(forger), "x": "https://evil.example/keys"}
    assert flaw(verify(sign(forger, claims(NOW), **{name: offered}))) is Flaw.SIGNATURE
    assert flaw(verify(sign(forger, claims(NOW), kid="key-9", **{name: offered}))) is Flaw.KEY_UNKNOWN
    assert isinstance(verify(sign(RSA, claims(NOW), **{name: offered})), Claims)


def test_the_only_key_needs_no_id() -> None:
    """OpenID Connect Core 10.1."""
    keys = keyset.parse(key_set(SigningKey(None, "RS256", rsa_key(1))))
    assert isinstance(idtoken.signed(Secret(sign(RSA, claims(NOW), kid=None)), keys, EXPECTED), Claims)
    assert flaw(idtoken.signed(Secret(sign(OTHER, claims(NOW), kid=None)), keys, EXPECTED)) is Flaw.SIGNATURE
    assert flaw(idtoken.signed(Secret(sign(RSA, claims(NOW))), keys, EXPECTED)) is Flaw.KEY_UNKNOWN


def test_a_weak_key_verifies_nothing() -> None:
    """RSA with 1024 bits is within reach of those who want it."""
    weak = SigningKey("weak", "RS256", rsa_key(1, 1024))
    keys = keyset.parse(key_set(weak, RSA))
    assert flaw(idtoken.signed(Secret(sign(weak, claims(NOW))), keys, EXPECTED)) is Flaw.KEY_UNKNOWN


def test_hmac_cannot_be_configured() -> None:
    """Whatever the configuration says, and whatever the provider publishes."""
    shared = {"kty": "oct", "kid": "key-1", "k": encode(b"secret"), "alg": "HS256", "use": "sig"}
    for keys in (KEYS, keyset.parse(key_set(shared))):
        for name in ("HS256", "none"):
            expected = Expected(ISSUER, CLIENT, frozenset({name}))
            assert isinstance(idtoken.signed(Secret(by_hmac(b"secret", alg=name)), keys, expected), Flawed)


TOKEN = sign(RSA, claims(NOW))
HEAD, PAYLOAD, SIGNATURE = TOKEN.split(".")
# The last character of a part has bits that mean nothing.
RESPELT = SIGNATURE[:-1] + chr(ord(SIGNATURE[-1]) + 1)

MALFORMED = {
    "nothing": "",
    "dots": "..",
    "text": "token",
    "no signature": f"{HEAD}.{PAYLOAD}",
    "empty signature": f"{HEAD}.{PAYLOAD}.",
    "empty payload": f"{HEAD}..{SIGNATURE}",
    "empty header": f".{PAYLOAD}.{SIGNATURE}",
    "a part too many": f"{TOKEN}.",
    "encrypted": f"{HEAD}.{PAYLOAD}.{PAYLOAD}.{PAYLOAD}.{SIGNATURE}",
    "a line end": TOKEN + "\n",
    "a space before it": " " + TOKEN,
    "padding": TOKEN + "==",
    "an impossible length": TOKEN + "A" * ((1 - len(SIGNATURE)) % 4),
    "base64, not base64url": f"{HEAD}.{PAYLOAD}.+/{SIGNATURE[2:]}",
    "another spelling of the same": f"{HEAD}.{PAYLOAD}.{RESPELT}",
    "a letter that is not ASCII": TOKEN[:-1] + "\xe9",
    "a fullwidth letter": "\uff45" + TOKEN[1:],
    "half a surrogate": TOKEN + "\udc80",
    "NUL": TOKEN + "\0",
    "JSON serialization": json.dumps({"protected": HEAD, "payload": PAYLOAD, "signature": SIGNATURE}),
    "too long": sign(RSA, claims(NOW, filling="x" * TOKEN_MAX)),
    "header is no JSON": sign_parts(RSA, b"RS256", b"{}"),
    "header is a list": sign_parts(RSA, b'["RS256"]', b"{}"),
    "header repeats": sign_parts(RSA, b'{"alg":"RS256","alg":"none","kid":"key-1"}', b"{}"),
    "header is no UTF-8": sign_parts(RSA, b'{"alg":"RS256","kid":"key-1","x":"\xff"}', b"{}"),
    "header is nested": sign_parts(RSA, b'{"alg":"RS256","kid":"key-1","x":' + b"[" * 5000, b"{}"),
    "payload is empty": sign(RSA, b"x"),
    "payload is null": sign(RSA, b"null"),
    "payload is a list": sign(RSA, json.dumps([claims(NOW)]).encode()),
    "payload is a text": sign(RSA, json.dumps(json.dumps(claims(NOW))).encode()),
    "payload is a token": sign(RSA, TOKEN.encode(), cty="JWT"),
    "payload is no UTF-8": sign(RSA, json.dumps(claims(NOW)).encode()[:-1] + b',"name":"\xff"}'),
    "payload is UTF-16": sign(RSA, json.dumps(claims(NOW)).encode("utf-16-le")),
    "payload repeats a claim": sign(RSA, json.dumps(claims(NOW)).encode()[:-1] + b',"email":"bob@example.com"}'),
    "payload repeats deep inside": sign(RSA, json.dumps(claims(NOW)).encode()[:-1] + b',"x":[{"a":1,"a":1}]}'),
    "payload has NaN": sign(RSA, json.dumps(claims(NOW, auth_time=math.nan)).encode()),
    "payload has Infinity": sign(RSA, json.dumps(claims(NOW, exp=math.inf)).encode()),
    "payload has a huge number": sign(RSA, json.dumps(claims(NOW)).encode()[:-1] + b',"x":' + b"9" * 5000 + b"}"),
    "payload has a huge exponent": sign(RSA, json.dumps(claims(NOW)).encode()[:-1] + b',"x":1e9999}'),
    "payload is nested": sign(RSA, json.dumps(claims(NOW)).encode()[:-1] + b',"x":' + b"[" * 5000 + b"}"),
    "events": sign(RSA, claims(NOW, events={"http://schemas.openid.net/event/backchannel-logout": {}})),
}


@pytest.mark.parametrize("token", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_token(token: str) -> None:
    """It is an answer, not an error; signed by the right key or not."""
    assert flaw(verify(token)) is Flaw.MALFORMED


ALTERED: dict[str, tuple[dict[str, Any], Flaw]] = {
    "no iss": ({"iss": None}, Flaw.ISSUER),
    "iss is empty": ({"iss": ""}, Flaw.ISSUER),
    "another iss": ({"iss": "https://evil.example"}, Flaw.ISSUER),
    "iss with a slash": ({"iss": ISSUER + "/"}, Flaw.ISSUER),
    "iss in upper case": ({"iss": ISSUER.upper()}, Flaw.ISSUER),
    "iss without scheme": ({"iss": "login.example.com"}, Flaw.ISSUER),
    "iss is a list": ({"iss": [ISSUER]}, Flaw.ISSUER),
    "no aud": ({"aud": None}, Flaw.MALFORMED),
    "aud is empty": ({"aud": ""}, Flaw.AUDIENCE),
    "aud is an empty list": ({"aud": []}, Flaw.AUDIENCE),
    "another aud": ({"aud": "client-2"}, Flaw.AUDIENCE),
    "aud in another case": ({"aud": CLIENT.upper()}, Flaw.AUDIENCE),
    "aud contains the text": ({"aud": f"x{CLIENT}x"}, Flaw.AUDIENCE),
    "others in aud": ({"aud": ["client-2", "client-3"]}, Flaw.AUDIENCE),
    "aud is a number": ({"aud": 1}, Flaw.MALFORMED),
    "aud is an object": ({"aud": {CLIENT: 1}}, Flaw.MALFORMED),
    "aud has a number": ({"aud": [CLIENT, 1], "azp": CLIENT}, Flaw.MALFORMED),
    "aud nested": ({"aud": [[CLIENT]]}, Flaw.MALFORMED),
    "aud is long": ({"aud": [CLIENT] * 33, "azp": CLIENT}, Flaw.MALFORMED),
    "several aud without azp": ({"aud": [CLIENT, "client-2"]}, Flaw.AUDIENCE),
    "several aud, another azp": ({"aud": [CLIENT, "client-2"], "azp": "client-2"}, Flaw.AUDIENCE),
    "another azp": ({"azp": "client-2"}, Flaw.AUDIENCE),
    "azp is empty": ({"azp": ""}, Flaw.AUDIENCE),
    "azp is a list": ({"azp": [CLIENT]}, Flaw.AUDIENCE),
    "no sub": ({"sub": None}, Flaw.MALFORMED),
    "sub is empty": ({"sub": ""}, Flaw.MALFORMED),
    "sub is a number": ({"sub": 1}, Flaw.MALFORMED),
    "sub is long": ({"sub": "x" * 256}, Flaw.MALFORMED),
    "email is a list": ({"email": ["alice@example.com"]}, Flaw.MALFORMED),
    "no exp": ({"exp": None}, Flaw.MALFORMED),
    "exp is a text": ({"exp": str(NOW + 290)}, Flaw.MALFORMED),
    "exp is true": ({"exp": True}, Flaw.MALFORMED),
    "exp is negative": ({"exp": -1}, Flaw.MALFORMED),
    "exp counts milliseconds": ({"exp": (NOW + 290) * 1000}, Flaw.MALFORMED),
    "exp has gone": ({"exp": NOW - SKEW}, Flaw.EXPIRED),
    "no iat": ({"iat": None}, Flaw.MALFORMED),
    "iat is a text": ({"iat": "now"}, Flaw.MALFORMED),
    "iat is true": ({"iat": True}, Flaw.MALFORMED),
    "iat is to come": ({"iat": NOW + SKEW + 1}, Flaw.FUTURE),
    "nbf is a text": ({"nbf": "now"}, Flaw.MALFORMED),
    "nbf is to come": ({"nbf": NOW + SKEW + 1}, Flaw.FUTURE),
    "auth_time is a text": ({"auth_time": str(NOW - 60)}, Flaw.MALFORMED),
    "auth_time is true": ({"auth_time": True}, Flaw.MALFORMED),
    "auth_time is a list": ({"auth_time": [NOW]}, Flaw.MALFORMED),
    "auth_time is negative": ({"auth_time": -1}, Flaw.MALFORMED),
    "auth_time counts milliseconds": ({"auth_time": NOW * 1000}, Flaw.MALFORMED),
    "auth_time is to come": ({"auth_time": NOW + SKEW + 1}, Flaw.FUTURE),
}


@pytest.mark.parametrize(("changed", "expected"), ALTERED.values(), ids=ALTERED)
def test_every_claim_altered(changed: dict[str, Any], expected: Flaw) -> None:
    """Signed by the right key, and still not what is asked for."""
    assert flaw(verify(sign(RSA, claims(NOW, **changed)))) is expected


def test_null_is_not_absent() -> None:
    """A provider that says null says nothing that is understood."""
    for name in ("auth_time", "nbf", "azp", "email", "iat"):
        token = sign(RSA, json.dumps({**claims(NOW), name: None}).encode())
        assert flaw(verify(token)) in {Flaw.MALFORMED, Flaw.AUDIENCE}, name


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": [CLIENT]},
        {"aud": [CLIENT, "client-2"], "azp": CLIENT},
        {"azp": CLIENT},
        {"exp": NOW - SKEW + 1},
        {"iat": NOW + SKEW},
        {"nbf": NOW + SKEW},
        {"auth_time": NOW + SKEW},
        {"auth_time": NOW - 0.5},
        {"auth_time": None},
        {"email": None},
        {"email_verified": None},
        {"sub": "x" * 255},
        {"name": "\xc5sa \u212a", "groups": ["a"] * 100},
        {"auth_time": 0},
    ],
    ids=range(14),
)
def test_what_providers_differ_in(changed: dict[str, Any]) -> None:
    """All of this is right, within the skew that clocks may have."""
    assert flaw(verify(sign(RSA, claims(NOW, **changed)))) is None


@pytest.mark.parametrize("typ", [None, "JWT", "jwt"])
def test_the_kinds_of_token_that_count(typ: str | None) -> None:
    """RFC 7519 section 5.1."""
    assert isinstance(verify(sign(RSA, claims(NOW), typ=typ)), Claims)


def test_the_end_counts_only_when_a_token_is_taken() -> None:
    """It lets a token be taken, auth_time says for how long it is evidence."""
    token = sign(RSA, claims(NOW, iat=NOW - 7200, exp=NOW - 3600))
    assert flaw(verify(token, taking=True)) is Flaw.EXPIRED
    assert isinstance(verify(token, taking=False), Claims)


def test_what_does_not_depend_on_time_can_be_remembered() -> None:
    """`signed` says the same whenever it is asked, `timely` does not."""
    late = idtoken.signed(Secret(sign(RSA, claims(NOW, iat=NOW + 1000))), KEYS, EXPECTED)
    assert isinstance(late, Claims)
    assert flaw(idtoken.timely(late, NOW, taking=False)) is Flaw.FUTURE
    assert idtoken.timely(late, NOW + 1000, taking=False) is None


@pytest.mark.parametrize(
    ("changed", "oldest", "not_before", "trust", "expected"),
    [
        ({}, 0.0, 0.0, False, NOW - 60.0),
        ({}, NOW - 60.0, NOW - 60.0, False, NOW - 60.0),
        ({}, NOW - 59.9, 0.0, False, Flaw.TOO_OLD),
        ({}, 0.0, NOW - 59.9, False, Flaw.FORGOTTEN),
        ({"iat": NOW}, NOW - 59.0, 0.0, True, Flaw.TOO_OLD),
        ({"auth_time": 0}, NOW - 60.0, 0.0, True, Flaw.TOO_OLD),
        ({"auth_time": None}, 0.0, 0.0, False, Flaw.NO_AUTH_TIME),
        ({"auth_time": None}, NOW - 10.0, 0.0, True, NOW - 10.0),
        ({"auth_time": None}, NOW - 9.0, 0.0, True, Flaw.TOO_OLD),
        ({"auth_time": None}, 0.0, NOW - 9.0, True, Flaw.FORGOTTEN),
    ],
    ids=[
        "any",
        "just in time",
        "too old",
        "forgotten",
        "auth_time before iat",
        "a time of 0 is one",
        "none",
        "none, iat",
        "none, iat too old",
        "none, iat forgotten",
    ],
)
def test_since_when_it_counts(
    changed: dict[str, Any],
    oldest: float,
    not_before: float,
    trust: bool,  # noqa: FBT001
    expected: float | Flaw,
) -> None:
    """The person's authentication; the issue time only where there is no other and the administrator says so."""
    found = idtoken.recent(good(**changed), oldest=oldest, not_before=not_before, trust_issue_time=trust)
    assert (found.flaw if isinstance(found, Flawed) else found) == expected


DOMAINS = frozenset({"example.com", "corp.example.com"})
ALICE = "alice@example.com"


@pytest.mark.parametrize(
    ("changed", "login"),
    [
        ({}, ALICE),
        ({"email": "Alice@Example.COM"}, ALICE),
        ({}, "ALICE@example.com"),
        ({"email": "alice+ssh@example.com"}, "alice+ssh@example.com"),
        ({"email": "o'neill@corp.example.com"}, "o'neill@corp.example.com"),
        ({"email": "alice@github"}, "alice@github"),
    ],
    ids=["the same", "upper case", "login in upper case", "plus", "quote", "another domain"],
)
def test_the_persons_own_token(changed: dict[str, Any], login: str) -> None:
    """By e-mail address; upper case means nothing."""
    domains = DOMAINS | {"github"}
    assert idtoken.about(good(**changed), login, domains, {}) is None


@pytest.mark.parametrize(
    ("changed", "login"),
    [
        ({"email": None}, ALICE),
        ({"email": ""}, ALICE),
        ({"email": ""}, ""),
        ({"email": "bob@example.com"}, ALICE),
        ({"email_verified": None}, ALICE),
        ({"email_verified": False}, ALICE),
        ({"email_verified": "true"}, ALICE),
        ({"email_verified": 1}, ALICE),
        ({"email_verified": [True]}, ALICE),
        ({"email": "alice+x@example.com"}, ALICE),
        ({"email": "alice@example.com "}, ALICE),
        ({"email": " alice@example.com"}, ALICE),
        ({"email": "alice@example.com\n"}, ALICE),
        ({"email": "alice@example.com\0"}, ALICE),
        ({"email": "alice@example.com."}, ALICE),
        ({"email": "alice@example.com@evil.example"}, ALICE),
        ({"email": "alice@evil.example"}, ALICE),
        ({"email": "alice@sub.example.com"}, ALICE),
        ({"email": "alice@example.com", "sub": ALICE}, "bob@example.com"),
        ({"email": "bob@evil.example", "sub": ALICE}, ALICE),
        ({"email": "al\u0131ce@example.com"}, ALICE),
        ({"email": "\uff41lice@example.com"}, ALICE),
        ({"email": "\u212aim@example.com"}, "kim@example.com"),
        ({"email": "kim@example.com"}, "\u212aim@example.com"),
        ({"email": "\u212aim@example.com"}, "\u212aim@example.com"),
        ({"email": "\xe9ve@example.com"}, "\xe9ve@example.com"),
        ({"email": "ev\xe9@example.com"}, "eve\u0301@example.com"),
        ({"email": "alice@ex\u0430mple.com"}, ALICE),
        ({"email": "alice@example\uff0ecom"}, ALICE),
        ({"email": "\udc80@example.com"}, ALICE),
        ({"email": "alice@other.example"}, "alice@other.example"),
        ({"email": "alice"}, "alice"),
        ({"email": "@example.com"}, "@example.com"),
        ({"email": "alice@"}, "alice@"),
        ({"email": "a b@example.com"}, "a b@example.com"),
        ({"email": "a@b@example.com"}, "a@b@example.com"),
        ({"email": "tagged-devices"}, "tagged-devices"),
    ],
    ids=range(37),
)
def test_the_token_of_somebody_else(changed: dict[str, Any], login: str) -> None:
    """Look-alikes, addresses that nobody has verified, other domains, and everything outside of ASCII."""
    found = idtoken.about(good(**changed), login, DOMAINS, {})
    assert flaw(found) is Flaw.PERSON


SUBJECTS = {ALICE: "subject-alice", "\xe9ve@example.com": "subject-eve"}


@pytest.mark.parametrize(
    ("changed", "login", "right"),
    [
        ({"email": None}, ALICE, True),
        ({"email": "x@evil.example", "email_verified": False}, ALICE, True),
        ({}, "Alice@example.com", True),
        ({"sub": "subject-eve"}, "\xe9ve@example.com", True),
        ({"sub": "subject-bob"}, ALICE, False),
        ({"sub": "subject-bob"}, "ALICE@example.com", False),
        ({"sub": "Subject-Alice"}, ALICE, False),
        ({"sub": "subject-alice "}, ALICE, False),
        ({"sub": "subject-alice"}, "bob@example.com", False),
        ({"sub": "subject-alice"}, "\u212aim@example.com", False),
    ],
    ids=range(10),
)
def test_a_mapped_subject(changed: dict[str, Any], login: str, right: bool) -> None:  # noqa: FBT001
    """Whoever stands there is known by it, and no longer by an e-mail address."""
    assert (idtoken.about(good(**changed), login, DOMAINS, SUBJECTS) is None) is right


def test_a_login_that_becomes_another_in_lower_case() -> None:
    """The Kelvin sign is a k then: nobody is found by it."""
    subjects = {"kim@example.com": "subject-alice"}
    assert idtoken.about(good(), "kim@example.com", DOMAINS, subjects) is None
    assert flaw(idtoken.about(good(), "\u212aim@example.com", DOMAINS, subjects)) is Flaw.PERSON


@pytest.mark.parametrize(
    ("login", "problem"),
    [
        (ALICE, ""),
        ("\xe9ve@example.com", ""),
        ("bob@corp.example.com", ""),
        ("bob@other.example", "domains and subjects"),
        ("bob@sub.example.com", "domains and subjects"),
        ("b\xf6b@example.com", "plain ASCII"),
        ("bob", "plain ASCII"),
        ("", "plain ASCII"),
    ],
)
def test_whom_a_provider_cannot_vouch_for(login: str, problem: str) -> None:
    """It is known before anybody is sent there, and what to do."""
    found = idtoken.unvouched(login, DOMAINS, SUBJECTS)
    assert problem in found
    assert bool(found) is bool(problem)


@given(place=st.integers(0, len(decode(PAYLOAD)) - 1), byte=st.integers(0, 255))
def test_no_altered_payload_verifies(place: int, byte: int) -> None:
    """Without the key there is no other payload, whatever one byte of it is."""
    payload = bytearray(decode(PAYLOAD))
    unchanged = payload[place] == byte
    payload[place] = byte
    found = verify(f"{HEAD}.{encode(bytes(payload))}.{SIGNATURE}")
    assert isinstance(found, Claims) is unchanged


@given(
    st.dictionaries(
        st.sampled_from(sorted(claims(NOW))) | st.text(max_size=8),
        st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=30),
        min_size=1,
    )
)
def test_no_other_claims_verify(changed: dict[str, Any]) -> None:
    """The signature of one token is that of no other."""
    payload = json.dumps({**claims(NOW), **changed}).encode()
    found = verify(f"{HEAD}.{encode(payload)}.{SIGNATURE}")
    assert isinstance(found, Claims) is (encode(payload) == PAYLOAD)


@given(place=st.integers(0, len(TOKEN) - 1), letter=st.characters(max_codepoint=0x2FF))
def test_every_character_counts(place: int, letter: str) -> None:
    """A token has one spelling, so that nobody has the same one twice."""
    found = verify(TOKEN[:place] + letter + TOKEN[place + 1 :])
    assert isinstance(found, Claims) is (TOKEN[place] == letter)


@given(
    st.text(max_size=300) | st.lists(st.binary(max_size=60), max_size=4).map(lambda parts: ".".join(map(encode, parts)))
)
def test_nothing_raises(text: str) -> None:
    """Whatever stands in a store."""
    assert isinstance(verify(text), Flawed)


@given(
    st.dictionaries(
        st.sampled_from([*claims(NOW), "nbf", "azp", "events"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=6,
        ),
    ),
    st.text(max_size=30),
)
def test_nothing_raises_for_what_the_provider_signs(changed: dict[str, Any], login: str) -> None:
    """A provider that is out of its mind is answered all the same."""
    found = verify(sign(RSA, json.dumps({**claims(NOW), **changed}).encode()))
    if isinstance(found, Claims):
        about = idtoken.about(found, login, DOMAINS, SUBJECTS)
        assert about is None or about.detail.isascii()
        assert idtoken.recent(found, oldest=NOW - 3600, not_before=0, trust_issue_time=True)
    else:
        assert found.detail.isascii()
        assert len(found.detail) < 1000


def test_a_token_is_in_no_message() -> None:
    """What is quoted are names and numbers."""
    parts = {part for token, _ in ATTACKS.values() for part in token.split(".")[1:] if len(part) > 20}
    parts |= {base64.urlsafe_b64encode(decode(PAYLOAD)).decode()}
    for token in [*[token for token, _ in ATTACKS.values()], *MALFORMED.values()]:
        found = verify(token)
        assert isinstance(found, Flawed)
        assert not any(part in repr(found) for part in parts)
