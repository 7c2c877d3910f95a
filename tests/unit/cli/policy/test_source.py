"""What the commands read: the file, the tailnet, standard input, and what cannot be read."""

import io
from pathlib import Path

import pytest

from pam_tailscale import paths
from pam_tailscale.cli.policy import source
from pam_tailscale.cli.policy.source import Given, compiler, policy_file
from pam_tailscale.errors import PolicyFileError, TailscaledError
from tests.unit.cli.conftest import Run
from tests.unit.cli.policy.conftest import POLICY, Write


def test_the_tailnets_own_domain_counts(policy: str, tailnet: str) -> None:
    """As its status says, or as the options do."""
    assert compiler(Path(policy), Given(Path(tailnet))).tailnet.domains == frozenset({"example.com"})
    assert compiler(Path(policy), Given(Path(tailnet), ("example.org",))).tailnet.domains == frozenset({"example.org"})


def test_what_the_control_plane_would_refuse_is_not_compiled(tmp_path: Path, tailnet: str) -> None:
    """It would not be in force."""
    path = tmp_path / "bad.hujson"
    path.write_text(POLICY.replace('"dst": ["tag:web"]', '"dst": ["tag:wep"]'))
    with pytest.raises(PolicyFileError, match="tag not found"):
        compiler(path, Given(Path(tailnet)))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"Version": 1}', "[" * 100000])
def test_a_status_that_is_none(tmp_path: Path, text: str) -> None:
    """Whoever gives it reads what is wrong."""
    path = tmp_path / "status.json"
    path.write_text(text)
    with pytest.raises(TailscaledError):
        source.tailnet(Given(path))


def test_without_tailscaled_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a laptop nobody is asked."""
    monkeypatch.setattr(paths, "TAILSCALED_SOCKET", tmp_path / "none.sock")
    with pytest.raises(TailscaledError, match="--tailnet FILE"):
        source.tailnet(Given())


def test_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy, as `-`."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(POLICY.encode())))
    ran = run("policy", "check", "-")
    assert (ran.status, ran.out) == (0, "standard input: in order, 2 ssh rules, 1 sshTests\n")


def test_a_file_of_another_format_names_itself(tmp_path: Path) -> None:
    """By its path."""
    path = tmp_path / "policy.yaml"
    path.write_text("ssh:\n")
    with pytest.raises(PolicyFileError, match=r"policy\.yaml:1:1: "):
        policy_file(path)


ADMINS = POLICY.replace(
    '"src": ["alice@example.com"], "dst": ["tag:web"], "users": ["root"]',
    ('"src": ["autogroup:admin"], "dst": ["tag:web"], "users": ["root"]'),
)


def test_a_role_counts_for_whom_it_is_said_of(run: Run, write: Write, tailnet: str) -> None:
    """Without it, that it counts for nobody is said: a review would miss what the rule gives."""
    asked = ("policy", "explain", write(ADMINS), "root", "--from", "phone", "--to", "web.tailnet.example")
    unknown = run(*asked, "--tailnet", tailnet)
    assert unknown.status == 1
    assert unknown.err.endswith(
        "other.hujson: autogroup:admin counts for nobody here: say who has the role, with --role admin=LOGIN\n"
    )
    known = run(*asked, "--tailnet", tailnet, "--role", "admin=bob@example.com")
    assert (known.status, known.err) == (4, "")


@pytest.mark.parametrize("role", ["admin", "admin=", "boss=bob@example.com", "admin=carol@example.com", "=x"])
def test_a_role_that_is_none(run: Run, policy: str, tailnet: str, role: str) -> None:
    """Or of whom nothing is known."""
    ran = run("policy", "matrix", policy, "--tailnet", tailnet, "--role", role)
    assert ran.status == 2
    assert "--role" in ran.err
