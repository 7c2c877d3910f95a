"""What the control plane refuses beside a file's form, each with its place."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy.document import read
from pam_tailscale.policy.selectors import ROLES
from pam_tailscale.policy.validate import unenforceable, validate
from tests.support.tailnets import ALICE, BOB, CAROL

DOMAINS = frozenset({"example.com"})
SECTIONS: dict[str, Any] = {
    "tagOwners": {"tag:web": [], "tag:db": [ALICE]},
    "groups": {"group:ops": [ALICE, BOB], "group:empty": []},
    "hosts": {"srv": "100.64.0.5", "srv6": "fd7a::5", "one": "100.64.0.5/32", "net": "100.64.0.0/24", "odd": "x"},
}


def check(sections: Mapping[str, Any], domains: frozenset[str] | None = DOMAINS) -> None:
    """Validate a policy, a line for each of its lists' items."""
    text = json.dumps(dict(sections) | SECTIONS, indent=0)
    validate(read(text.encode(), "policy"), domains)


def entry(**fields: Any) -> dict[str, Any]:
    """A policy of one entry that is valid, but for what a test changes."""
    return {"ssh": [{"action": "accept", "src": [ALICE], "dst": ["tag:web"], "users": ["deploy"]} | fields]}


def ssh_test(*destinations: str) -> dict[str, Any]:
    """A policy of one test."""
    return {"sshTests": [{"src": ALICE, "dst": list(destinations), "accept": ["root"]}]}


def refusal(sections: Mapping[str, Any], domains: frozenset[str] | None = DOMAINS) -> PolicyFileError:
    """Why a policy is refused."""
    with pytest.raises(PolicyFileError) as caught:
        check(sections, domains)
    return caught.value


FOREIGN = "is not associated with this Tailnet and cannot be used in user:*@<domain> expressions"


@pytest.mark.parametrize(
    "source",
    [
        ALICE,
        "nobody@example.net",
        "user:*@example.com",
        "group:ops",
        "group:empty",
        "tag:web",
        "autogroup:member",
        "autogroup:members",
        "autogroup:tagged",
        *ROLES,
    ],
)
def test_sources(source: str) -> None:
    """People, whether they are in the tailnet or not, groups, tags and autogroups of people."""
    check(entry(src=[source]))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("*", 'invalid src "*"'),
        ("", 'invalid src ""'),
        ("srv", 'invalid src "srv"'),
        ("100.64.0.1", 'invalid src "100.64.0.1"'),
        ("autogroup:internet", 'invalid src "autogroup:internet"'),
        ("autogroup:nonroot", 'invalid src "autogroup:nonroot"'),
        ("autogroup:", 'invalid src "autogroup:"'),
        ("autogroup:danger-all", 'invalid src "autogroup:danger-all"'),
        ("autogroup:self", '"autogroup:self" not valid on the src side of a rule'),
        ("tag:none", 'src=tag not found: "tag:none"'),
        ("tag:Web", 'src=tag not found: "tag:Web"'),
        ("group:none", 'src=group not found: "group:none"'),
        ("user:*@example.org", f"[ssh] example.org {FOREIGN}"),
        ("user:*@EXAMPLE.COM", f"[ssh] EXAMPLE.COM {FOREIGN}"),
    ],
)
def test_sources_that_are_refused(source: str, message: str) -> None:
    """The place is the source's own."""
    err = refusal(entry(src=[ALICE, source]))
    assert (err.message, err.line, err.column) == (message, 7, 1)


@pytest.mark.parametrize(
    "destination", ["tag:web", "autogroup:self", "autogroup:member", "autogroup:members", "autogroup:tagged", ALICE]
)
def test_destinations(destination: str) -> None:
    """Tags, autogroups, and one's own devices."""
    check(entry(dst=[destination]))


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        ("*", 'invalid dst "*"'),
        ("", 'invalid dst ""'),
        ("srv", 'invalid dst "srv"'),
        ("100.64.0.5", 'invalid dst "100.64.0.5"'),
        ("group:ops", 'invalid dst "group:ops"'),
        ("user:*@example.com", 'invalid dst "user:*@example.com"'),
        ("autogroup:internet", 'invalid dst "autogroup:internet"'),
        ("autogroup:admin", 'invalid dst "autogroup:admin"'),
        ("autogroup:nonroot", 'invalid dst "autogroup:nonroot"'),
        ("tag:none", 'dst="tag:none": tag not found: "tag:none"'),
        ("tag:web:22", 'dst="tag:web:22": tag not found: "tag:web:22"'),
    ],
)
def test_destinations_that_are_refused(destination: str, message: str) -> None:
    """The place is the destination's own."""
    err = refusal(entry(dst=["tag:db", destination]))
    assert (err.message, err.line, err.column) == (message, 10, 1)


@pytest.mark.parametrize(
    ("sources", "destination", "message"),
    [
        (["tag:db"], "autogroup:self", '"tag:db" as src cannot have people\'s devices as dst'),
        (["tag:db"], "autogroup:member", '"tag:db" as src cannot have people\'s devices as dst'),
        (["tag:db"], ALICE, "users in dst are only allowed from the same user"),
        (["autogroup:tagged"], "autogroup:self", '"autogroup:tagged" as src cannot have people\'s devices as dst'),
        ([ALICE, "tag:db"], "autogroup:self", '"tag:db" as src cannot have people\'s devices as dst'),
        ([BOB], ALICE, "users in dst are only allowed from the same user"),
        ([ALICE, BOB], ALICE, "users in dst are only allowed from the same user"),
        (["group:ops"], ALICE, "users in dst are only allowed from the same user"),
        (["autogroup:member"], ALICE, "users in dst are only allowed from the same user"),
    ],
)
def test_devices_of_people_are_for_these_people(sources: list[str], destination: str, message: str) -> None:
    """The place is the list of destinations."""
    err = refusal(entry(src=sources, dst=["tag:web", destination]))
    assert (err.message, err.line) == (message, 5 + len(sources) + 2)


@pytest.mark.parametrize(
    ("sources", "destinations"),
    [
        ([ALICE], [ALICE]),
        ([ALICE, ALICE], [ALICE, ALICE]),
        (["tag:db"], ["tag:web", "autogroup:tagged"]),
        (["autogroup:member"], ["autogroup:self", "autogroup:member", "tag:web"]),
        ([], ["autogroup:self", ALICE]),
        (["tag:db"], []),
    ],
)
def test_what_may_stand_together(sources: list[str], destinations: list[str]) -> None:
    """Tags reach tags; whoever is named reaches what is theirs."""
    check(entry(src=sources, dst=destinations))


@pytest.mark.parametrize("domain", ["example.org", "EXAMPLE.COM", "*", "example.com "])
def test_domains_of_others_in_users(domain: str) -> None:
    """Only the tailnet's own, in its own case; spaces at the end are not part of it."""
    users = ["root", f"localpart:*@{domain}"]
    if domain == "example.com ":
        check(entry(users=users))
        return
    err = refusal(entry(users=users))
    assert (err.message, err.line) == (f"{domain} {FOREIGN}", 11)


def test_where_nobody_knows_the_domains() -> None:
    """They are not judged; those of a tailnet that has none are all foreign."""
    policy = entry(src=["user:*@example.org"], users=["localpart:*@example.org"])
    check(policy, None)
    assert refusal(policy, frozenset()).message == f"[ssh] example.org {FOREIGN}"


@pytest.mark.parametrize("user", ["0", "my user", "группа", "group:ops", "tag:web", "autogroup:member", "localpart:x"])
def test_names_that_are_odd_are_names(user: str) -> None:
    """No account has them, and the control plane takes them."""
    check(entry(users=[user]))


def test_the_first_error_is_named() -> None:
    """In the file's order: entries before tests, sources before destinations."""
    wrong = {"ssh": [*entry()["ssh"], *entry(src=["*"], dst=["*"])["ssh"]]}
    assert refusal(wrong | ssh_test("tag:none")).message == 'invalid src "*"'


@pytest.mark.parametrize(
    "destination",
    [
        "tag:web",
        CAROL,
        "group:ops",
        "autogroup:self",
        "autogroup:member",
        "autogroup:tagged",
        "srv",
        "srv6",
        "one",
        "100.64.0.9",
        "::1",
    ],
)
def test_destinations_of_tests(destination: str) -> None:
    """One place, or several of which each counts; whether it exists is seen when the test runs."""
    check(ssh_test(destination))


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        ("tag:none", "unknown tag"),
        ("tag:web:22", "unknown tag"),
        ("*", "disallowed element"),
        ("group:none", "disallowed element"),
        ("user:*@example.com", "disallowed element"),
        ("autogroup:internet", "disallowed element"),
        ("autogroup:admin", "disallowed element"),
        ("net", "disallowed element"),
        ("odd", "disallowed element"),
        ("other", "disallowed element"),
        ("100.64.0.0/24", "disallowed element"),
        ("fd7a::/64", "disallowed element"),
    ],
)
def test_destinations_of_tests_that_are_refused(destination: str, message: str) -> None:
    """Whatever is no place where somebody logs in."""
    err = refusal(ssh_test("tag:web", destination))
    assert (err.message, err.line) == (f'SSH tests dst contains {message} "{destination}"', 7)


@pytest.mark.parametrize("source", ["tag:web", "autogroup:tagged"])
def test_nobody_passes_a_check_for_a_tag(source: str) -> None:
    """The place is the tag's own (tailscale/tailscale issue 5027)."""
    err = refusal(entry(src=[ALICE, source], action="check"))
    assert (err.message, err.line) == ('[ssh] "check" action does not support tags in src', 7)
    check(entry(src=[ALICE, source]))
    check(entry(src=[ALICE], action="check"))


@pytest.mark.parametrize("source", ["autogroup:admin", "autogroup:member", "autogroup:tagged", "autogroup:none"])
def test_a_test_is_about_somebody(source: str) -> None:
    """No autogroup may be its src (tailscale/tailscale issue 14102)."""
    err = refusal({"sshTests": [{"src": source, "dst": ["tag:web"], "accept": ["root"]}]})
    assert (err.message, err.line) == (f'SSH tests src contains disallowed element "{source}"', 4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"srcPosture": ["posture:x"]}, "whether a device has the posture that this entry demands"),
        ({"recorder": ["tag:db"]}, "a host does not record the sessions"),
        ({"enforceRecorder": True}, "a host does not record the sessions"),
    ],
)
def test_what_a_host_cannot_do(fields: dict[str, Any], message: str) -> None:
    """The control plane takes it, and a host that decides by the file itself must not."""
    text = json.dumps({"tagOwners": {"tag:web": [], "tag:db": []}, "ssh": [*entry()["ssh"], *entry(**fields)["ssh"]]})
    policy = read(text.encode(), "policy")
    validate(policy, DOMAINS)
    err = unenforceable(policy)
    assert err is not None
    assert message in err.message
    (name,) = fields
    assert err.column == text.index(json.dumps(fields[name]), text.index(name)) + 1


def test_what_a_host_can_do() -> None:
    """Everything else; a posture for all entries is one for each."""
    assert (
        unenforceable(read(json.dumps(entry(srcPosture=[], recorder=[], enforceRecorder=False)).encode(), "x")) is None
    )
    by_default = json.dumps({"defaultSrcPosture": ["posture:x"]} | entry())
    assert unenforceable(read(by_default.encode(), "policy")) is not None


@pytest.mark.parametrize(
    ("sections", "hint"),
    [
        (entry(src=["*"]), "name people, user:*@domain, group:…, tag:…"),
        (entry(src=["autogroup:self"]), "write autogroup:member here"),
        (entry(src=["tag:none"]), "name it in tagOwners"),
        (entry(src=["group:none"]), "name it in groups"),
        (entry(src=["user:*@example.org"]), "the tailnet's: example.com"),
        (entry(users=["localpart:*@example.org"]), "the tailnet's: example.com"),
        (entry(dst=["group:ops"]), "name tag:…, autogroup:self"),
        (entry(dst=["tag:none"]), "name it in tagOwners"),
        (entry(dst=[BOB]), "write autogroup:self"),
        (entry(src=["tag:db"], dst=["autogroup:self"]), "name tags as dst"),
        (entry(src=["tag:db"], action="check"), "an entry for tags can only accept"),
        (ssh_test("tag:none"), "name it in tagOwners"),
        (ssh_test("net"), "name one person"),
    ],
)
def test_what_to_write_instead(sections: dict[str, Any], hint: str) -> None:
    """Each error says it, after the control plane's own words."""
    err = refusal(sections)
    assert err.hint.startswith(hint)
    assert str(err) == f"policy:{err.line}:{err.column}: {err.message}: {err.hint}"


@pytest.mark.parametrize(
    "fields", [{"src": ["user:*@" + "x" * 5_000_000]}, {"users": ["localpart:*@" + "x" * 5_000_000]}]
)
def test_a_domain_of_5_mb(fields: dict[str, list[str]]) -> None:
    """Is not repeated."""
    assert len(str(refusal(entry(**fields)))) < 1000
    assert len(str(refusal(entry(src=["user:*@a"]), frozenset({"x" * 5_000_000})))) < 1000


@pytest.mark.timeout(60)
def test_long_lists() -> None:
    """Each item is looked at once."""
    check(entry(src=[ALICE] * 100_000, dst=[ALICE] * 100_000))
    err = refusal(entry(src=[BOB] * 100_000, dst=["x" * 5_000_000]))
    assert len(str(err)) < 1000
