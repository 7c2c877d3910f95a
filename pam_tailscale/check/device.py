"""OAuth 2.0 device authorization (RFC 8628) at a provider that is found by OpenID Connect Discovery 1.0.

What an ID token is worth is not decided here: idtoken.py does.
"""

import base64
import enum
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn
from urllib.parse import quote_plus, urlsplit

from pam_tailscale.check.evidence import TOKEN_MAX
from pam_tailscale.check.https import Answer, Https
from pam_tailscale.check.secretfile import read_secret
from pam_tailscale.check.trouble import shown
from pam_tailscale.config import OidcConfig
from pam_tailscale.errors import CheckError
from pam_tailscale.secret import Secret

DISCOVERY_KEEP: Final = 3600.0
"""Seconds for which the provider's endpoints are taken as known."""
LIFETIME_MIN, LIFETIME_MAX = 60.0, 1800.0
INTERVAL_DEFAULT, INTERVAL_MIN, INTERVAL_MAX = 5.0, 1.0, 60.0
"""Seconds between two polls; the default is that of RFC 8628 section 3.2."""

_WELL_KNOWN = "/.well-known/openid-configuration"
_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_URL = re.compile(r"[!-~]{1,2048}")
_USER_CODE = re.compile(r"[!-~](?:[ -~]{0,62}[!-~])?")
_CODE_MAX = 4096


@dataclass(frozen=True, slots=True)
class Authorization:
    """The provider waits for the person (RFC 8628 section 3.2)."""

    code: Secret
    user_code: str = field(repr=False)
    url: str = field(repr=False)
    complete_url: str = field(repr=False)
    """The page with the code already in it; empty where the provider has none."""
    interval: float
    lifetime: float


@dataclass(frozen=True, slots=True)
class Granted:
    """The person has approved."""

    id_token: Secret


class NotGranted(enum.Enum):
    """What else the provider says to a poll (RFC 8628 section 3.5)."""

    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    DENIED = "access_denied"
    EXPIRED = "expired_token"
    UNKNOWN = "invalid_grant"
    """RFC 6749 section 5.2: it no longer knows this code, for example because it was started anew."""


@dataclass(frozen=True, slots=True)
class _Endpoints:
    device: str
    token: str
    keys: str
    secret_by_post: bool
    """The client's secret goes into the form, not into a header."""


class DeviceClient:
    """The provider as this client sees it; for all threads. Every method raises CheckError.

    Args:
        settings: section [oidc].
        wall: Unix time.
    """

    def __init__(self, settings: OidcConfig, *, wall: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._wall = wall
        self._https = Https(ca_file=settings.ca_file, timeout=settings.timeout, wall=wall)
        self._known: tuple[_Endpoints, float] | None = None

    def authorize(self, max_age: int) -> Authorization:
        """Begin (RFC 8628 section 3.1).

        The person is to have authenticated in the last `max_age` seconds, as in OpenID Connect Core 3.1.2.1.
        """
        endpoints = self._endpoints()
        wanted = {"scope": self._settings.scopes, "max_age": str(max_age)}
        if self._settings.prompt:
            wanted["prompt"] = self._settings.prompt
        answer = self._post(endpoints, endpoints.device, wanted)
        if not answer.ok:
            _raise_refusal(answer, described=not endpoints.secret_by_post)
        return _authorization(answer)

    def redeem(self, code: Secret) -> Granted | NotGranted:
        """Ask once whether the person has approved (RFC 8628 sections 3.4 and 3.5)."""
        endpoints = self._endpoints()
        answer = self._post(endpoints, endpoints.token, {"grant_type": _GRANT, "device_code": code.reveal()})
        document = answer.document()
        error = document.get("error")
        if isinstance(error, str) and error in [one.value for one in NotGranted]:
            return NotGranted(error)
        if not answer.ok:
            _raise_refusal(answer, described=False)
        return Granted(_id_token(document))

    def published_keys(self) -> str:
        """The provider's key set as it publishes it."""
        return self._https.get(self._endpoints().keys).text

    def close(self) -> None:
        """Close every connection."""
        self._https.close()

    def _endpoints(self) -> _Endpoints:
        now = self._wall()
        if self._known is None or not 0 <= now - self._known[1] < DISCOVERY_KEEP:
            url = self._settings.issuer.removesuffix("/") + _WELL_KNOWN
            self._known = _discovered(self._https.get(url).document(), self._settings), now
        return self._known[0]

    def _post(self, endpoints: _Endpoints, url: str, fields: Mapping[str, str]) -> Answer:
        """Send a form as this client (RFC 6749 section 2.3.1)."""
        form = {"client_id": self._settings.client_id, **fields}
        headers: dict[str, str] = {}
        if self._settings.client_secret_file is not None:
            secret = read_secret(self._settings.client_secret_file, "the client's secret for [oidc]")
            if endpoints.secret_by_post:
                form["client_secret"] = secret.reveal()
            else:
                headers["Authorization"] = _basic(self._settings.client_id, secret)
        return self._https.post(url, form, headers)


def _discovered(document: Mapping[str, Any], settings: OidcConfig) -> _Endpoints:
    """OpenID Connect Discovery 3 and 4.3. Raises CheckError."""
    issuer = document.get("issuer")
    if issuer != settings.issuer:
        named = shown(issuer) if isinstance(issuer, str) else "nothing"
        if isinstance(issuer, str) and "{" in issuer:
            raise CheckError(
                f"the provider calls itself {named}, which stands for many organisations:"
                " give the address of your own tenant as issuer in [oidc]"
            )
        raise CheckError(
            f"the provider calls itself {named}: issuer in [oidc] must be just that, if this is the right provider"
        )
    if "device_authorization_endpoint" not in document:
        raise CheckError("the identity provider offers no device authorization (RFC 8628): allow it there")
    return _Endpoints(
        device=_address(document, "device_authorization_endpoint"),
        token=_address(document, "token_endpoint"),
        keys=_address(document, "jwks_uri"),
        secret_by_post=_secret_by_post(document),
    )


def _secret_by_post(document: Mapping[str, Any]) -> bool:
    """How the provider takes a client's secret; where it does not say, in a header (Discovery 3)."""
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    known = methods if isinstance(methods, list) else []
    return "client_secret_basic" not in known and "client_secret_post" in known


def _authorization(answer: Answer) -> Authorization:
    """RFC 8628 section 3.2. Raises CheckError."""
    document = answer.document()
    code, user_code = document.get("device_code"), document.get("user_code")
    if not isinstance(code, str) or not 0 < len(code) <= _CODE_MAX:
        raise _odd("no device code")
    if not isinstance(user_code, str) or _USER_CODE.fullmatch(user_code) is None:
        raise _odd("no code that a person could read")
    lifetime = _seconds(document, "expires_in")
    if lifetime is None:
        raise _odd("no end of its check (expires_in)")
    interval = _seconds(document, "interval")
    return Authorization(
        code=Secret(code),
        user_code=user_code,
        url=_address(document, "verification_uri"),
        complete_url=_address(document, "verification_uri_complete") if "verification_uri_complete" in document else "",
        interval=min(max(INTERVAL_DEFAULT if interval is None else interval, INTERVAL_MIN), INTERVAL_MAX),
        lifetime=min(max(lifetime, LIFETIME_MIN), LIFETIME_MAX),
    )


def _id_token(document: Mapping[str, Any]) -> Secret:
    token = document.get("id_token")
    if not isinstance(token, str) or not token:
        raise _odd("no ID token: let this client have openid among its scopes")
    if len(token) > TOKEN_MAX:
        raise _odd(f"an ID token of more than {TOKEN_MAX} characters: let it leave groups out")
    return Secret(token)


def _address(document: Mapping[str, Any], name: str) -> str:
    """An https:// address, for us or for a person. Raises CheckError."""
    text = document.get(name)
    if isinstance(text, str) and _URL.fullmatch(text) is not None:
        try:
            parts = urlsplit(text)
            right = parts.scheme == "https" and parts.hostname and parts.username is None and not parts.fragment
            if right and parts.port != 0:
                return text
        except ValueError:  # a port that is none, a bracket too many
            pass
    named = shown(text) if isinstance(text, str) else "nothing"
    raise CheckError(f"the identity provider gives {named} as its {name}, which must be a plain https:// address")


def _seconds(document: Mapping[str, Any], name: str) -> float | None:
    """A number that is not negative; None where there is none. Raises CheckError."""
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise _odd(f"an {name} that is no number of seconds")
    return float(value)


def _basic(client_id: str, secret: Secret) -> str:
    """RFC 6749 section 2.3.1: both are form-encoded before they are joined."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret.reveal())}"
    return "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")


def _raise_refusal(answer: Answer, *, described: bool) -> NoReturn:
    """RFC 6749 section 5.2: the provider says what it does not like.

    `described`: in its own words, too, which may repeat the question. None where there was a code or a secret in that.
    """
    document = answer.document()
    names = ("error", "error_description") if described else ("error",)
    said = " ".join(shown(text) for text in map(document.get, names) if isinstance(text, str))
    raise CheckError(
        f"the identity provider answered {answer.url} with {answer.status} {said}: "
        "see client_id, client_secret_file and scopes in [oidc], and what this client may do there"
    )


def _odd(what: str) -> CheckError:
    return CheckError(f"the identity provider sent {what}")
