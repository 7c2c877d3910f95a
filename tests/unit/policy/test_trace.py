"""What became of a rule, in words."""

import pytest

from pam_tailscale.policy.evaluate import Mismatch
from pam_tailscale.policy.rules import parse_rule
from pam_tailscale.policy.trace import action_word, document
from tests.support.facts import ACCEPT, CHECK, REJECT, rule


@pytest.mark.parametrize("mismatch", list(Mismatch))
def test_every_outcome_has_its_words(mismatch: Mismatch) -> None:
    """An expired rule says when."""
    found = document("file", parse_rule(rule({"*": "="}) | {"ruleExpires": "2027-01-15T08:00:00Z"}, 3), mismatch)
    assert (found["source"], found["rule"], found["outcome"]) == ("file", 3, mismatch.value)
    assert found["why"]
    assert ("2027-01-15T08:00:00" in found["why"]) is (mismatch is Mismatch.EXPIRED)


@pytest.mark.parametrize(
    ("action", "word"),
    [
        (None, "none"),
        ({}, "malformed"),
        (ACCEPT, "accept"),
        (REJECT, "reject"),
        (CHECK, "check"),
        (ACCEPT | REJECT, "reject"),
        (ACCEPT | CHECK, "check"),
        (REJECT | CHECK, "reject"),
    ],
)
def test_action_words(action: object, word: str) -> None:
    """As the decision takes them."""
    assert action_word(parse_rule(rule({}, action), 1)) == word


def test_what_a_rule_withholds_is_named() -> None:
    """Of those that let in; a rejecting rule withholds everything."""
    for action, count in ((ACCEPT, 0), ({"accept": True}, 3), (CHECK, 0), (REJECT, 0), (None, 0)):
        found = document("file", parse_rule(rule({}, action), 1), Mismatch.MATCHED)
        assert len(found["withheld"]) == count
        assert found["not_enforced"] == []
