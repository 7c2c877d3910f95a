"""The sources of policy for one login: their order, whom each knows, and that none is passed over."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pam_tailscale.agent.sources import Sources, SourceState, read_policy
from pam_tailscale.config import Config, Source
from pam_tailscale.errors import PolicyFileError
from pam_tailscale.model import Decision, Reason, Verdict
from pam_tailscale.policy.decision import decide
from pam_tailscale.policy.facts import Knowledge, Problem
from pam_tailscale.policy.roster import Node
from pam_tailscale.tailnet.records import Whois
from tests.support.facts import LIMITS, NOW, PEER, REJECT, SERVER, facts, knowledge, request, rule

CAPABILITY = "acme.example/cap/ssh"
OWN = Node("server.tailnet.example", (SERVER,), ("tag:server",), "", "n1CNTRL")
N, G, F = Source.NETMAP, Source.GRANTS, Source.FILE
ACCEPT = {"action": "accept", "users": ["alice"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The policy file; there is none yet."""
    return tmp_path / "tailnet-policy.hujson"


def write(path: Path, *entries: dict[str, Any], text: str = "") -> None:
    """Write the policy file, as it was long ago."""
    policy = {"tagOwners": {"tag:server": []}, "ssh": list(entries)}
    path.write_text(text or json.dumps(policy))
    path.chmod(0o644)
    os.utime(path, (NOW - 1e8, NOW - 1e8))


def entry(src: str = "alice@example.com", **more: Any) -> dict[str, Any]:
    """One that lets alice in."""
    return {**ACCEPT, "src": [src], "dst": ["tag:server"], **more}


def sources(path: Path, *order: Source) -> Sources:
    """Configured in this order."""
    return Sources(lambda: Config(sources=order, capability=CAPABILITY), path)


def whois(*grants: Any, **changes: Any) -> Whois:
    """Alice's laptop, which is granted this."""
    return Whois(PEER, {CAPABILITY: list(grants)} if grants else {}, **changes)


def decided(made: Sources, found: Whois, *rules: object, **changes: Any) -> Decision:
    """What becomes of alice's login; `rules` are the netmap's, none unless given."""
    rules_of = rules or (rule({"nobody": "nobody"}),)
    known = made.apply(knowledge(*rules_of, own=OWN, **changes), found)
    return decide(request(), facts(known, peer=found.peer, shared=found.shared), LIMITS, NOW, "id")


def test_the_netmap_alone_is_as_it_was_read(path: Path) -> None:
    """The very object: nothing is made anew at each login."""
    known = knowledge()
    assert sources(path, N).apply(known, whois(ACCEPT)) is known


@pytest.mark.parametrize("source", [N, G, F])
def test_each_source_lets_in_and_is_named(path: Path, source: Source) -> None:
    """In the decision, from where it goes to the journal; the others say nothing."""
    write(path, *([entry()] if source is F else []))
    rules = [rule({"alice": "alice"})] if source is N else []
    found = decided(sources(path, N, G, F), whois(*([ACCEPT] if source is G else [])), *rules)
    assert (found.verdict, found.source, found.rule) == (Verdict.ALLOW, source.value, 1)


@pytest.mark.parametrize(("order", "first"), [((N, G, F), N), ((G, N, F), G), ((F, G, N), F), ((G, F), G), ((F,), F)])
def test_the_first_match_wins_over_all(path: Path, order: tuple[Source, ...], first: Source) -> None:
    """In the configured order; what is not configured is not asked."""
    write(path, entry())
    found = decided(sources(path, *order), whois(ACCEPT), rule({"alice": "alice"}))
    assert (found.allowed, found.source) == (True, first.value)


def test_a_rule_that_rejects_ends_it(path: Path) -> None:
    """A later source does not mend it."""
    found = decided(sources(path, N, G), whois(ACCEPT), rule({}, REJECT))
    assert (found.reason, found.source) == (Reason.RULE_REJECTS, "netmap")


def test_what_is_not_configured_does_not_count(path: Path) -> None:
    """Neither the netmap's rules nor a grant nor the file."""
    write(path, entry())
    assert decided(sources(path, G), whois(), rule({"alice": "alice"})).reason is Reason.NO_RULE
    assert decided(sources(path, F), whois(ACCEPT, shared=True)).reason is Reason.NO_RULE


@pytest.mark.parametrize("order", [(N, G), (G, N), (G,)])
def test_a_grant_that_is_not_understood_refuses_its_peer(path: Path, order: tuple[Source, ...]) -> None:
    """Also where an earlier source lets in: it cannot be told what the grant was to withhold. Others are as before."""
    made, netmap = sources(path, *order), rule({"alice": "alice"})
    found = decided(made, whois({**ACCEPT, "sessionDuration": "1h"}), netmap)
    assert found.reason is Reason.POLICY_SHAPE
    assert 'rule 1, sessionDuration: unknown field "sessionDuration"' in found.detail
    assert decided(made, whois(ACCEPT), netmap).allowed


DAMAGE: dict[str, str | None] = {"missing": None, "damaged": "{", "not valid": '{"ssh": [{"action": "accept"}]}'}


@pytest.mark.parametrize("text", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("order", [(N, F), (F, N), (F,)])
def test_a_file_that_cannot_be_had_is_a_no(path: Path, order: tuple[Source, ...], text: str | None) -> None:
    """Never passed over, wherever it stands."""
    if text is not None:
        write(path, text=text)
    found = decided(sources(path, *order), whois(), rule({"alice": "alice"}))
    assert found.reason is Reason.POLICY_UNAVAILABLE
    assert str(path) in found.detail


def test_a_file_that_is_damaged_later_stays_in_force(path: Path) -> None:
    """As the configuration does; one that is taken away does not."""
    write(path, entry())
    made = sources(path, F)
    assert decided(made, whois()).allowed
    write(path, text='{"ssh": [')
    os.utime(path, (1, 1))
    assert decided(made, whois()).allowed
    (state,) = made.states(knowledge(), 0.0)
    assert "the one before is in force" in state.warnings[0]
    assert state.problem == ""
    path.unlink()
    assert decided(made, whois()).reason is Reason.POLICY_UNAVAILABLE


def test_a_change_of_the_file_counts_at_the_next_login(path: Path) -> None:
    """Nobody has to reload."""
    write(path, entry())
    made = sources(path, F)
    assert decided(made, whois()).allowed
    write(path, entry("bob@example.com"))
    os.utime(path, (2, 2))
    assert decided(made, whois()).reason is Reason.NO_RULE


def test_a_reload_reads_the_file_where_it_is_a_source(path: Path) -> None:
    """And else does not complain of one that is of no use."""
    write(path, text="{")
    for order, problem in (((N,), False), ((N, F), True)):
        made = sources(path, *order)
        made.reread()
        assert any(state.problem for state in made.states(knowledge(), 0.0)) is problem


def test_a_host_that_does_not_know_itself(path: Path) -> None:
    """Cannot tell what the file says of it."""
    write(path, entry())
    known = sources(path, F).apply(knowledge(own=None), whois())
    assert known.policy_problem is not None
    assert known.policy_problem.reason is Reason.POLICY_UNAVAILABLE
    assert known.policies == ()


def test_without_the_netmap_there_is_no_answer(path: Path) -> None:
    """Only it tells whether tailscaled works from its disk, whatever the sources are."""
    write(path, entry())
    unread = Problem(Reason.POLICY_UNAVAILABLE, "not read")
    for order in ((N, F), (F,), (G,)):
        assert decided(sources(path, *order), whois(ACCEPT), policies=(), policy_problem=unread).detail == "not read"
        assert decided(sources(path, *order), whois(ACCEPT), cached=True).reason is Reason.NETMAP_CACHED


def test_a_peer_of_another_tailnet(path: Path) -> None:
    """Is no member for the file; what is granted to it is the control plane's word."""
    write(path, entry(), entry("autogroup:member"))
    assert decided(sources(path, F), whois(shared=True)).reason is Reason.NO_RULE
    assert decided(sources(path, G), whois(ACCEPT, shared=True)).allowed


def test_checks_of_a_file_are_not_the_control_planes(path: Path) -> None:
    """Which knows neither the entry nor its period."""
    write(path, entry(action="check", checkPeriod="1h"))
    assert decided(sources(path, F), whois()).reason is Reason.ATTRIBUTE_NOT_ENFORCED


def test_the_states_of_all(path: Path) -> None:
    """In their order, with what status tells."""
    write(path, entry(), entry("autogroup:admin"))
    states = sources(path, G, F, N).states(knowledge(), 7.0)
    assert states[0] == SourceState("grants", None, None, CAPABILITY)
    assert states[2] == SourceState("netmap", 1, 7.0)
    file = states[1]
    assert (file.name, file.rules, file.place, file.problem) == ("file", 2, str(path), "")
    assert file.age is not None
    assert file.age < 60
    (warning,) = file.warnings
    assert "(entries 2)" in warning


def test_states_while_nothing_is_read(path: Path) -> None:
    """The netmap has no rules yet, the file says why it has none."""
    states = sources(path, N, F).states(knowledge(policies=()), 0.0)
    assert [(state.name, bool(state.problem)) for state in states] == [("file", True)]


def test_any_domain_may_be_named() -> None:
    """The tailnet's name tells one of its domains, and it may have more."""
    made = read_policy(json.dumps({"ssh": [entry("user:*@example.org", dst=["autogroup:member"])]}).encode(), "policy")
    assert len(made.policy.ssh) == 1
    with pytest.raises(PolicyFileError, match="tag not found"):
        read_policy(json.dumps({"ssh": [entry(dst=["tag:x"])]}).encode(), "policy")


def test_the_knowledge_is_never_widened(path: Path) -> None:
    """All but the policies stays as it was."""
    write(path, entry())
    known: Knowledge = knowledge(own=OWN)
    applied = sources(path, N, G, F).apply(known, whois(ACCEPT))
    assert [one.source for one in applied.policies] == ["netmap", "grants", "file"]
    assert {name for name in known.__dataclass_fields__ if getattr(known, name) != getattr(applied, name)} == {
        "policies"
    }


def test_a_file_with_a_group_that_no_host_understands_is_refused() -> None:
    """Where a check is for the group, whoever is in it would be let in without one."""
    entry = {"action": "check", "src": ["group:x"], "dst": ["tag:server"], "users": ["root"]}
    policy = {"tagOwners": {"tag:server": []}, "groups": {"group:x": ["autogroup:admin"]}, "ssh": [entry]}
    with pytest.raises(PolicyFileError, match="login names"):
        read_policy(json.dumps(policy).encode(), "tailnet-policy.hujson")
    assert read_policy(json.dumps(policy | {"ssh": []}).encode(), "tailnet-policy.hujson").policy.ssh == ()


@pytest.mark.parametrize(
    "demands", [{"srcPosture": ["posture:x"]}, {"recorder": ["tag:rec"]}, {"enforceRecorder": True}]
)
def test_a_file_that_demands_what_a_host_cannot_enforce_is_refused(demands: dict[str, Any]) -> None:
    """Read past, it would let in without."""
    entry = {"action": "accept", "src": ["alice@example.com"], "dst": ["tag:server"], "users": ["alice"]} | demands
    policy = {"tagOwners": {"tag:server": [], "tag:rec": []}, "ssh": [entry]}
    with pytest.raises(PolicyFileError, match="leave the entry to the control plane"):
        read_policy(json.dumps(policy).encode(), "tailnet-policy.hujson")
