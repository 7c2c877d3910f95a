"""Questions to the identity provider over HTTPS, and whatever may go wrong with their answers. Everything is bounded.

The certificate decides whom we talk to: no redirect is followed, and nothing of the environment counts (proxies,
netrc, certificates). What is asked and what an answer means is device.py's business.
"""

import http.cookiejar
import math
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import requests.adapters
import urllib3.exceptions

from pam_tailscale.check.retry import retry_after
from pam_tailscale.check.strict import parse_object
from pam_tailscale.check.trouble import shown
from pam_tailscale.errors import CheckError

BODY_MAX: Final = 262144
"""Bytes of an answer; a discovery document has some 5 KiB, a key set with certificates 20."""

_IDLE = 2.0  # seconds after which a kept connection may be closed at the other end: a new one is made
_OK, _REDIRECT, _TOO_MANY, _BROKEN = 200, range(300, 400), 429, 500
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "pam-tailscale"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered; its text may hold a token."""

    url: str
    status: int
    text: str = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether it is what was asked for."""
        return self.status == _OK

    def document(self) -> dict[str, Any]:
        """The answer as an object in JSON. Raises CheckError."""
        try:
            return parse_object(self.text)
        except ValueError as err:
            raise CheckError(
                f"the identity provider answered {self.url} with {self.status} and something that is not the JSON it"
                f" should be ({err}): is issuer in [oidc] right?"
            ) from None


class Https:
    """A client for all threads; each has its own connections. Every method raises CheckError.

    Args:
        ca_file: the authority that has signed the provider's certificate; None: those of the system.
        timeout: seconds for connecting, and for one whole answer from its first byte asked to its last.
        wall: Unix time.
    """

    def __init__(self, *, ca_file: Path | None, timeout: float, wall: Callable[[], float] = time.time) -> None:
        self._ca_file = ca_file
        self._timeout = timeout
        self._wall = wall
        self._own = threading.local()
        self._sessions: weakref.WeakSet[_Session] = weakref.WeakSet()

    def get(self, url: str) -> Answer:
        """Ask for a document."""
        answer = self._ask("GET", url, None, {})
        if not answer.ok:
            raise CheckError(
                f"the identity provider answered {url} with {answer.status}: is issuer in [oidc] its address?"
            )
        return answer

    def post(self, url: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """Send a form; the answer may also be one that says no."""
        return self._ask("POST", url, fields, headers)

    def close(self) -> None:
        """Close every connection; the next question opens one again."""
        for session in list(self._sessions):
            session.close()

    def _ask(self, method: str, url: str, fields: Mapping[str, str] | None, headers: Mapping[str, str]) -> Answer:
        session = self._session()
        _ends.at = time.monotonic() + self._timeout
        try:
            with session.request(
                method, url, data=fields, headers=headers, timeout=self._timeout, allow_redirects=False, stream=True
            ) as response:
                self._check_head(response, url)
                body = response.raw.read(BODY_MAX + 1, decode_content=False)
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as err:  # what requests raises is an OSError
            raise _unreachable(url, err) from err
        finally:
            session.used = time.monotonic()
        if len(body) > BODY_MAX:
            session.close()
            raise CheckError(f"the identity provider answered {url} with more than {BODY_MAX >> 10} KiB")
        return Answer(url, response.status_code, body.decode("utf-8", "replace"))

    def _check_head(self, response: requests.Response, url: str) -> None:
        """Raises CheckError for an answer whose body does not matter."""
        code = response.status_code
        if code == _TOO_MANY or code >= _BROKEN:
            raise CheckError(
                f"the identity provider answered {url} with {code}: it is overloaded or out of order, see its own logs",
                retry_after(response.headers.get("Retry-After", ""), self._wall()),
            )
        if code in _REDIRECT:
            target = shown(response.headers.get("Location", ""))
            raise CheckError(
                f"the identity provider sends us from {url} to {target}: give its final address as issuer in [oidc]"
            )
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise CheckError(f"the identity provider answered {url} compressed, although that was not asked for")

    def _session(self) -> "_Session":
        """This thread's session. Raises CheckError."""
        session: _Session | None = getattr(self._own, "session", None)
        if session is None:
            adapter = _Adapter(_context(self._ca_file))
            session = self._own.session = _Session(adapter)
            self._sessions.add(session)
            weakref.finalize(session, adapter.close)  # with its thread
        if time.monotonic() - session.used > _IDLE:
            session.close()
        return session


class _Session(requests.Session):
    """A session to which only its own settings apply."""

    def __init__(self, adapter: "_Adapter") -> None:
        super().__init__()
        self.used = -math.inf
        self.trust_env = False
        self.headers.update(_HEADERS)
        self.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        self.adapters.clear()  # no http://
        self.mount("https://", adapter)

    def get_redirect_target(self, _: object) -> None:
        """Nothing is a redirect; requests would read the whole of one, however long."""


class _Adapter(requests.adapters.HTTPAdapter):
    """Who is trusted is what the context says; requests would add a list of authorities of its own."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_connections=4, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:  # noqa: ARG002 (as in the base)
        conn.cert_reqs = "CERT_REQUIRED"


class _Socket(ssl.SSLSocket):
    """Never waits beyond the end of this thread's question, however the other end drips."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        left = _ends.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not come to its end in time")
        self.settimeout(left)
        return super().recv_into(*args, **kwargs)


class _Context(ssl.SSLContext):
    """The name in the certificate is always checked: urllib3 before 2 leaves it out for an address without a name."""

    sslsocket_class = _Socket

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        kwargs["server_hostname"] = kwargs.get("server_hostname") or sock.getpeername()[0]
        return super().wrap_socket(sock, *args, **kwargs)


_ends = threading.local()
"""`at`: monotonic time at which the question of this thread is over."""


def _context(ca_file: Path | None) -> _Context:
    """Raises CheckError."""
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(ca_file)
    except OSError as err:
        raise CheckError(f"ca_file of [oidc], {ca_file}, holds no certificate that can be read: {err}") from err
    return context


def _unreachable(url: str, err: Exception) -> CheckError:
    causes: list[BaseException] = [err]
    while (cause := causes[-1].__context__) is not None:
        causes.append(cause)
    if certificate := next((one for one in causes if isinstance(one, ssl.SSLCertVerificationError)), None):
        return CheckError(
            f"the certificate of the identity provider at {urlsplit(url).netloc} is not trusted"
            f" ({certificate.verify_message}): see ca_file in [oidc], and whether this is the provider"
        )
    return CheckError(
        f"cannot reach the identity provider at {url} ({type(err).__name__}: {shown(str(err))}): "
        "see whether it is up, and whether this host may connect to it directly (no proxy is used)"
    )
