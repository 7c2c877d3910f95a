"""`policy test`: what each of the sshTests comes to."""

from tests.unit.cli.conftest import Run
from tests.unit.cli.policy.conftest import POLICY, Write

ALICE, WEB = "alice@example.com", "web.tailnet.example"


def test_all_pass(run: Run, policy: str, tailnet: str) -> None:
    """With the rule that decided."""
    ran = run("policy", "test", policy, "--tailnet", tailnet)
    assert ran.status == 0
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[1] == ["sshTests", "1", "pass", ALICE, WEB, "deploy", "accept", "accept", "ssh", "2"]
    assert lines[2] == ["sshTests", "1", "pass", ALICE, WEB, "root", "check", "check", "ssh", "1"]
    assert ran.out.splitlines()[-1] == "2 passed, 0 failed"


def test_one_fails(run: Run, write: Write, tailnet: str) -> None:
    """The exit status says so, and the row."""
    path = write(POLICY.replace('"accept": ["deploy"]', '"deny": ["deploy"]'))
    ran = run("policy", "test", path, "--tailnet", tailnet)
    assert ran.status == 1
    assert ["sshTests", "1", "FAIL", ALICE, WEB, "deploy", "deny", "accept", "ssh", "2"] in [
        line.split() for line in ran.out.splitlines()
    ]
    ran = run("policy", "test", path, "--tailnet", tailnet, "--json")
    assert (ran.status, ran.document["passed"]) == (1, False)
    assert ran.document["tests"][0] == {
        "section": "sshTests",
        "test": 1,
        "passed": False,
        "src": ALICE,
        "dst": WEB,
        "user": "deploy",
        "wanted": "deny",
        "found": "accept",
        "rule": "ssh 2",
    }


def test_junit(run: Run, policy: str, tailnet: str) -> None:
    """A suite, with a case for each."""
    ran = run("policy", "test", policy, "--tailnet", tailnet, "--junit")
    assert ran.status == 0
    assert ran.out.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    assert 'tests="2" failures="0"' in ran.out


def test_what_is_about_port_22_in_the_other_tests(run: Run, write: Write, tailnet: str) -> None:
    """By the entry of acls or grants that lets the connection through."""
    acls = '"acls": [{"action": "accept", "src": ["bob@example.com"], "dst": ["tag:web:22"]}]'
    tests = '"tests": [{"src": "bob@example.com", "accept": ["tag:web:22", "tag:web:80"], "deny": ["tag:db:22"]}]'
    path = write(POLICY.replace('"tagOwners"', f'{acls}, {tests}, "tagOwners"'))
    ran = run("policy", "test", path, "--tailnet", tailnet, "--json")
    assert (ran.status, ran.document["passed"]) == (0, True)
    assert [(one["dst"], one["wanted"], one["rule"]) for one in ran.document["tests"] if one["section"] == "tests"] == [
        ("tag:web:22", "accept", "acls 1"),
        ("tag:db:22", "deny", ""),
    ]


def test_without_tests(run: Run, write: Write, tailnet: str) -> None:
    """Nothing failed, and it is not passed over in silence."""
    ran = run("policy", "test", write("{}"), "--tailnet", tailnet)
    assert (ran.status, ran.out) == (0, "the file has no sshTests, and no tests about port 22\n")


def test_a_file_that_the_control_plane_refuses(run: Run, write: Write, tailnet: str) -> None:
    """No test of it means anything; who asked for a document gets one, which says that."""
    path = write('{"ssh": [{}]}')
    ran = run("policy", "test", path, "--tailnet", tailnet)
    assert (ran.status, ran.out) == (3, "")
    assert "1:10: action must be specified" in ran.err
    ran = run("policy", "test", path, "--tailnet", tailnet, "--json")
    assert (ran.status, ran.document["passed"], ran.document["tests"]) == (3, False, [])
    assert (ran.document["refused"]["line"], ran.document["refused"]["message"]) == (1, "action must be specified")
    ran = run("policy", "test", path, "--tailnet", tailnet, "--junit")
    assert ran.status == 3
    assert 'tests="1" failures="1"' in ran.out
    assert f"{path}:1:10: action must be specified" in ran.out


def test_two_formats_at_once(run: Run, policy: str, tailnet: str) -> None:
    """Are one too many."""
    assert run("policy", "test", policy, "--tailnet", tailnet, "--json", "--junit").status == 2
