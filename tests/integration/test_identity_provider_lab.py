"""The promises of check mode's laboratory: a real OpenID provider, a real browser, a person at it; nothing of ours."""

import base64
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.support import identity_provider as idp
from tests.support import namespaces
from tests.support.browser import Browser
from tests.support.certificates import Authority
from tests.support.identity_provider import IdentityProvider
from tests.support.person import (
    APPROVED,
    CONFIRM_DEVICE,
    CONSENT,
    ENTER_CODE,
    SIGN_IN,
    SIGN_OUT,
    SIGNED_OUT,
    UNTRUSTED,
    Person,
)
from tests.support.roots import PROJECT, debian_root
from tests.support.sandbox import Sandbox, connect
from tests.support.waiting import wait_until

# One worker: there is one browser, and it is large.
pytestmark = pytest.mark.xdist_group("identity-provider")

ADDRESS, DEVICE_ADDRESS = "192.0.2.1", "192.0.2.2"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(frozen=True, slots=True)
class Lab:
    """A provider on one host, and a person's device, with a browser, on another."""

    provider: IdentityProvider
    browser: Browser
    device: Sandbox
    authority: Authority

    def ask(self, path: str, form: Mapping[str, str] | None = None, *, timeout: float = 20) -> Answer:
        """One request over TLS as strict as Python has it, from the device; a POST where there is a form."""
        trust = ssl.create_default_context(cadata=self.authority.pem)
        trust.verify_flags |= ssl.VERIFY_X509_STRICT
        connection = http.client.HTTPSConnection(ADDRESS, 9443)
        with closing(connection):
            plain = self.device.inside(
                lambda: socket.create_connection((ADDRESS, 9443), timeout), namespaces.CLONE_NEWNET
            )
            with plain:
                connection.sock = trust.wrap_socket(plain, server_hostname=ADDRESS)
            body = urllib.parse.urlencode(form) if form else None
            headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
            connection.request("POST" if form else "GET", path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())

    def begin(self, client: idp.Client = idp.PUBLIC, **wishes: str) -> dict[str, Any]:
        """A device authorization request (RFC 8628 section 3.1), which has to succeed."""
        answer = self.ask("/device/auth", {"client_id": client.client_id, "scope": "openid email", **wishes})
        assert answer.status == 200, answer.body
        return answer.json

    def poll(self, begun: Mapping[str, Any], client: idp.Client = idp.PUBLIC) -> Answer:
        """A device access token request (RFC 8628 section 3.4)."""
        form = {"grant_type": DEVICE_CODE, "client_id": client.client_id, "device_code": begun["device_code"]}
        return self.ask("/token", form)

    def approved(self, person: Person, **wishes: str) -> tuple[tuple[str, ...], dict[str, Any]]:
        """A check from its beginning to its end: the pages that the person saw, and the claims that came of it."""
        begun = self.begin(idp.PUBLIC, **wishes)
        visit = person.approve(begun["verification_uri_complete"])
        assert visit.end == APPROVED, visit
        return visit.pages, claims(self.poll(begun).json["id_token"])


def claims(token: str) -> dict[str, Any]:
    """What a token says, unverified."""
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


@pytest.fixture(scope="module")
def running() -> Iterator[Lab]:
    """Everything, started once."""
    with ExitStack() as stack:
        root, authority = debian_root("bookworm"), Authority()
        host = stack.enter_context(Sandbox(root, "provider"))
        device = stack.enter_context(Sandbox(root, "device"))
        connect(host, device, "eth0", f"{ADDRESS}/24", "eth0", f"{DEVICE_ADDRESS}/24")
        certificate = authority.issue(ADDRESS)
        provider = stack.enter_context(IdentityProvider(host, ADDRESS, certificate))
        browser = stack.enter_context(Browser(device, certificate.key_hash))
        yield Lab(provider, browser, device, authority)


@pytest.fixture
def lab(running: Lab) -> Lab:
    """As it began: nothing is disturbed."""
    running.provider.restore()
    return running


@pytest.fixture
def alice(lab: Lab) -> Person:
    """Somebody at the browser, not signed in."""
    lab.browser.forget()
    return Person(lab.browser, idp.ALICE)


@pytest.fixture
def member(lab: Lab) -> Person:
    """Somebody at the browser, signed in or not."""
    return Person(lab.browser, idp.ALICE)


def test_a_client_finds_everything_by_discovery(lab: Lab) -> None:
    """The issuer is exactly the address that was asked, and the device flow is there."""
    found = lab.ask("/.well-known/openid-configuration").json
    assert found["issuer"] == lab.provider.issuer
    assert found["device_authorization_endpoint"] == f"{lab.provider.issuer}/device/auth"
    assert DEVICE_CODE in found["grant_types_supported"]


def test_a_person_approves(lab: Lab, alice: Person) -> None:
    """They confirm the device, sign in and consent; the token then names them, and the moment of their signing in."""
    before = int(time.time())
    begun = lab.begin()
    assert lab.poll(begun).json["error"] == "authorization_pending"
    visit = alice.approve(begun["verification_uri_complete"])
    assert visit.pages == (CONFIRM_DEVICE, SIGN_IN, CONSENT, APPROVED)
    found = claims(lab.poll(begun).json["id_token"])
    assert (found["sub"], found["email"], found["email_verified"]) == ("1001", "alice@example.com", True)
    assert (found["iss"], found["aud"]) == (lab.provider.issuer, "pam-tailscale")
    assert before <= found["auth_time"] <= found["iat"] <= int(time.time())


NO_WISH: dict[str, str] = {}
PROMPT, AT_ONCE, AFTER_A_SECOND, AFTER_AN_HOUR = (
    {"prompt": "login"},
    {"max_age": "0"},
    {"max_age": "1"},
    {"max_age": "3600"},
)
SILENT: list[tuple[idp.Reauthentication, dict[str, str]]] = [
    *(("ignored", wish) for wish in (PROMPT, AT_ONCE, AFTER_A_SECOND)),
    *(("stock", wish) for wish in (NO_WISH, PROMPT, AT_ONCE, AFTER_AN_HOUR)),
    ("full", AFTER_AN_HOUR),
]
ASKING: list[tuple[idp.Reauthentication, dict[str, str]]]
ASKING = [("stock", AFTER_A_SECOND), ("full", PROMPT), ("full", AT_ONCE)]


def test_which_wishes_make_a_person_sign_in_again(lab: Lab, alice: Person) -> None:
    """A second approval asks for no password, and auth_time says so, unless the provider heeds a wish.

    By itself oidc-provider drops `prompt` and max_age=0 in the device flow without a word; max_age counts from 1 up.
    """
    _, first = lab.approved(alice)
    wait_until(lambda: time.time() > first["auth_time"] + 2, 5, "a session older than a second")
    for mode, wish in SILENT:
        lab.provider.reauthentication(mode)
        pages, found = lab.approved(alice, **wish)
        assert pages == (CONFIRM_DEVICE, APPROVED), (mode, wish)
        assert found["auth_time"] == first["auth_time"] < found["iat"], (mode, wish)
        sent = lab.provider.requests("device_authorization")[-1]["parameters"]
        assert sent.items() >= wish.items()
    for mode, wish in ASKING:
        lab.provider.reauthentication(mode)
        pages, found = lab.approved(alice, **wish)
        assert pages == (CONFIRM_DEVICE, SIGN_IN, APPROVED), (mode, wish)
        assert found["auth_time"] > first["auth_time"], (mode, wish)


@pytest.mark.parametrize("page", [CONFIRM_DEVICE, SIGN_IN, CONSENT])
def test_a_person_refuses(lab: Lab, alice: Person, page: str) -> None:
    """On whichever page they do: access_denied, once; after that the code is worth nothing. Other checks go on."""
    other, begun = lab.begin(), lab.begin()
    visit = alice.refuse(begun["verification_uri_complete"], page)
    assert visit.pages[-2:] == (page, ENTER_CODE)
    assert [lab.poll(begun).json["error"] for _ in range(2)] == ["access_denied", "invalid_grant"]
    assert APPROVED not in alice.approve(begun["verification_uri_complete"]).pages
    assert lab.poll(other).json["error"] == "authorization_pending"


def test_a_code_is_typed_where_there_is_no_link(lab: Lab, alice: Person) -> None:
    """verification_uri and user_code lead to the same."""
    begun = lab.begin()
    visit = alice.approve(begun["verification_uri"], code=begun["user_code"])
    assert visit.pages == (ENTER_CODE, CONFIRM_DEVICE, SIGN_IN, CONSENT, APPROVED)
    assert lab.poll(begun).status == 200


@pytest.mark.parametrize(
    "account",
    [replace(idp.ALICE, login="nobody"), replace(idp.ALICE, password="wrong"), replace(idp.ALICE, password="")],
    ids=["unknown", "wrong password", "no password"],
)
def test_who_cannot_sign_in_approves_nothing(lab: Lab, account: idp.Account) -> None:
    """They are asked again, and the check stays pending."""
    lab.browser.forget()
    begun = lab.begin()
    visit = Person(lab.browser, account).approve(begun["verification_uri_complete"])
    assert visit.pages == (CONFIRM_DEVICE, SIGN_IN, SIGN_IN)
    assert lab.poll(begun).json["error"] == "authorization_pending"


def test_a_person_signs_out(lab: Lab, alice: Person) -> None:
    """After that their browser is nobody's."""
    lab.approved(alice)
    visits = [alice.sign_out(lab.provider.issuer).pages for _ in range(2)]
    assert visits == [(SIGN_OUT, SIGNED_OUT), (SIGNED_OUT,)]


def test_a_code_expires(lab: Lab, member: Person) -> None:
    """expired_token for the program, and nothing to approve for the person."""
    lab.provider.lifetimes(device_code=1)
    begun = lab.begin()
    assert begun["expires_in"] == 1
    wait_until(lambda: lab.poll(begun).json["error"] == "expired_token", 10, "the code's end", pause_seconds=0.2)
    assert member.approve(begun["verification_uri_complete"]).end == ENTER_CODE


def test_who_polls_too_soon_is_told(lab: Lab) -> None:
    """slow_down, unless the test wants none; without an interval in the answer it is the 5 s of RFC 8628."""
    begun = lab.begin()
    assert begun["interval"] == 1
    assert [lab.poll(begun).json["error"] for _ in range(2)] == ["authorization_pending", "slow_down"]
    lab.provider.polling(interval=None)
    assert "interval" not in lab.begin()
    lab.provider.polling(enforced=False)
    assert lab.poll(begun).json["error"] == "authorization_pending"
    assert [request["error"] for request in lab.provider.requests("token")[-2:]] == [
        "slow_down",
        "authorization_pending",
    ]


def test_a_client_may_have_a_secret(lab: Lab) -> None:
    """With a wrong one it is unknown; no secret is recorded."""
    client = idp.CONFIDENTIAL
    assert client.secret is not None
    for secret, status in ((client.secret, 200), ("wrong", 401)):
        form = {"client_id": client.client_id, "client_secret": secret, "scope": "openid"}
        assert lab.ask("/device/auth", form).status == status
    assert client.secret not in json.dumps(lab.provider.requests("device_authorization"))


@pytest.mark.parametrize("client", [idp.PUBLIC, idp.ELLIPTIC], ids=["RS256", "ES256"])
def test_keys_rotate(lab: Lab, member: Person, client: idp.Client) -> None:
    """Tokens are signed with a published key, sessions outlive a rotation, and old keys stay published or not."""
    begun = lab.begin(client)
    member.approve(begun["verification_uri_complete"])
    token = lab.poll(begun, client).json["id_token"]

    def verify() -> None:
        keys = jwt.PyJWKSet.from_json(lab.ask("/jwks").body)
        key = keys[jwt.get_unverified_header(token)["kid"]]
        jwt.decode(token, key, algorithms=[client.algorithm], audience=client.client_id)

    verify()
    lab.provider.rotate_keys(keep_old=True)
    verify()
    kids = lab.provider.rotate_keys(keep_old=False)
    assert [key["kid"] for key in lab.ask("/jwks").json["keys"]] == kids
    with pytest.raises(KeyError):
        verify()
    begun = lab.begin(client)
    assert SIGN_IN not in member.approve(begun["verification_uri_complete"]).pages
    token = lab.poll(begun, client).json["id_token"]
    verify()


def test_tokens_are_altered(lab: Lab, member: Person) -> None:
    """Any claim and header field can be another or missing, under a signature that is good, or empty."""
    lab.provider.alter_tokens({"aud": ["someone-else"], "auth_time": None, "exp": 1})
    begun = lab.begin()
    member.approve(begun["verification_uri_complete"])
    token = lab.poll(begun).json["id_token"]
    found = claims(token)
    assert (found["aud"], found["exp"], "auth_time" in found) == (["someone-else"], 1, False)
    keys = jwt.PyJWKSet.from_json(lab.ask("/jwks").body)
    key = keys[jwt.get_unverified_header(token)["kid"]]
    jwt.decode(token, key, algorithms=["RS256"], options={"verify_exp": False, "verify_aud": False})
    lab.provider.alter_tokens(header={"alg": "none", "kid": None})
    begun = lab.begin()
    member.approve(begun["verification_uri_complete"])
    token = lab.poll(begun).json["id_token"]
    assert jwt.get_unverified_header(token) == {"alg": "none", "typ": "JWT"}
    assert token.endswith(".")


def test_endpoints_are_disturbed(lab: Lab) -> None:
    """So many times, then all is well again; a delay outlasts the patience of a client."""
    lab.provider.disturb("jwks", status=503, body="down", headers={"Retry-After": "7"}, times=1)
    lab.provider.disturb("jwks", delay=600, times=1)
    first = lab.ask("/jwks")
    assert (first.status, first.body, first.headers["Retry-After"]) == (503, "down", "7")
    with pytest.raises(TimeoutError):
        lab.ask("/jwks", timeout=0.5)
    assert lab.ask("/jwks").status == 200
    lab.provider.disturb("token", status=400, body={"error": "slow_down"})
    assert [lab.poll(lab.begin()).json["error"] for _ in range(2)] == ["slow_down", "slow_down"]
    lab.provider.restore()
    assert lab.poll(lab.begin()).json["error"] == "authorization_pending"


def test_a_bad_certificate_is_noticed(lab: Lab, member: Person) -> None:
    """By the program, and by the browser, which trusts one key and not an authority, even where it was before."""
    page = f"{lab.provider.issuer}/device"
    assert member.read(page).pages == (ENTER_CODE,)
    expired, other = lab.authority.issue(ADDRESS, lifetime=timedelta(days=-1)), lab.authority.issue("192.0.2.99")
    for certificate in (expired, other, Authority("Another one").issue(ADDRESS)):
        lab.provider.present(certificate)
        with pytest.raises(ssl.SSLCertVerificationError):
            lab.ask("/jwks")
    assert member.read(page).pages == (UNTRUSTED,)
    lab.provider.restore()
    assert lab.ask("/jwks").status == 200


def test_a_provider_that_was_down_knows_nothing_any_more(lab: Lab) -> None:
    """Down is refused connections; up again: other keys, no code, no session."""
    begun = lab.begin()
    keys = lab.ask("/jwks").json
    lab.provider.stop()
    with pytest.raises(ConnectionRefusedError):
        lab.ask("/jwks")
    lab.provider.start()
    assert lab.poll(begun).json["error"] == "invalid_grant"
    assert lab.ask("/jwks").json != keys


def in_network(link: str) -> list[str]:
    """The processes of this machine in a network namespace."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "ns/net").readlink()) == link:
                found.append((process / "comm").read_text().strip())
        except OSError:  # it ended meanwhile
            continue
    return found


def test_nothing_is_left_when_the_test_process_is_killed() -> None:
    """SIGKILL of the test process takes node, chromedriver and Chromium along."""
    program = f"""
import os, time
from pathlib import Path
from tests.support.browser import Browser
from tests.support.certificates import Authority
from tests.support.identity_provider import IdentityProvider
from tests.support.sandbox import Sandbox
with Sandbox(Path({str(debian_root("bookworm"))!r})) as box:
    with IdentityProvider(box, "127.0.0.1", Authority().issue("127.0.0.1")), Browser(box):
        print(os.readlink(f"/proc/{{box.pid}}/ns/net"), flush=True)
        time.sleep(1000)
"""
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        link = child.stdout.readline().strip()
        assert {"node", "chromedriver", "chromium"} <= set(in_network(link))
        child.send_signal(signal.SIGKILL)
    wait_until(lambda: not in_network(link), 5, "all of them are gone")
