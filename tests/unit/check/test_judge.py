"""What a token is worth: all rules are asked, and only the signature is remembered."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pam_tailscale.check import idtoken, judge, keyset
from pam_tailscale.check.evidence import TOKEN_MAX
from pam_tailscale.check.idtoken import Claims, Flaw, Flawed
from pam_tailscale.check.judge import Bounds, Judge
from pam_tailscale.check.keyset import KeySet
from pam_tailscale.config import WithoutAuthTime
from pam_tailscale.secret import Secret
from tests.support.facts import NOW
from tests.support.oidc_hosts import ALICE, BOB, SETTINGS, SIGNER, token
from tests.support.tokens import SigningKey, ec_key, key_set

KEYS = keyset.parse(key_set(SIGNER))
ANY = Bounds(oldest=0.0, not_before=0.0)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[Secret]:
    """The tokens whose signature was verified."""
    seen: list[Secret] = []
    signed: Callable[..., Claims | Flawed] = idtoken.signed

    def watched(token: Secret, *more: Any) -> Claims | Flawed:
        seen.append(token)
        return signed(token, *more)

    monkeypatch.setattr(idtoken, "signed", watched)
    return seen


def outcome(found: float | Flawed) -> float | Flaw:
    """The time, or the flaw."""
    return found.flaw if isinstance(found, Flawed) else found


def test_a_signature_is_verified_once(verified: list[Secret]) -> None:
    """Per token, good or bad, and per key set."""
    asked = Judge(SETTINGS)
    for text in (token(), token()[:-4] + "AAAA"):
        first = asked.claims(Secret(text), KEYS)
        assert asked.claims(Secret(text), KEYS) is first
    assert len(verified) == 2
    assert isinstance(asked.claims(Secret(token()), KEYS), Claims)


def test_a_key_that_is_no_longer_published_verifies_nothing_more() -> None:
    """What was remembered under other keys is not evidence under these."""
    asked, text = Judge(SETTINGS), Secret(token())
    other = keyset.parse(key_set(SigningKey("key-1", "ES256", ec_key(number=2))))
    assert isinstance(asked.claims(text, KEYS), Claims)
    for keys, flaw in ((other, Flaw.SIGNATURE), (KeySet(), Flaw.KEY_UNKNOWN)):
        found = asked.claims(text, keys)
        assert isinstance(found, Flawed)
        assert found.flaw is flaw


def test_what_is_remembered_is_bounded(verified: list[Secret], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those used last stay."""
    monkeypatch.setattr(judge, "REMEMBERED_MAX", 2)
    asked = Judge(SETTINGS)
    for name in ("a", "b", "a", "c", "a", "b"):
        asked.claims(Secret(name), KEYS)
    assert [one.reveal() for one in verified] == ["a", "b", "c", "b"]


@pytest.mark.parametrize("text", ["x" * (TOKEN_MAX + 1), "\xe9", "\udc80"], ids=["long", "not ASCII", "surrogate"])
def test_what_cannot_be_a_token_is_not_remembered(verified: list[Secret], text: str) -> None:
    """It costs nothing to find out again."""
    asked = Judge(SETTINGS)
    for _ in range(2):
        found = asked.claims(Secret(text), KEYS)
        assert isinstance(found, Flawed)
        assert found.flaw is Flaw.MALFORMED
    assert len(verified) == 2


@pytest.mark.parametrize(
    ("changed", "person", "bounds", "taking", "expected"),
    [
        ({}, ALICE, ANY, True, NOW - 60),
        ({"iss": "https://evil.example"}, ALICE, ANY, False, Flaw.ISSUER),
        ({"iat": NOW + 61}, ALICE, ANY, False, Flaw.FUTURE),
        ({"exp": NOW - 61}, ALICE, ANY, True, Flaw.EXPIRED),
        ({"exp": NOW - 61}, ALICE, ANY, False, NOW - 60),
        ({}, BOB, ANY, False, Flaw.PERSON),
        ({"email_verified": False}, ALICE, ANY, False, Flaw.PERSON),
        ({"auth_time": None}, ALICE, ANY, False, Flaw.NO_AUTH_TIME),
        ({}, ALICE, Bounds(NOW - 59, 0.0), False, Flaw.TOO_OLD),
        ({}, ALICE, Bounds(0.0, NOW - 59), False, Flaw.FORGOTTEN),
        ({}, ALICE, Bounds(NOW - 60, NOW - 60), False, NOW - 60),
    ],
    ids=range(11),
)
def test_every_rule_is_asked(
    changed: dict[str, Any],
    person: str,
    bounds: Bounds,
    taking: bool,  # noqa: FBT001
    expected: float | Flaw,
) -> None:
    """Each of them alone ends it."""
    asked = Judge(SETTINGS)
    claims = asked.claims(Secret(token(**changed)), KEYS)
    assert outcome(asked.judged(claims, person, NOW, bounds, taking=taking)) == expected


def test_the_issue_time_counts_where_the_administrator_says_so() -> None:
    """In those words."""
    asked = Judge(replace(SETTINGS, without_auth_time=WithoutAuthTime.TRUST_ISSUE_TIME))
    claims = asked.claims(Secret(token(auth_time=None)), KEYS)
    assert outcome(asked.judged(claims, ALICE, NOW, ANY)) == NOW - 10


@pytest.mark.parametrize(
    ("subjects", "person", "right"),
    [
        ({ALICE: "subject-alice"}, ALICE, True),
        ({"Alice@Example.COM": "subject-alice"}, ALICE, True),
        ({"Alice@Example.COM": "subject-bob"}, ALICE, False),
        ({ALICE: "subject-alice", "Alice@example.com": "subject-alice"}, ALICE, True),
        ({ALICE: "subject-alice", "Alice@example.com": "subject-bob"}, ALICE, False),
        ({"Alice@example.com": "subject-bob", ALICE: "subject-alice"}, ALICE, False),
        ({ALICE: ""}, ALICE, False),
        ({BOB: "subject-alice"}, ALICE, True),
    ],
    ids=["mapped", "upper case", "another", "twice", "contradicted", "contradicted too", "empty", "by e-mail"],
)
def test_mapped_subjects(subjects: dict[str, str], person: str, right: bool) -> None:  # noqa: FBT001
    """A login that stands there in whatever case is never known by e-mail; contradictions make it nobody's."""
    asked = Judge(replace(SETTINGS, subjects=subjects))
    found = asked.judged(asked.claims(Secret(token()), KEYS), person, NOW, ANY)
    assert isinstance(found, Flawed) is not right
    assert asked.unvouched(person) == ""
