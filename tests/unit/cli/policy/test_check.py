"""`policy check`: what the control plane would say of the file."""

from tests.unit.cli.conftest import Run
from tests.unit.cli.policy.conftest import POLICY, Write


def test_a_file_in_order(run: Run, policy: str) -> None:
    """Comments and trailing commas are no errors."""
    ran = run("policy", "check", policy)
    assert (ran.status, ran.out, ran.err) == (0, f"{policy}: in order, 2 ssh rules, 1 sshTests\n", "")
    ran = run("policy", "check", "--json", policy)
    assert (ran.status, ran.document) == (0, {"valid": True, "file": policy, "ssh": 2})


def test_an_error_has_its_place(run: Run, write: Write) -> None:
    """File, line and column, for people and for programs."""
    path = write(POLICY.replace('"check", "src"', '"deny", "src"'))
    ran = run("policy", "check", path)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f'pam-tailscale: {path}:5:16: "deny" is not a valid action: write accept or check\n'
    ran = run("policy", "check", "--json", path)
    assert (ran.status, ran.document) == (
        1,
        {
            "valid": False,
            "file": path,
            "line": 5,
            "column": 16,
            "message": '"deny" is not a valid action',
            "hint": "write accept or check",
        },
    )


def test_domains_are_asked_about_only_where_they_are_known(run: Run, write: Write) -> None:
    """A laptop does not know the tailnet's."""
    path = write(POLICY.replace("autogroup:nonroot", "localpart:*@example.org"))
    assert run("policy", "check", path).status == 0
    assert run("policy", "check", "--domain", "example.org", path).status == 0
    ran = run("policy", "check", "--domain", "example.com", path)
    assert ran.status == 1
    assert "example.org is not associated with this Tailnet" in ran.err
    assert run("policy", "check", "--domain", "Example.ORG", path).status == 0
    ran = run("policy", "check", "--domain", "", path)
    assert (ran.status, "a domain cannot be empty" in ran.err) == (2, True)


def test_a_file_that_is_not_there(run: Run) -> None:
    """Nothing can be told of it."""
    ran = run("policy", "check", "/nowhere/policy.hujson")
    assert (ran.status, ran.err) == (
        3,
        "pam-tailscale: /nowhere/policy.hujson cannot be read: No such file or directory\n",
    )
