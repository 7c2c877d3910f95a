"""A policy file as records, and every refusal of its form with its place."""

import json
from typing import Any

import pytest

from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy.document import PERIOD_DEFAULT, PolicyFile, SSHEntry, read, read_entry
from pam_tailscale.policy.reading import Reader
from pam_tailscale.policy.selectors import Kind, Selector
from tests.support.tailnets import ALICE, BOB

HOUR = 3600.0


def entry(**fields: Any) -> SSHEntry:
    """One entry of ssh; without `fields` the simplest one."""
    written = {"action": "accept", "src": [ALICE], "dst": ["tag:web"], "users": ["deploy"]} | fields
    (found,) = read(json.dumps({"ssh": [written]}).encode(), "policy").ssh
    return found


def refusal(text: str) -> str:
    """Place and message; single quotes stand for double ones."""
    with pytest.raises(PolicyFileError) as caught:
        read(text.replace("'", '"').encode(), "policy")
    return str(caught.value)


def test_an_empty_file_is_an_empty_policy() -> None:
    """As is one whose sections are null: Go reads that as absent."""
    empty = PolicyFile(read(b"{}", "policy").document)
    assert read(b"{}", "policy") == empty
    sections = dict.fromkeys(("ssh", "groups", "tagOwners", "hosts", "sshTests"))
    found = read(json.dumps(sections).encode(), "policy")
    assert (found.ssh, found.groups, found.tag_owners, found.hosts, found.ssh_tests) == ((), {}, {}, {}, ())


def test_what_an_entry_says() -> None:
    """Each in its type, spaces around texts gone."""
    found = entry(
        action=" check ", src=[" group:a", "user:*@x"], users=["\troot"], checkPeriod="2h", acceptEnv=["LANG", " LC_* "]
    )
    assert (found.number, found.action, found.users, found.path) == (1, "check", ("root",), ("ssh", 0))
    assert found.sources == (Selector(Kind.GROUP, "group:a"), Selector(Kind.DOMAIN, "user:*@x"))
    assert found.destinations == (Selector(Kind.TAG, "tag:web"),)
    assert (found.period, found.accept_env) == (2 * HOUR, ("LANG", "LC_*"))


def test_entries_are_numbered_from_one() -> None:
    """In the file's order."""
    written = {"action": "accept", "users": ["x"]}
    found = read(json.dumps({"ssh": [written] * 3}).encode(), "policy").ssh
    assert [(one.number, one.path) for one in found] == [(1, ("ssh", 0)), (2, ("ssh", 1)), (3, ("ssh", 2))]


def test_keys_in_any_case() -> None:
    """As Go's encoding/json reads them, section names and fields; names of the administrator's stay as they are."""
    text = {"SSH": [{"Action": "accept", "SRC": [ALICE], "Users": ["x"]}], "TAGOWNERS": {"tag:Web": []}}
    found = read(json.dumps(text).encode(), "policy")
    assert found.ssh[0].sources == (Selector(Kind.PERSON, ALICE),)
    assert found.tag_owners == {"tag:Web": ()}


def test_sections_that_are_not_about_ssh_may_hold_anything() -> None:
    """They are for others to judge."""
    found = read(b'{"acls": [[[1]]], "nodeAttrs": null, "somethingNew": {"a": 1}}', "policy")
    assert found.ssh == ()


def test_users_of_an_entry() -> None:
    """Names, domains whose people get in by their own, and neither of both."""
    found = entry(users=["root", "autogroup:nonroot", "0", "my user", "localpart:*@example.com", "localpart:x@y"])
    assert found.localparts == ("example.com",)
    assert found.names == ("0", "my user", "localpart:x@y")
    assert entry(users=["localpart:*@", "localpart:*@*"]).localparts == ("*",)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (None, PERIOD_DEFAULT),
        ("", PERIOD_DEFAULT),
        ("always", 0),
        ("0s", 0),
        ("0", 0),
        ("-0s", 0),
        ("1ns", 60),
        ("30s", 60),
        ("1m", 60),
        ("61s", 61),
        ("90.5s", 90.5),
        ("12h", 12 * HOUR),
        ("168h", 168 * HOUR),
        (" 1h ", HOUR),
    ],
)
def test_check_periods(written: str | None, seconds: float) -> None:
    """Under a minute acts as a minute, 0 as always."""
    assert entry(action="check", checkPeriod=written).period == seconds


def test_what_a_test_says() -> None:
    """One source, several destinations."""
    test = {
        "src": " group:a ",
        "dst": ["tag:web", "100.64.0.1"],
        "accept": ["root"],
        "check": ["x"],
        "deny": ["y", "z"],
    }
    (found,) = read(json.dumps({"sshTests": [test]}).encode(), "policy").ssh_tests
    assert (found.number, found.source, found.path) == (1, "group:a", ("sshTests", 0))
    assert [one.kind for one in found.destinations] == [Kind.TAG, Kind.ADDRESS]
    assert (found.accept, found.check, found.deny) == (("root",), ("x",), ("y", "z"))


def test_tables_of_names() -> None:
    """Groups, tags and hosts; a tag without owner is one that only the control plane's admins may put on."""
    text = {"groups": {"group:a": [ALICE, BOB]}, "tagOwners": {"tag:web": []}, "hosts": {"srv": "100.64.0.1"}}
    found = read(json.dumps(text).encode(), "policy")
    assert found.groups == {"group:a": (ALICE, BOB)}
    assert (found.tag_owners, found.hosts) == ({"tag:web": ()}, {"srv": "100.64.0.1"})


def test_postures_and_recorders() -> None:
    """Fields of a tailnet's file that the control plane knows; an entry with a posture is not certain."""
    found = entry(srcPosture=["posture:x", " node:os == 'linux'"], recorder=["tag:rec"], enforceRecorder=True)
    assert found.postures == ("posture:x", "node:os == 'linux'")
    assert (found.recorders, found.enforce_recorder, found.conditional) == (("tag:rec",), True, True)
    plain = entry(SrcPosture=None, recorder=[], enforceRecorder=None)
    assert (plain.postures, plain.recorders, plain.enforce_recorder, plain.conditional) == ((), (), False, False)


def test_the_posture_for_all_entries() -> None:
    """Counts where an entry has none of its own (Tailscale's documentation)."""
    written = [{"action": "accept", "users": ["x"]} | own for own in ({}, {"srcPosture": ["posture:b"]})]
    found = read(json.dumps({"defaultSrcPosture": ["posture:a"], "ssh": written}).encode(), "policy").ssh
    assert [one.postures for one in found] == [("posture:a",), ("posture:b",)]


def test_fields_of_a_hosts_own_rules_are_fewer() -> None:
    """What it cannot enforce it must not read past."""
    document = read(b'{"ssh": [{"action": "accept", "users": ["x"]}]}', "policy").document
    for name, value in {"srcPosture": ["x"], "recorder": ["tag:x"], "enforceRecorder": True}.items():
        with pytest.raises(PolicyFileError, match="unknown field"):
            read_entry(Reader(document), 1, {"action": "accept", "users": ["x"], name: value}, ())


def test_a_test_may_say_what_its_source_fulfils() -> None:
    """It is not evaluated."""
    test = {"src": ALICE, "dst": ["tag:web"], "srcPostureAttrs": {"node:os": "linux"}, "accept": ["root"]}
    assert len(read(json.dumps({"sshTests": [test]}).encode(), "policy").ssh_tests) == 1


ENTRY = "'action': 'accept', 'src': ['a@b'], 'dst': ['tag:x'], "
AN_OBJECT, A_LIST, A_TEXT = (
    "an object is expected here",
    "a list is expected here",
    "a text in double quotes is expected",
)
REFUSED: dict[str, tuple[str, str]] = {
    "no object": ("[]", f"1:1: {AN_OBJECT}"),
    "null": ("null", f"1:1: {AN_OBJECT}"),
    "ssh is no list": ("{'ssh': {}}", f"1:9: {A_LIST}"),
    "an entry is no object": ("{'ssh':\n [[]]}", f"2:3: {AN_OBJECT}"),
    "an entry is null": ("{'ssh': [null]}", f"1:10: {AN_OBJECT}"),
    "a key twice": ("{'ssh': [],\n 'ssh': []}", '2:2: the key "ssh" stands twice'),
    "a section twice": ("{'ssh': [],\n 'SSH': []}", '2:9: this is "SSH" once more, in another spelling'),
    "a field twice": ("{'ssh': [{'src': [], 'Src': []}]}", '1:29: this is "Src" once more'),
    "an unknown field": ("{'ssh': [{'source': []}]}", '1:21: unknown field "source"'),
    "no action": ("{'ssh': [\n {'users': ['x']}]}", "2:2: action must be specified"),
    "an empty action": ("{'ssh': [{'action': ' ', 'users': ['x']}]}", "1:21: action must be specified"),
    "another action": ("{'ssh': [{'action': 'Accept'}]}", '1:21: "Accept" is not a valid action'),
    "an action that is no text": ("{'ssh': [{'action': true}]}", f"1:21: {A_TEXT}"),
    "no users": (f"{{'ssh': [{{{ENTRY}}}]}}", "1:10: users must be specified"),
    "empty users": (f"{{'ssh': [{{{ENTRY}\n'users': []}}]}}", "2:10: users must be specified"),
    "users are a text": (f"{{'ssh': [{{{ENTRY}\n'users': 'x'}}]}}", f"2:10: {A_LIST}"),
    "an empty user": (f"{{'ssh': [{{{ENTRY}\n'users': ['x', ' ']}}]}}", '2:16: user "" is not valid'),
    "any user": (f"{{'ssh': [{{{ENTRY}\n'users': ['x', '*']}}]}}", '2:16: user "*" is not valid'),
    "a user that is a number": (f"{{'ssh': [{{{ENTRY}\n'users': [0]}}]}}", f"2:11: {A_TEXT}"),
    "a source that is null": ("{'ssh': [{'action': 'check', 'src': [null]}]}", f"1:38: {A_TEXT}"),
    "an empty acceptEnv": (
        f"{{'ssh': [{{{ENTRY}'users': ['x'],\n'acceptEnv': ['A', '']}}]}}",
        "2:20: acceptEnv values cannot be empty",
    ),
    "no period": (
        f"{{'ssh': [{{{ENTRY}'users': ['x'],\n'checkPeriod': 'abc'}}]}}",
        '2:16: time: invalid duration "abc"',
    ),
    "a number as period": (f"{{'ssh': [{{{ENTRY}'users': ['x'],\n'checkPeriod': 60}}]}}", f"2:16: {A_TEXT}"),
    "a negative period": (
        f"{{'ssh': [{{{ENTRY}'users': ['x'],\n'checkPeriod': '-60s'}}]}}",
        "2:16: checkPeriod -1m0s must be a positive duration",
    ),
    "a period over the limit": (
        f"{{'ssh': [{{{ENTRY}'users': ['x'],\n'checkPeriod': '168h1ns'}}]}}",
        "2:16: checkPeriod 168h0m0.000000001s is above the max (168h)",
    ),
    "a posture that is a text": (f"{{'ssh': [{{{ENTRY}'users': ['x'],\n'srcPosture': 'x'}}]}}", f"2:15: {A_LIST}"),
    "a posture that is a number": (f"{{'ssh': [{{{ENTRY}'users': ['x'],\n'srcPosture': [1]}}]}}", f"2:16: {A_TEXT}"),
    "a recorder that is a text": (f"{{'ssh': [{{{ENTRY}'users': ['x'],\n'recorder': 'tag:x'}}]}}", f"2:13: {A_LIST}"),
    "an order that is a text": (
        f"{{'ssh': [{{{ENTRY}'users': ['x'],\n'enforceRecorder': 'true'}}]}}",
        "2:20: true or false is expected here",
    ),
    "a default posture that is a text": ("{'defaultSrcPosture': 'x'}", f"1:23: {A_LIST}"),
    "attributes that are a list": (
        "{'sshTests': [{'src': 'a', 'dst': ['x'],\n'srcPostureAttrs': []}]}",
        f"2:20: {AN_OBJECT}",
    ),
    "groups are a list": ("{'groups': []}", f"1:12: {AN_OBJECT}"),
    "members are a text": ("{'groups': {'group:a': 'a@b'}}", f"1:24: {A_LIST}"),
    "a group without prefix": ("{'groups': {'a': []}}", "1:18: groups[\"a\"]: names of groups begin with 'group:'"),
    "a group in a group": (
        "{'groups': {'group:a': ['a@b',\n 'group:b'], 'group:b': []}}",
        '2:2: groups["group:a"]: "group:b": group members cannot be recursive',
    ),
    "groups in a circle": (
        "{'groups': {'group:a': ['group:b'],\n 'group:b': ['group:a']}}",
        '2:14: groups["group:b"]: "group:a": group members cannot be recursive',
    ),
    "a group twice, but for spaces": (
        "{'groups': {'group:a': ['a@b'],\n 'group:a ': ['c@d']}}",
        '2:14: this is "group:a" once more, with other spaces around it',
    ),
    "a tag twice, but for spaces": ("{'tagOwners': {' tag:a': [], 'tag:a': []}}", '1:39: this is "tag:a" once more'),
    "a tag without prefix": ("{'tagOwners': {'a': []}}", "1:21: tagOwners[\"a\"]: names of tags begin with 'tag:'"),
    "a tag without letter": (
        "{'tagOwners': {\n'tag:1': []}}",
        "2:10: tagOwners[\"tag:1\"]: tag names must start with a letter, after 'tag:'",
    ),
    "a tag of other letters": (
        "{'tagOwners': {'tag:сервер': []}}",
        "1:30: tagOwners[\"tag:сервер\"]: tag names must start with a letter, after 'tag:'",
    ),
    "owners are null": ("{'tagOwners': {'tag:a': null}}", f"1:25: {A_LIST}"),
    "a host that is a list": ("{'hosts': {'a': []}}", f"1:17: {A_TEXT}"),
    "a test without src": ("{'sshTests': [{'dst': ['x']}]}", "1:15: an SSH test needs a src"),
    "a test with an empty src": ("{'sshTests': [{'src': ' ', 'dst': ['x']}]}", "1:15: an SSH test needs a src"),
    "a test without dst": ("{'sshTests': [\n{'src': 'a'}]}", "2:1: an SSH test needs a dst"),
    "a test with another field": ("{'sshTests': [{'src': 'a', 'action': 'x'}]}", '1:38: unknown field "action"'),
    "a test whose dst is a text": ("{'sshTests': [{'src': 'a', 'dst': 'x'}]}", f"1:35: {A_LIST}"),
}


@pytest.mark.parametrize(("text", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(text: str, error: str) -> None:
    """With file, line and column."""
    assert refusal(text).startswith(f"policy:{error}")


HINTS = {
    "{'ssh': [{'action': 'acept'}]}": "write accept or check",
    "{'ssh': [{'users': ['x']}]}": "write accept or check",
    f"{{'ssh': [{{{ENTRY}'users': ['*']}}]}}": "name accounts; autogroup:nonroot is every one but root",
    f"{{'ssh': [{{{ENTRY}'users': ['x'], 'checkPeriod': '7d'}}]}}": "write hours or minutes, as 12h",
    f"{{'ssh': [{{{ENTRY}'users': ['x'], 'checkPeriod': '200h'}}]}}": "write hours or minutes, as 12h",
    "{'ssh': [{'srcc': []}]}": "those that may stand here, in any case: acceptenv, action,",
    "{'groups': {'group:a': ['group:b']}}": "name its members themselves",
}


@pytest.mark.parametrize(("text", "hint"), HINTS.items(), ids=HINTS.values())
def test_what_to_write_instead(text: str, hint: str) -> None:
    """Behind the message."""
    with pytest.raises(PolicyFileError) as caught:
        read(text.replace("'", '"').encode(), "policy")
    assert caught.value.hint.startswith(hint)
    assert str(caught.value).endswith(f"{caught.value.message}: {caught.value.hint}")


LONG = "x" * 5_000_000


@pytest.mark.timeout(60)
@pytest.mark.parametrize("field", ["src", "dst", "users", "acceptEnv"])
def test_texts_of_5_mb_that_are_read(field: str) -> None:
    """A name is a name."""
    assert LONG in repr(entry(**{field: [LONG]}))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["action", "checkPeriod", LONG], ids=["action", "period", "name"])
def test_texts_of_5_mb_that_are_refused(name: str) -> None:
    """In words that fit on a page."""
    with pytest.raises(PolicyFileError) as caught:
        entry(**{name: LONG})
    assert (caught.value.line, len(str(caught.value)) < 1000) == (1, True)


@pytest.mark.timeout(60)
def test_many_entries_of_which_the_last_is_wrong() -> None:
    """Its place is found once."""
    good = '{"action": "accept", "users": ["x"]},\n'
    text = '{"ssh": [\n' + good * 50_000 + '{"action": "deny"}]}'
    assert refusal(text).startswith('policy:50002:12: "deny" is not a valid action')


@pytest.mark.timeout(20)
def test_an_error_before_a_deep_and_wide_rest() -> None:
    """What is deeper than the value asked for is not looked at."""
    deep = "[" * 800 + "1," * 1_500_000 + "]" * 800
    assert refusal(f'{{"acls": {deep},\n"ssh": 1}}') == f"policy:2:8: {A_LIST}: [ … ]"
