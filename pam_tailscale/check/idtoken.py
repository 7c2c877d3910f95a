"""What an ID token proves, and whether that is what a check asks for. Pure: keys and the time are passed in.

Each rule is a function of its own; whoever uses evidence asks all of them, every time: `signed` (which may be
remembered, for it does not depend on time), `timely`, `about` and `recent`. Everything is an answer, nothing raises.
"""

import base64
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import PyJWTError

from pam_tailscale.check.evidence import TOKEN_MAX
from pam_tailscale.check.keyset import KeySet
from pam_tailscale.check.strict import parse_object
from pam_tailscale.check.trouble import shown
from pam_tailscale.config import ALGORITHMS
from pam_tailscale.model import folded
from pam_tailscale.secret import Secret

SKEW = 60.0
"""Seconds that the provider's clock may differ from ours."""
SUBJECT_MAX = 255
"""Characters of `sub` (OpenID Connect Core 2)."""
AUDIENCES_MAX = 32

_TIME_MAX = 1e11  # seconds: the year 5138; what is larger counts in milliseconds
_VERIFIERS = {name: verifier for name, verifier in get_default_algorithms().items() if name in ALGORITHMS}
_PART = re.compile(r"[A-Za-z0-9_-]+")
_ADDRESS = re.compile(r"[!-?A-~]+@[!-?A-~]+")
"""Printable ASCII with one @ in it. Elsewhere there are letters that look like others, or become others in lower case
(U+212A becomes k)."""
_NO_JWT = ("crit", "b64", "enc", "zip")
"""Header fields of what is no plain signed token: RFC 7515 section 4.1.11, RFC 7797, RFC 7516 section 4.1."""


class Flaw(enum.Enum):
    """Why a token is not what is asked for."""

    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    KEY_UNKNOWN = "key_unknown"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    FUTURE = "future"
    NO_AUTH_TIME = "no_auth_time"
    TOO_OLD = "too_old"
    FORGOTTEN = "forgotten"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Flawed:
    """The token does not count."""

    flaw: Flaw
    detail: str
    """For the administrator; what is quoted in it comes from the token, but never the token."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token has to say of the two it stands between."""

    issuer: str
    client_id: str
    algorithms: frozenset[str]
    """Those that count; whatever stands here, only signatures by a key that is the provider's alone are known."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says whose signature, issuer and audience are right. Times are Unix times."""

    subject: str
    email: str
    """As it came, nobody's until `about` has looked at it; empty where the token has none."""
    email_verified: bool
    issued: float
    expires: float
    not_before: float | None
    auth_time: float | None
    """When the person authenticated; None where the provider does not say."""


class _FlawError(Exception):
    """Carries a flaw out of the depth of the parser to `signed`."""

    def __init__(self, flaw: Flaw, detail: str) -> None:
        super().__init__(detail)
        self.flawed = Flawed(flaw, detail)


def signed(token: Secret, keys: KeySet, expected: Expected) -> Claims | Flawed:
    """What a token says that the provider has signed for this client (OpenID Connect Core 3.1.3.7, 1 to 8)."""
    try:
        claims = _verified_payload(token.reveal(), keys, expected.algorithms)
        _check_parties(claims, expected)
        return _claims(claims)
    except _FlawError as err:
        return err.flawed


def timely(claims: Claims, now: float, *, taking: bool) -> Flawed | None:
    """Whether the token's own times are possible; its end counts only when it is taken (3.1.3.7, 9 and 10)."""
    latest = max(claims.issued, claims.not_before or 0.0, claims.auth_time or 0.0)
    if latest > now + SKEW:
        return Flawed(
            Flaw.FUTURE,
            f"a time in it is {latest - now:.0f} s ahead of this host's clock: see that both clocks are right",
        )
    if taking and now >= claims.expires + SKEW:
        return Flawed(
            Flaw.EXPIRED,
            f"it expired {now - claims.expires:.0f} s before it was sent: see that both clocks are right",
        )
    return None


def recent(claims: Claims, *, oldest: float, not_before: float, trust_issue_time: bool) -> float | Flawed:
    """The Unix time at which the person authenticated, which has to be `oldest` and `not_before` or later.

    It is never the issue time, unless the administrator says so: a provider with a live browser session hands out new
    tokens without asking anyone.
    """
    authenticated = claims.issued if claims.auth_time is None and trust_issue_time else claims.auth_time
    if authenticated is None:
        return Flawed(
            Flaw.NO_AUTH_TIME,
            "the token does not say when the person authenticated (auth_time): let the provider add it to this client's"
            ' ID tokens, or say without_auth_time = "trust issue time" in [oidc]',
        )
    if authenticated < oldest:
        return Flawed(Flaw.TOO_OLD, f"the person authenticated {oldest - authenticated:.0f} s too early")
    if authenticated < not_before:
        return Flawed(Flaw.FORGOTTEN, "the person authenticated before their checks were forgotten")
    return authenticated


def about(claims: Claims, login: str, domains: frozenset[str], subjects: Mapping[str, str]) -> Flawed | None:
    """Whether the token is about the person with this login; `subjects` are the provider's, by `folded` login."""
    if problem := unvouched(login, domains, subjects):
        return Flawed(Flaw.PERSON, problem)
    subject = subjects.get(folded(login))
    if subject is not None:
        return None if claims.subject == subject else _other(login, f"the subject {shown(claims.subject)}")
    if not claims.email:
        return _other(login, "nobody's e-mail address (has scopes email in [oidc], and the provider one for them?)")
    named = shown(claims.email)
    if claims.email_verified is not True:
        return _other(login, f"{named}, an e-mail address that it has not verified (email_verified)")
    if _ADDRESS.fullmatch(claims.email) is None or claims.email.lower() != login.lower():
        return _other(login, named)
    return None


def unvouched(login: str, domains: frozenset[str], subjects: Mapping[str, str]) -> str:
    """Why no token at all can be about this login, and what to do; empty where one can."""
    if folded(login) in subjects:
        return ""
    if _ADDRESS.fullmatch(login) is None:
        advice = "give their subject in subjects of [oidc]"
        return f"the login {shown(login)} is no e-mail address in plain ASCII: {advice}"
    if login.lower().partition("@")[2] not in domains:
        return f"the provider may not vouch for {shown(login)}: see domains and subjects in [oidc]"
    return ""


def _other(login: str, named: str) -> Flawed:
    return Flawed(Flaw.PERSON, f"the login is {shown(login)}, but the provider vouches for {named}")


def _verified_payload(text: str, keys: KeySet, algorithms: frozenset[str]) -> dict[str, Any]:
    """The payload, which is not looked at before its signature is right. Raises _FlawError."""
    if len(text) > TOKEN_MAX:
        raise _malformed(f"it has more than {TOKEN_MAX} characters")
    parts = text.split(".")
    if len(parts) != 3:  # noqa: PLR2004 (RFC 7515 section 7.1; an encrypted one has five)
        raise _malformed("it is no signed token in compact form")
    header, payload, signature = (_decoded(part) for part in parts)
    _check_signature(_object(header, "header"), text.rpartition(".")[0].encode("ascii"), signature, keys, algorithms)
    return _object(payload, "payload")


def _check_signature(
    header: dict[str, Any], message: bytes, signature: bytes, keys: KeySet, algorithms: frozenset[str]
) -> None:
    """RFC 7515 section 5.2. What the header says of keys (jku, jwk, x5u, x5c) is not looked at. Raises _FlawError."""
    kind = header.get("typ", "JWT")
    if any(name in header for name in _NO_JWT) or not isinstance(kind, str) or kind.upper() != "JWT":
        raise _malformed("it is another kind of token than an ID token")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise _FlawError(
            Flaw.ALGORITHM,
            f"it is signed with {_said(algorithm)}, which is not among the algorithms of [oidc]",
        )
    if "kid" in header and not isinstance(key_id, str):
        raise _malformed("its kid is no text")
    key = keys.find(key_id)
    if key is None:
        raise _FlawError(Flaw.KEY_UNKNOWN, f"the provider publishes no signing key {_said(key_id)}")
    if algorithm not in key.algorithms:
        raise _FlawError(Flaw.ALGORITHM, f"the key {_said(key_id)} is not for {algorithm}")
    try:
        right = _VERIFIERS[algorithm].verify(message, key.public, signature)
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError):
        right = False
    if right is not True:
        raise _FlawError(Flaw.SIGNATURE, f"its signature is not that of the key {_said(key_id)}")


def _check_parties(claims: dict[str, Any], expected: Expected) -> None:
    """OpenID Connect Core 3.1.3.7, 2 to 5; RFC 7519 section 4.1.3. Raises _FlawError."""
    if "events" in claims:  # a logout token is signed by the same key for the same client (Back-Channel Logout 2.4)
        raise _malformed("it is a message about an event")
    if claims.get("iss") != expected.issuer:
        raise _FlawError(Flaw.ISSUER, f"it was issued by {_said(claims.get('iss'))}, not by {expected.issuer}")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if len(audiences) > AUDIENCES_MAX or not all(isinstance(one, str) for one in audiences):
        raise _malformed("its aud is no text, nor a short list of them")
    if expected.client_id not in audiences:
        raise _FlawError(Flaw.AUDIENCE, f"it is for {_said(audience)}, not for the client of [oidc]")
    party = claims.get("azp") if "azp" in claims or len(audiences) > 1 else expected.client_id
    if party != expected.client_id:
        raise _FlawError(Flaw.AUDIENCE, f"it was given to {_said(party)} (azp), not to the client of [oidc]")


def _claims(claims: dict[str, Any]) -> Claims:
    """Raises _FlawError."""
    subject, email = claims.get("sub"), claims.get("email", "")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MAX or not isinstance(email, str):
        raise _malformed("its sub or email is no text, or none that is allowed")
    return Claims(
        subject=subject,
        email=email,
        email_verified=claims.get("email_verified") is True,
        issued=_time(claims, "iat"),
        expires=_time(claims, "exp"),
        not_before=_time(claims, "nbf") if "nbf" in claims else None,
        auth_time=_time(claims, "auth_time") if "auth_time" in claims else None,
    )


def _time(claims: dict[str, Any], name: str) -> float:
    """A NumericDate (RFC 7519 section 2), of which true is none. Raises _FlawError."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _TIME_MAX:
        raise _malformed(f"its {name} is no time in seconds")
    return float(value)


def _decoded(part: str) -> bytes:
    """base64url without padding (RFC 7515 section 2), in its one spelling. Raises _FlawError."""
    if _PART.fullmatch(part) is None or len(part) % 4 == 1:
        raise _malformed("a part of it is no base64url")
    content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii") != part:
        raise _malformed("a part of it is base64url in a spelling of its own")
    return content


def _object(content: bytes, what: str) -> dict[str, Any]:
    try:
        return parse_object(content)
    except ValueError as err:
        raise _malformed(f"its {what} cannot be read: {shown(str(err))}") from None


def _said(value: object) -> str:
    """A value of the token as it may stand in a message; of one that is no text, the kind."""
    return shown(value) if isinstance(value, str) else f"a {type(value).__name__}"


def _malformed(detail: str) -> _FlawError:
    return _FlawError(Flaw.MALFORMED, detail)
