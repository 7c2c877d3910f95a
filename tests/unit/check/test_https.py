"""Questions over HTTPS: whom they go to, and that every answer has an end."""

import contextlib
import datetime
import email.utils
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests.adapters

from pam_tailscale.check import https
from pam_tailscale.check.https import Https
from pam_tailscale.errors import CheckError
from tests.support import fake_oidc
from tests.support.certificates import Authority
from tests.support.fake_oidc import DISCOVERY, KEYS, TOKEN, FakeOidc, Fault

NOW = 1_800_000_000.0


@pytest.fixture
def provider() -> Iterator[FakeOidc]:
    """An identity provider."""
    with fake_oidc.fake_oidc() as running:
        yield running


@contextlib.contextmanager
def client(ca_file: Path | None, timeout: float = 10) -> Iterator[Https]:
    """A client that is closed."""
    made = Https(ca_file=ca_file, timeout=timeout, wall=lambda: NOW)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets go of whoever hangs, at the end at the latest."""
    event = threading.Event()
    yield event
    event.set()


def error_of(provider: FakeOidc, path: str = DISCOVERY, timeout: float = 10) -> CheckError:
    """The error that a question ends with."""
    with client(provider.ca_file, timeout) as made, pytest.raises(CheckError) as caught:
        made.get(provider.issuer + path)
    return caught.value


def test_an_answer(provider: FakeOidc) -> None:
    """The document, and the text as it came; the text is not shown."""
    with client(provider.ca_file) as made:
        answer = made.get(provider.issuer + DISCOVERY)
    assert answer.ok
    assert answer.document()["issuer"] == provider.issuer
    assert provider.issuer in answer.text
    assert "device_authorization" not in repr(answer)


def test_a_refusal_is_an_answer_to_a_form(provider: FakeOidc) -> None:
    """RFC 6749 says no with 400 and a document."""
    with client(provider.ca_file) as made:
        answer = made.post(provider.issuer + TOKEN, {"device_code": "a&b=c \xe9"}, {"Authorization": "Basic eA=="})
    assert (answer.status, answer.ok, answer.document()) == (400, False, {"error": "invalid_grant"})
    assert provider.forms == [{"device_code": "a&b=c \xe9"}]
    assert provider.authorizations == ["Basic eA=="]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (fake_oidc.status(404, b"<html>"), "answered .* with 404: is issuer"),
        (fake_oidc.status(403), "with 403"),
        (fake_oidc.status(500), "with 500: it is overloaded or out of order"),
        (fake_oidc.status(503), "with 503"),
        (fake_oidc.status(429), "with 429"),
        (
            fake_oidc.status(301, Location="https://evil.example/"),
            r"to 'https://evil\.example/': give its final address",
        ),
        (fake_oidc.status(302, Location="http://localhost/\x1b[2J"), "give its final address"),
        (fake_oidc.status(307), "sends us from .* to ''"),
        (fake_oidc.status(200, b"x", Content_Encoding="gzip"), "compressed"),
        (fake_oidc.status(200, b" " * (https.BODY_MAX + 1)), "more than 256 KiB"),
        (fake_oidc.endless(), "more than 256 KiB"),
        (fake_oidc.endless(302), "give its final address"),
        (fake_oidc.closed, "cannot reach"),
    ],
    ids=["404", "403", "500", "503", "429", "301", "302", "307", "gzip", "large", "endless", "endless 302", "closed"],
)
def test_a_bad_answer_is_an_error(provider: FakeOidc, fault: Fault, message: str) -> None:
    """It says which, and what to do; no redirect is followed."""
    provider.faults[DISCOVERY] = fault
    error = error_of(provider)
    assert re.search(message, str(error))
    assert provider.asked == {DISCOVERY: 1}


@pytest.mark.parametrize(
    "fault",
    [
        fake_oidc.status(200, b"<html><body>Welcome</body></html>", Content_Type="text/html"),
        fake_oidc.status(200, b""),
        fake_oidc.status(200, b"[]"),
        fake_oidc.status(200, b'{"issuer":"a","issuer":"b"}'),
        fake_oidc.status(200, b"\xff\xfe"),
    ],
    ids=["HTML", "empty", "list", "repeated", "bytes"],
)
def test_an_answer_that_is_no_document(provider: FakeOidc, fault: Fault) -> None:
    """A captive portal, a proxy, another service."""
    provider.faults[DISCOVERY] = fault
    with client(provider.ca_file) as made:
        answer = made.get(provider.issuer + DISCOVERY)
    with pytest.raises(CheckError, match=r"not the JSON it should be .* is issuer in .oidc. right"):
        answer.document()


def test_an_answer_that_is_cut(provider: FakeOidc) -> None:
    """Half a document is none, whichever half notices."""
    provider.faults[DISCOVERY] = fake_oidc.cut
    with client(provider.ca_file) as made, pytest.raises(CheckError):
        made.get(provider.issuer + DISCOVERY).document()


@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"],
    ids=["status", "header", "in a header", "body"],
)
def test_an_answer_that_drips(provider: FakeOidc, release: threading.Event, start: bytes) -> None:
    """No single wait is long, and yet it comes to an end: that is what is promised, not when."""
    provider.faults[DISCOVERY] = fake_oidc.drip(release, start)
    assert "cannot reach" in str(error_of(provider, timeout=0.4))
    assert not release.is_set()


def test_a_provider_that_says_nothing(provider: FakeOidc, release: threading.Event) -> None:
    """The time-out is the configuration's."""
    provider.faults[DISCOVERY] = fake_oidc.hang(release)
    assert "cannot reach" in str(error_of(provider, timeout=0.3))


def test_after_an_error_all_is_well_again(provider: FakeOidc, release: threading.Event) -> None:
    """What was left half read is not taken for the answer to the next question."""
    with client(provider.ca_file, timeout=0.4) as made:
        for fault in (fake_oidc.drip(release), fake_oidc.status(500, b"x"), fake_oidc.status(302), fake_oidc.cut):
            provider.faults[DISCOVERY] = fault
            with pytest.raises(CheckError):
                made.get(provider.issuer + DISCOVERY).document()
            release.set()
        del provider.faults[DISCOVERY]
        assert made.get(provider.issuer + DISCOVERY).ok


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("17", 17.0),
        ("0", 0.0),
        ("601", 600.0),
        ("-5", 0.0),
        ("soon", 0.0),
        (email.utils.format_datetime(datetime.datetime.fromtimestamp(NOW + 90, datetime.UTC), usegmt=True), 90.0),
        (email.utils.format_datetime(datetime.datetime.fromtimestamp(NOW - 90, datetime.UTC), usegmt=True), 0.0),
        (email.utils.format_datetime(datetime.datetime.fromtimestamp(NOW + 9e6, datetime.UTC), usegmt=True), 600.0),
    ],
    ids=["17", "0", "601", "negative", "text", "date", "past", "far"],
)
def test_retry_after_is_obeyed(provider: FakeOidc, text: str, seconds: float) -> None:
    """Seconds or a date, never more than ten minutes."""
    provider.faults[DISCOVERY] = fake_oidc.status(503, Retry_After=text)
    assert error_of(provider).retry_after == seconds


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (lambda ca: ca.issue("127.0.0.2"), "IP address mismatch|doesn't match"),
        (lambda ca: ca.issue("127.0.0.1", lifetime=datetime.timedelta(days=-1)), "expired"),
        (lambda _: Authority().issue("127.0.0.1"), "not trusted"),
        (lambda _: Authority("Another").issue("127.0.0.1"), "unable to get local issuer"),
    ],
    ids=["wrong host", "expired", "same name, another key", "another authority"],
)
def test_a_bad_certificate(kind: fake_oidc.Issue, message: str) -> None:
    """Nothing is asked of whoever that is."""
    with fake_oidc.fake_oidc(kind) as provider:
        error = str(error_of(provider))
        assert "not trusted" in error
        assert "see ca_file in [oidc]" in error
        assert re.search(message, error)
        assert not provider.asked


def test_other_authorities_do_not_count(provider: FakeOidc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither those that requests brings along, nor those of the environment."""
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(provider.ca_file))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(provider.ca_file))
    other = tmp_path / "other.pem"
    other.write_text(Authority("Another").pem)
    with client(other) as made, pytest.raises(CheckError, match="not trusted"):
        made.get(provider.issuer + DISCOVERY)
    with client(None) as made, pytest.raises(CheckError, match="not trusted"):
        made.get(provider.issuer + DISCOVERY)


def test_the_authorities_of_the_system(provider: FakeOidc, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are what counts where no file is named."""
    monkeypatch.setenv("SSL_CERT_FILE", str(provider.ca_file))  # OpenSSL's own name for them
    with client(None) as made:
        assert made.get(provider.issuer + DISCOVERY).ok


def test_the_environment_does_not_count(provider: FakeOidc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, and no password from a netrc: the client's secret is the one that was given."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login alice password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with client(provider.ca_file) as made:
        made.post(provider.issuer + TOKEN, {}, {})
    assert provider.authorizations == [None]


@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["missing", "empty", "other"])
def test_a_ca_file_that_cannot_be_used(provider: FakeOidc, tmp_path: Path, content: bytes | None) -> None:
    """It is not replaced by the system's authorities."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with client(path) as made, pytest.raises(CheckError, match=r"ca_file of .oidc."):
        made.get(provider.issuer + DISCOVERY)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "file:///etc/passwd", "ftp://127.0.0.1/"])
def test_nothing_but_https(url: str) -> None:
    """Whatever an address is, nothing else is spoken."""
    with client(None) as made, pytest.raises(CheckError, match="No connection adapters"):
        made.get(url)


@pytest.mark.parametrize("url", ["https://", "https://[::1", "nowhere", ""])
def test_an_address_that_is_none(url: str) -> None:
    """It is an error like any other."""
    with client(None) as made, pytest.raises(CheckError, match="cannot reach"):
        made.get(url)


def test_no_provider() -> None:
    """The message says what to look at."""
    with client(None) as made, pytest.raises(CheckError, match=r"see whether it is up.*no proxy is used"):
        made.get("https://127.0.0.1:1/")


def test_a_connection_is_kept_for_the_next_question(provider: FakeOidc, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not for longer than the other end surely keeps it."""
    with client(provider.ca_file) as made:
        made.get(provider.issuer + DISCOVERY)
        made.get(provider.issuer + KEYS)
        assert provider.connections == 1
        monkeypatch.setattr(https, "_IDLE", -1.0)
        made.get(provider.issuer + KEYS)
        assert provider.connections == 2


def test_no_cookie_is_kept(provider: FakeOidc) -> None:
    """What a provider would like to be told again is not."""
    seen: list[str | None] = []

    def cookie(handler: fake_oidc.Handler) -> None:
        seen.append(handler.headers["Cookie"])
        fake_oidc.send(handler, 200, b"{}", Set_Cookie="session=1; Path=/")

    provider.faults[DISCOVERY] = cookie
    with client(provider.ca_file) as made:
        made.get(provider.issuer + DISCOVERY)
        made.get(provider.issuer + DISCOVERY)
    assert seen == [None, None]


def test_each_thread_has_its_own_connection(provider: FakeOidc, release: threading.Event) -> None:
    """One that waits keeps nobody else waiting."""
    provider.faults[KEYS] = fake_oidc.hang(release)
    failed: list[CheckError] = []

    def wait() -> None:
        try:
            made.get(provider.issuer + KEYS)
        except CheckError as err:
            failed.append(err)

    with client(provider.ca_file) as made:
        thread = threading.Thread(target=wait)
        thread.start()
        assert made.get(provider.issuer + DISCOVERY).ok
        assert thread.is_alive()
        release.set()
        thread.join()
    assert len(failed) == 1
