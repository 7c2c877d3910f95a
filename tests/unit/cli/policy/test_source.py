"""What the commands read: the file, the tailnet, standard input, and what cannot be read."""

import io
from pathlib import Path

import pytest

from pam_tailscale import paths
from pam_tailscale.cli.policy import source
from pam_tailscale.cli.policy.source import compiler, policy_file
from pam_tailscale.errors import PolicyFileError, TailscaledError
from tests.unit.cli.conftest import Run
from tests.unit.cli.policy.conftest import POLICY


def test_the_tailnets_own_domain_counts(policy: str, tailnet: str) -> None:
    """As its status says, or as the options do."""
    assert compiler(Path(policy), Path(tailnet), ()).tailnet.domains == frozenset({"example.com"})
    assert compiler(Path(policy), Path(tailnet), ("example.org",)).tailnet.domains == frozenset({"example.org"})


def test_what_the_control_plane_would_refuse_is_not_compiled(tmp_path: Path, tailnet: str) -> None:
    """It would not be in force."""
    path = tmp_path / "bad.hujson"
    path.write_text(POLICY.replace('"dst": ["tag:web"]', '"dst": ["tag:wep"]'))
    with pytest.raises(PolicyFileError, match="tag not found"):
        compiler(path, Path(tailnet), ())


@pytest.mark.parametrize("text", ["", "[]", "{", '{"Version": 1}', "[" * 100000])
def test_a_status_that_is_none(tmp_path: Path, text: str) -> None:
    """Whoever gives it reads what is wrong."""
    path = tmp_path / "status.json"
    path.write_text(text)
    with pytest.raises(TailscaledError):
        source.tailnet(path, ())


def test_without_tailscaled_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a laptop nobody is asked."""
    monkeypatch.setattr(paths, "TAILSCALED_SOCKET", tmp_path / "none.sock")
    with pytest.raises(TailscaledError, match="--tailnet FILE"):
        source.tailnet(None, ())


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
