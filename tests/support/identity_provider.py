"""A real OpenID provider of the tests: oidc-provider, in a sandbox's network, with people, clients and disturbances.

The program is tests/lab/provider; a client finds everything else by discovery at `issuer`.
"""

import functools
import json
import os
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.support import namespaces
from tests.support.certificates import Certificate
from tests.support.roots import CACHE, PROJECT
from tests.support.sandbox import Sandbox

Endpoint = Literal["discovery", "jwks", "device_authorization", "token", "userinfo"]
Reauthentication = Literal["stock", "full", "ignored"]

_PROGRAM = PROJECT / "tests/lab/provider/provider.mjs"
_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True, slots=True)
class Account:
    """A person whom the provider knows."""

    login: str
    """What they type to sign in."""
    password: str = field(repr=False)
    sub: str
    email: str | None
    email_verified: bool = True
    name: str = "Alice"

    @property
    def claims(self) -> dict[str, Any]:
        """What the provider says of them, to whom asks for `openid email profile`."""
        email = {} if self.email is None else {"email": self.email, "email_verified": self.email_verified}
        return {"sub": self.sub, "name": self.name, "preferred_username": self.login, **email}


ALICE = Account("alice", "alice-password", "1001", "alice@example.com")
BOB = Account("bob", "bob-password", "1002", "bob@example.com", name="Bob")
MALLORY = Account("mallory", "mallory-password", "1003", "mallory@example.com")
"""Calls herself Alice."""
IMPOSTOR = Account("impostor", "impostor-password", "1004", "alice@example.com", email_verified=False)
"""Has written alice's address into her own profile."""
ELSEWHERE = Account("elsewhere", "elsewhere-password", "1005", "alice@example.org")
"""An alice of another domain."""
CAPITAL = Account("capital", "capital-password", "1006", "Alice@Example.COM")
LOOKALIKE = Account("lookalike", "lookalike-password", "1007", "\u0430lice@example.com")
"""The first letter is Cyrillic."""
NAMELESS = Account("nameless", "nameless-password", "1008", None)
ACCOUNTS = (ALICE, BOB, MALLORY, IMPOSTOR, ELSEWHERE, CAPITAL, LOOKALIKE, NAMELESS)


@dataclass(frozen=True, slots=True)
class Client:
    """A program that the provider knows; without a secret it is public."""

    client_id: str
    secret: str | None = field(default=None, repr=False)
    algorithm: Literal["RS256", "ES256"] = "RS256"
    redirect_uris: tuple[str, ...] = ()
    """Where the code flow may lead; empty: the client uses the device flow."""

    @property
    def metadata(self) -> dict[str, Any]:
        """As OpenID Connect Dynamic Client Registration names it."""
        method = "none" if self.secret is None else "client_secret_basic"
        common = {
            "client_id": self.client_id,
            "token_endpoint_auth_method": method,
            "id_token_signed_response_alg": self.algorithm,
            "require_auth_time": True,
            "grant_types": ["authorization_code"] if self.redirect_uris else [_DEVICE_CODE],
            "response_types": ["code"] if self.redirect_uris else [],
            "redirect_uris": list(self.redirect_uris),
        }
        return common if self.secret is None else {**common, "client_secret": self.secret}


PUBLIC = Client("pam-tailscale")
ELLIPTIC = Client("pam-tailscale-es256", algorithm="ES256")
CONFIDENTIAL = Client("pam-tailscale-confidential", "a secret of the tests, 32 bytes or more")


def headscale_client(server_url: str) -> Client:
    """What a headscale at this URL is to the provider."""
    return Client("headscale", "another secret of the tests, also long", redirect_uris=(f"{server_url}/oidc/callback",))


@functools.cache
def _modules() -> Path:
    command = [str(PROJECT / "tests/lab/build-provider"), str(CACHE)]
    return Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


class IdentityProvider:
    """A provider at `https://ADDRESS:PORT` of a sandbox, in whose network it runs, with this machine's files.

    Use as a context manager, inside that of the sandbox. It ends with the sandbox at the latest, however that ends.
    """

    def __init__(
        self, box: Sandbox, address: str, certificate: Certificate, *clients: Client, port: int = 9443
    ) -> None:
        self.issuer = f"https://{address}:{port}"
        self.certificate = certificate
        self._box = box
        self._clients = (PUBLIC, ELLIPTIC, CONFIDENTIAL, *clients)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._log = os.memfd_create("provider", os.MFD_CLOEXEC)
        try:
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self.stop()
        os.close(self._log)

    def start(self) -> None:
        """Starts it, with new keys and knowing of nobody's session. Raises RuntimeError with what it said."""
        argv = ["node", str(_PROGRAM), str(_modules())]
        kinds = namespaces.CLONE_NEWNET | namespaces.CLONE_NEWPID
        self._process = self._box.inside(
            lambda: subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, cwd="/"),
            kinds,
        )
        self._do(
            "start",
            issuer=self.issuer,
            certificate=self.certificate.certificate,
            privateKey=self.certificate.private_key,
            accounts={one.login: {"sub": one.sub, "password": one.password, "claims": one.claims} for one in ACCOUNTS},
            clients=[client.metadata for client in self._clients],
        )

    def stop(self) -> None:
        """Ends it and forgets what it remembered; it can be started again. Safe to call twice."""
        if self._process is None:
            return
        process, self._process = self._process, None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        process.kill()
        process.wait()

    def _do(self, name: str, **arguments: Any) -> Any:
        process = self._process
        assert process is not None, "the provider is not running"
        assert process.stdin is not None
        assert process.stdout is not None
        with self._lock:
            process.stdin.write(json.dumps({"do": name, "with": arguments}).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        answer = json.loads(line) if line else {"error": "it has ended"}
        if "error" in answer:
            raise RuntimeError(f"the provider does not {name}: {answer['error']}\n{self.log()}")
        return answer["answer"]

    def log(self) -> str:
        """What it wrote to its standard error so far."""
        return os.pread(self._log, os.fstat(self._log).st_size, 0).decode(errors="replace")

    def lifetimes(self, *, device_code: int = 600, id_token: int = 3600) -> None:
        """How long what it issues from now on is good for, in seconds."""
        self._do("settings", deviceLifetime=device_code, idTokenLifetime=id_token)

    def polling(self, *, interval: int | None = 1, enforced: bool = True) -> None:
        """Seconds between two polls (None: it names none), and whether sooner ones are answered with slow_down."""
        self._do("settings", interval=interval, enforceInterval=enforced)

    def reauthentication(self, which: Reauthentication) -> None:
        """Which wishes to sign in again count in the device flow.

        stock: max_age from 1 up, as with oidc-provider by itself. full: prompt=login and max_age=0 too. ignored: none.
        """
        self._do("settings", reauthentication=which)

    def alter_tokens(self, claims: Mapping[str, Any] | None = None, header: Mapping[str, Any] | None = None) -> None:
        """Replaces claims and header fields of ID tokens from now on; None as a value leaves one out.

        They are signed anew with the published key that fits `alg`; where none does, the signature is empty.
        """
        self._do("settings", tokenClaims=dict(claims or {}), tokenHeader=dict(header or {}))

    def rotate_keys(self, *, keep_old: bool) -> list[str]:
        """Signs with new keys from now on; the old ones stay published or not. Answers the published ones' `kid`s."""
        kids: list[str] = self._do("rotate", keepOld=keep_old)
        return kids

    def present(self, certificate: Certificate) -> None:
        """Shows another certificate on new connections."""
        self._do("certificate", certificate=certificate.certificate, privateKey=certificate.private_key)

    def disturb(
        self,
        endpoint: Endpoint,
        *,
        delay: float = 0,
        status: int = 0,
        body: Mapping[str, Any] | str = "",
        headers: Mapping[str, str] | None = None,
        times: int = 0,
    ) -> None:
        """Spoils the next `times` requests to an endpoint (0: all), after what was asked for before.

        Waits for `delay` seconds; with a `status`, answers it with `body` in the provider's place.
        """
        how = {"delay": delay * 1000, "status": status, "headers": dict(headers or {}), "body": body, "times": times}
        self._do("disturb", endpoint=endpoint, **how)

    def restore(self) -> None:
        """Back to how it began: its own certificate, no disturbance, no setting changed. Keys and sessions stay."""
        self._do("restore")
        self.present(self.certificate)

    def requests(self, endpoint: Endpoint) -> list[dict[str, Any]]:
        """The requests to an endpoint since the start: at (Unix time), parameters, status, error; no client secret."""
        return [request for request in self._do("requests") if request["endpoint"] == endpoint]

    def headscale_settings(self) -> str:
        """The part of headscale's configuration that makes this its provider, which knows a `headscale_client`."""
        client = next(client for client in self._clients if client.client_id == "headscale")
        settings = {
            "only_start_if_oidc_is_available": True,
            "issuer": self.issuer,
            "client_id": client.client_id,
            "client_secret": client.secret,
            "scope": ["openid", "profile", "email"],
            "pkce": {"enabled": True, "method": "S256"},
        }
        return f"oidc: {json.dumps(settings)}\n"
