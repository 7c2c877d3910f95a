"""Times the verification of tokens, inside a sandbox with Debian's own libraries.

Standard output: {"ALGORITHM": {"first": [milliseconds, ...], "again": [milliseconds, ...]}, ...}.
"""

import json
import sys
import time
from collections.abc import Callable

from pam_tailscale.check import keyset
from pam_tailscale.check.judge import Bounds, Judge
from pam_tailscale.config import OidcConfig
from pam_tailscale.secret import Secret
from tests.support.tokens import CLIENT, ISSUER, SigningKey, claims, ec_key, ed_key, key_set, rsa_key, sign

TOKENS = 200
ALICE = "alice@example.com"


def main() -> None:
    """Every algorithm that is allowed if the administrator says nothing, each token twice."""
    signers = [
        SigningKey("rsa", "RS256", rsa_key(1)),
        SigningKey("pss", "PS256", rsa_key(2)),
        SigningKey("ec", "ES256", ec_key()),
        SigningKey("ed", "EdDSA", ed_key()),
    ]
    if {signer.algorithm for signer in signers} != set(OidcConfig().algorithms):
        sys.exit("not the algorithms that are allowed: add what is missing")
    json.dump({signer.algorithm: measured(signer) for signer in signers}, sys.stdout)


def measured(signer: SigningKey) -> dict[str, list[float]]:
    """Milliseconds of each token the first time, and of each again."""
    now = int(time.time())
    tokens = [Secret(sign(signer, claims(now, jti=str(number)))) for number in range(TOKENS)]
    judge = Judge(OidcConfig(issuer=ISSUER, client_id=CLIENT, domains=("example.com",)))
    keys = keyset.parse(key_set(signer))

    def verify(token: Secret) -> None:
        found = judge.judged(judge.claims(token, keys), ALICE, now, Bounds(now - 3600, 0.0))
        if found != now - 60:
            sys.exit(f"a token does not count: {found}")

    return {"first": [took(verify, token) for token in tokens], "again": [took(verify, token) for token in tokens]}


def took(verify: Callable[[Secret], None], token: Secret) -> float:
    """Milliseconds of one."""
    began = time.perf_counter()
    verify(token)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
