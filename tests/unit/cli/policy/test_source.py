"""What the commands read: the file, the tailnet, standard input, and what cannot be read."""

import io
from pathlib import Path

import pytest

from pam_tailscale import paths
from pam_tailscale.cli.policy import source
from pam_tailscale.cli.policy.source import Given, compiler, policy_file
from pam_tailscale.errors import PolicyFileError, TailscaledError
from pam_tailscale.policy import hujson
from pam_tailscale.tailnet.localapi import LocalAPI
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
    assert unknown.err.endswith("pam-tailscale: with the role of autogroup:admin it is check, by ssh rule 1\n")
    known = run(*asked, "--tailnet", tailnet, "--role", "admin=bob@example.com")
    assert (known.status, known.err) == (4, "")


@pytest.mark.parametrize("role", ["admin", "admin=", "boss=bob@example.com", "admin=carol@example.com", "=x"])
def test_a_role_that_is_none(run: Run, policy: str, tailnet: str, role: str) -> None:
    """Or of whom nothing is known."""
    ran = run("policy", "matrix", policy, "--tailnet", tailnet, "--role", role)
    assert ran.status == 2
    assert "--role" in ran.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"Version": "1", "BackendState": "Running", "TUN": true}', "shows no tailnet: was it made while tailscaled"),
        ("STOPPED", "shows no tailnet: was it made while tailscaled was not running?"),
        ("{}", "is not what `tailscale status --json` prints"),
        ("[]", "is not what `tailscale status --json` prints"),
    ],
)
def test_a_status_that_shows_nothing_names_its_file(tmp_path: Path, tailnet: str, text: str, says: str) -> None:
    """It would be compared with as if nobody had any access; tailscaled's version is not to blame for it."""
    path = tmp_path / "wrong.json"
    path.write_text(Path(tailnet).read_text().replace('"Running"', '"Stopped"') if text == "STOPPED" else text)
    with pytest.raises(TailscaledError) as found:
        source.tailnet(Given(path))
    assert str(found.value).startswith(f"{path} {says}")
    assert "upgrade" not in str(found.value)


def test_tailscaled_that_is_in_no_tailnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has nobody to tell of."""
    status = {"Version": "1", "BackendState": "NeedsLogin", "TUN": True, "Self": {"UserID": 1}}
    monkeypatch.setattr(LocalAPI, "status_document", lambda _: status)
    with pytest.raises(TailscaledError, match="tailscaled is not running in a tailnet"):
        source.tailnet(Given())


@pytest.mark.parametrize(
    "arguments",
    [
        ("diff", "-", "-", "--tailnet", "FILE"),
        ("diff", "FILE", "-", "--tailnet", "-"),
        ("matrix", "-", "--tailnet", "-"),
        ("test", "-", "--tailnet", "-"),
    ],
    ids=" ".join,
)
def test_standard_input_is_read_once(run: Run, policy: str, arguments: tuple[str, ...]) -> None:
    """The second time it would be empty."""
    ran = run("policy", *(policy if argument == "FILE" else argument for argument in arguments))
    assert ran.status == 2
    assert "standard input can be read once" in ran.err


def test_standard_input_that_is_closed(run: Run, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a service."""
    monkeypatch.setattr("sys.stdin", None)
    for arguments in (("check", "-"), ("matrix", policy, "--tailnet", "-")):
        ran = run("policy", *arguments)
        assert (ran.status, ran.out) == (3, "")
        assert ran.err == "pam-tailscale: standard input is closed: nothing can be read from it\n"


def test_no_more_is_read_than_could_be_used(run: Run, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the file has: this one has no end."""
    monkeypatch.setattr(hujson, "BYTES_MAX", 1000)
    monkeypatch.setattr(source, "STATUS_BYTES_MAX", 2000)
    ran = run("policy", "check", "/dev/zero")
    assert (ran.status, ran.err) == (
        1,
        "pam-tailscale: /dev/zero: the file has more than 1000 bytes, and no policy has\n",
    )
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b" " * 1001)))
    assert "standard input: the file has more than 1000 bytes" in run("policy", "check", "-").err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"{}".ljust(1000))))
    assert run("policy", "check", "-").status == 0
    ran = run("policy", "matrix", policy, "--tailnet", "/dev/zero")
    assert ran.status == 3
    assert ran.err.endswith("/dev/zero is not what `tailscale status --json` prints: it has more than 2000 bytes\n")


def test_a_domain_that_the_tailnets_name_does_not_tell(run: Run, write: Write, tailnet: str) -> None:
    """Headscale calls the tailnet after its server: what to do about it is said, and only where it helps."""
    foreign = POLICY.replace("autogroup:nonroot", "localpart:*@example.org")
    ran = run("policy", "matrix", write(foreign), "--tailnet", tailnet)
    assert ran.status == 3
    assert ran.err.endswith("where the tailnet's name does not tell its domains, give each with --domain\n")
    assert run("policy", "matrix", write(foreign), "--tailnet", tailnet, "--domain", "EXAMPLE.org").status == 0
    ran = run("policy", "matrix", write(POLICY.replace('"check", "src"', '"deny", "src"')), "--tailnet", tailnet)
    assert "--domain" not in ran.err
    assert run("policy", "matrix", write(foreign), "--tailnet", tailnet, "--domain", "").status == 2
