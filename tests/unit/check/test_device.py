"""Device authorization as a client sees it: what is sent, and what every answer means."""

import base64
import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pam_tailscale.check.device import Authorization, DeviceClient, Granted, NotGranted
from pam_tailscale.check.evidence import TOKEN_MAX
from pam_tailscale.config import OidcConfig
from pam_tailscale.errors import CheckError
from pam_tailscale.secret import Secret
from tests.support import fake_oidc
from tests.support.fake_oidc import DEVICE, DISCOVERY, KEYS, TOKEN, FakeOidc, Fault, says
from tests.support.tokens import CLIENT

Client = Callable[..., DeviceClient]
CODE = Secret("device-code-0")


@pytest.fixture
def provider() -> Iterator[FakeOidc]:
    """An identity provider."""
    with fake_oidc.fake_oidc() as running:
        yield running


@pytest.fixture
def client(provider: FakeOidc) -> Iterator[Client]:
    """Makes a client of the provider with these settings."""
    made: list[DeviceClient] = []

    def make(*, wall: Callable[[], float] = lambda: 1000.0, **settings: Any) -> DeviceClient:
        base = OidcConfig(issuer=provider.issuer, client_id=CLIENT, ca_file=provider.ca_file, timeout=10.0)
        made.append(DeviceClient(replace(base, **settings), wall=wall))
        return made[-1]

    yield make
    for one in made:
        one.close()


def secret_file(folder: Path, content: bytes = b"s e+cr/t:1\n", mode: int = 0o640) -> Path:
    """A file with a secret that has to be escaped."""
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_check_begins(provider: FakeOidc, client: Client) -> None:
    """With what RFC 8628 asks for, and the person's authentication as OpenID Connect does."""
    assert client().authorize(3600) == Authorization(
        code=CODE,
        user_code="ABCD-EFGH",
        url=provider.issuer + "/device",
        complete_url=provider.issuer + "/device?user_code=ABCD-EFGH",
        interval=5.0,
        lifetime=600.0,
    )
    assert provider.forms == [
        {"client_id": CLIENT, "scope": "openid email", "max_age": "3600", "prompt": "login"},
    ]
    assert provider.authorizations == [None]


def test_the_prompt_can_be_left_out(provider: FakeOidc, client: Client) -> None:
    """For a provider that does not know it; scopes are the configuration's."""
    client(prompt="", scopes="openid profile").authorize(0)
    assert provider.forms == [{"client_id": CLIENT, "scope": "openid profile", "max_age": "0"}]


def test_polling(provider: FakeOidc, client: Client) -> None:
    """Until the person has approved."""
    asking = client()
    code = asking.authorize(0).code
    assert asking.redeem(code) is NotGranted.PENDING
    token = provider.approve()
    assert asking.redeem(code) == Granted(Secret(token))
    assert (
        provider.forms[1:]
        == [
            {
                "client_id": CLIENT,
                "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
                "device_code": "device-code-0",
            }
        ]
        * 2
    )


@pytest.mark.parametrize("error", list(NotGranted), ids=lambda error: error.name)
@pytest.mark.parametrize("status", [400, 403, 200])
def test_every_answer_of_a_poll(provider: FakeOidc, client: Client, error: NotGranted, status: int) -> None:
    """RFC 8628 section 3.5, whatever status a provider sends with it."""
    body = f'{{"error": "{error.value}", "id_token": "x"}}'.encode()
    provider.faults[TOKEN] = fake_oidc.status(status, body)
    assert client().redeem(CODE) is error


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (fake_oidc.status(401, b'{"error":"invalid_client"}'), "with 401 'invalid_client': see client_id"),
        (fake_oidc.status(400, b'{"error":"\\u001b[2J","error_description":"what was sent"}'), r"400 '\\x1b\[2J': see"),
        (fake_oidc.status(400, b'{"error":["authorization_pending"]}'), "with 400 : see client_id"),
        (fake_oidc.status(400, b"{}"), "with 400"),
        (fake_oidc.status(404, b"<html>"), "not the JSON it should be"),
        (fake_oidc.status(503, b'{"error":"authorization_pending"}'), "with 503"),
        (fake_oidc.status(302, Location="https://evil.example/"), "sends us from"),
        (says(), "no ID token: let this client have openid"),
        (says(access_token="opaque"), "no ID token"),
        (says(id_token=""), "no ID token"),
        (says(id_token=["a.b.c"]), "no ID token"),
        (says(id_token="x" * (TOKEN_MAX + 1)), "more than 16384 characters"),
        (fake_oidc.status(200, b"a.b.c"), "not the JSON it should be"),
    ],
    ids=[
        "client",
        "description",
        "list",
        "nothing",
        "HTML",
        "503",
        "redirect",
        "no token",
        "access token",
        "empty",
        "list",
        "long",
        "bare",
    ],
)
def test_an_answer_that_is_none(provider: FakeOidc, client: Client, fault: Fault, message: str) -> None:
    """Nobody passes by it, and the message says what to look at."""
    provider.faults[TOKEN] = fault
    with pytest.raises(CheckError, match=message):
        client().redeem(CODE)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ({"device_code": None}, "no device code"),
        ({"device_code": ""}, "no device code"),
        ({"device_code": 7}, "no device code"),
        ({"device_code": "x" * 4097}, "no device code"),
        ({"user_code": None}, "no code that a person could read"),
        ({"user_code": ""}, "no code that a person could read"),
        ({"user_code": "x" * 65}, "no code that a person could read"),
        ({"user_code": "A\x1b[2J"}, "no code that a person could read"),
        ({"user_code": "A\nB"}, "no code that a person could read"),
        ({"user_code": "\u0410BCD"}, "no code that a person could read"),
        ({"user_code": " A"}, "no code that a person could read"),
        ({"verification_uri": None}, "nothing as its verification_uri"),
        ({"verification_uri": "http://login.example.com/device"}, "must be a plain https"),
        ({"verification_uri": "javascript:alert(1)"}, "must be a plain https"),
        ({"verification_uri": "https://"}, "must be a plain https"),
        ({"verification_uri": "https://[::1/"}, "must be a plain https"),
        ({"verification_uri": "https://a.example:x/"}, "must be a plain https"),
        ({"verification_uri": "https://login.example.com@evil.example/"}, "must be a plain https"),
        ({"verification_uri": "https://login.example.com/\n"}, "must be a plain https"),
        ({"verification_uri": "https://login.example.com/a b"}, "must be a plain https"),
        ({"verification_uri": "https://login.ex\u0430mple.com/"}, "must be a plain https"),
        ({"verification_uri": "https://a.example/" + "x" * 2048}, "must be a plain https"),
        ({"verification_uri_complete": "http://a.example/?user_code=A"}, "its verification_uri_complete"),
        ({"verification_uri_complete": ""}, "its verification_uri_complete"),
        ({"expires_in": None}, "no end of its check"),
        ({"expires_in": "600"}, "no number of seconds"),
        ({"expires_in": True}, "no number of seconds"),
        ({"expires_in": -1}, "no number of seconds"),
        ({"interval": "5"}, "no number of seconds"),
        ({"interval": -5}, "no number of seconds"),
    ],
    ids=range(30),
)
def test_a_check_that_cannot_be_shown(provider: FakeOidc, client: Client, device: dict[str, Any], message: str) -> None:
    """What a person would read, click or wait for is looked at before."""
    provider.device = device
    with pytest.raises(CheckError, match=message):
        client().authorize(0)


@pytest.mark.parametrize(
    ("device", "interval", "lifetime"),
    [
        ({"interval": None}, 5.0, 600.0),
        ({"interval": 0}, 1.0, 600.0),
        ({"interval": 2.5}, 2.5, 600.0),
        ({"interval": 3600}, 60.0, 600.0),
        ({"expires_in": 0}, 5.0, 60.0),
        ({"expires_in": 86400}, 5.0, 1800.0),
    ],
    ids=["no interval", "0", "2.5", "hour", "no time", "day"],
)
def test_times_are_bounded(
    provider: FakeOidc, client: Client, device: dict[str, Any], interval: float, lifetime: float
) -> None:
    """The default is RFC 8628's; the rest is what somebody can wait for."""
    provider.device = device
    begun = client().authorize(0)
    assert (begun.interval, begun.lifetime) == (interval, lifetime)


def test_a_provider_without_a_complete_address(provider: FakeOidc, client: Client) -> None:
    """It need not have one (RFC 8628 section 3.2)."""
    provider.device = {"verification_uri_complete": None}
    assert client().authorize(0).complete_url == ""


def test_a_check_is_refused(provider: FakeOidc, client: Client) -> None:
    """The provider's own words are in the message."""
    provider.faults[DEVICE] = fake_oidc.status(400, b'{"error":"unauthorized_client","error_description":"no device"}')
    with pytest.raises(CheckError, match="'unauthorized_client' 'no device': see client_id"):
        client().authorize(0)


def test_a_refusal_that_may_repeat_the_secret_is_not_quoted(provider: FakeOidc, client: Client, tmp_path: Path) -> None:
    """Where the form holds the client's secret, the provider's own words are left out."""
    provider.document = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    (tmp_path / "secret").write_text("hidden")
    (tmp_path / "secret").chmod(0o600)
    provider.faults[DEVICE] = fake_oidc.status(400, b'{"error":"x","error_description":"client_secret=hidden"}')
    with pytest.raises(CheckError, match="with 400 'x': see client_id"):
        client(client_secret_file=tmp_path / "secret").authorize(0)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"issuer": None}, "calls itself nothing"),
        ({"issuer": "https://evil.example"}, "calls itself 'https://evil.example': issuer in .oidc. must be just that"),
        ({"issuer": ["x"]}, "calls itself nothing"),
        (
            {"issuer": "https://login.example.com/{tenantid}/v2.0"},
            "stands for many organisations: give the address of your own tenant",
        ),
        ({"device_authorization_endpoint": "http://127.0.0.1/"}, "device_authorization_endpoint, which must be"),
        ({"device_authorization_endpoint": 7}, "nothing as its device_authorization_endpoint"),
        ({"token_endpoint": None}, "nothing as its token_endpoint"),
        ({"token_endpoint": "ftp://a.example/"}, "token_endpoint, which must be"),
        ({"token_endpoint": "https://user:password@a.example/"}, "token_endpoint, which must be"),
        ({"token_endpoint": "https://a.example/#x"}, "token_endpoint, which must be"),
        ({"jwks_uri": "file:///etc/passwd"}, "jwks_uri, which must be"),
    ],
    ids=range(11),
)
def test_a_discovery_that_is_not_believed(
    provider: FakeOidc, client: Client, document: dict[str, Any], message: str
) -> None:
    """It must be about the issuer that is configured, to the letter, and lead to https alone."""
    provider.document = document
    with pytest.raises(CheckError, match=message):
        client().authorize(0)
    assert provider.asked == {DISCOVERY: 1}


@pytest.mark.parametrize(
    "change", [lambda one: one + "/", str.upper, lambda one: one.replace("127.0.0.1", "localhost")]
)
def test_the_issuer_is_compared_to_the_letter(provider: FakeOidc, client: Client, change: Callable[[str], str]) -> None:
    """OpenID Connect Discovery 4.3."""
    provider.document = {"issuer": change(provider.issuer)}
    with pytest.raises(CheckError, match="must be just that"):
        client().authorize(0)


def test_an_issuer_that_ends_with_a_slash(provider: FakeOidc, client: Client) -> None:
    """It is taken away for the address of the document, and belongs to the name (Discovery 4)."""
    issuer = provider.issuer + "/realm/"
    document = {"device_authorization_endpoint": DEVICE, "token_endpoint": TOKEN, "jwks_uri": KEYS}
    endpoints = {name: provider.issuer + path for name, path in document.items()}
    provider.faults["/realm" + DISCOVERY] = says(issuer=issuer, **endpoints)
    assert client(issuer=issuer).authorize(0).code == CODE


def test_a_provider_without_device_authorization(provider: FakeOidc, client: Client) -> None:
    """Many have to be told to allow it."""
    provider.faults[DISCOVERY] = says(issuer=provider.issuer)
    with pytest.raises(CheckError, match="offers no device authorization"):
        client().authorize(0)


def test_discovery_is_kept_for_an_hour(provider: FakeOidc, client: Client) -> None:
    """Also a clock that goes back ends it."""
    now = [1000.0]
    asking = client(wall=lambda: now[0])
    for moment, asked in ((1000.0, 1), (4599.0, 1), (4600.0, 2), (1000.0, 3)):
        now[0] = moment
        asking.published_keys()
        assert provider.asked[DISCOVERY] == asked
    assert provider.asked[KEYS] == 4


def test_the_published_keys(provider: FakeOidc, client: Client) -> None:
    """As they are published."""
    assert client().published_keys() == f'{{"keys": {json.dumps(provider.keys)}}}'


@pytest.mark.parametrize(
    ("methods", "by_post"),
    [
        (None, False),
        (["client_secret_basic", "client_secret_post"], False),
        (["client_secret_post"], True),
        (["client_secret_post", "private_key_jwt"], True),
        (["private_key_jwt"], False),
        ("client_secret_post", False),
    ],
    ids=["not said", "both", "post", "post and another", "another", "no list"],
)
def test_the_clients_secret(
    provider: FakeOidc,
    client: Client,
    tmp_path: Path,
    methods: list[str] | None,
    by_post: bool,  # noqa: FBT001
) -> None:
    """In the way that the provider takes it, escaped as RFC 6749 section 2.3.1 has it."""
    provider.document = {"token_endpoint_auth_methods_supported": methods} if methods else {}
    asking = client(client_id="client 1", client_secret_file=secret_file(tmp_path))
    asking.authorize(0)
    asking.redeem(CODE)
    expected = None if by_post else "Basic " + base64.b64encode(b"client+1:s+e%2Bcr%2Ft%3A1").decode()
    assert provider.authorizations == [expected] * 2
    assert [form.get("client_secret") for form in provider.forms] == ["s e+cr/t:1" if by_post else None] * 2


def test_the_secret_is_read_when_it_is_used(provider: FakeOidc, client: Client, tmp_path: Path) -> None:
    """A new one needs no restart."""
    asking = client(client_secret_file=secret_file(tmp_path, b"old"))
    asking.redeem(CODE)
    secret_file(tmp_path, b"new")
    asking.redeem(CODE)
    sent = [base64.b64decode((one or "").removeprefix("Basic ")) for one in provider.authorizations]
    assert sent == [b"client-1:old", b"client-1:new"]


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (None, 0, "cannot be read"),
        (b"secret-word", 0o644, r"others may read the client's secret for \[oidc\]"),
        (b"", 0o600, "write it anew"),
    ],
    ids=["missing", "readable", "empty"],
)
def test_a_secret_that_cannot_be_used(
    provider: FakeOidc, client: Client, tmp_path: Path, content: bytes | None, mode: int, message: str
) -> None:
    """The provider is not asked without it, and nothing of it is in the message."""
    path = tmp_path / "secret" if content is None else secret_file(tmp_path, content, mode)
    with pytest.raises(CheckError, match=message) as caught:
        client(client_secret_file=path).redeem(CODE)
    assert "secret-word" not in str(caught.value)
    assert not provider.forms


def test_nothing_secret_is_shown(
    provider: FakeOidc, client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither codes nor tokens nor the client's secret, in no record, error or log, not even while debugging."""
    caplog.set_level(logging.DEBUG)
    asking = client(client_secret_file=secret_file(tmp_path, b"secret-word"))
    begun = asking.authorize(0)
    token = provider.approve()
    shown = [repr(begun), repr(asking.redeem(begun.code)), repr(asking)]
    provider.faults[TOKEN] = fake_oidc.status(400, b'{"error": "invalid_client"}')
    with pytest.raises(CheckError) as caught:
        asking.redeem(begun.code)
    shown += [str(caught.value), repr(caught.value), caplog.text]
    assert not re.search("|".join(map(re.escape, [token, "secret-word", "device-code-0"])), "\n".join(shown))


def test_a_provider_of_another_authority(client: Client) -> None:
    """Discovery is where trust begins: the certificate must be right."""
    with fake_oidc.fake_oidc() as other, pytest.raises(CheckError, match="is not trusted"):
        client(issuer=other.issuer).authorize(0)
