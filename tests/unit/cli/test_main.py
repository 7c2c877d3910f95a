"""What holds for all commands: help, wrong usage, an agent that cannot be asked, and what strangers put into names."""

import subprocess
import sys
from pathlib import Path

import pytest

from pam_tailscale import __version__
from tests.support.scripted_agent import deny, info, say
from tests.unit.cli.conftest import Agents, Run

COMMANDS = {
    "status": ["status"],
    "whois": ["whois", "100.64.0.7"],
    "explain": ["explain", "alice", "--from", "100.64.0.7"],
}


def test_help_and_version(run: Run) -> None:
    """Every command says what it does and what it exits with."""
    top = run("--help")
    assert top.status == 0
    for command in (*COMMANDS, "enable", "disable"):
        assert f"  {command} " in top.out
        described = run(command, "-h")
        assert described.status == 0
        assert "Exits 0" in described.out
    assert run("--version").out == f"pam-tailscale, version {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["status", "extra"],
        ["status", "--nonsense"],
        ["whois"],
        ["whois", ""],
        ["whois", "laptop"],
        ["whois", "100.64.0.7:65536"],
        ["whois", "100.64.0.7:"],
        ["whois", "100.64.0.7:x"],
        ["whois", "100.64.0.7:\u0661"],
        ["whois", "[fd7a:115c:a1e0::7"],
        ["whois", "fe80::1%eth0"],
        ["whois", "100.64.0.7\n"],
        ["explain", "alice"],
        ["explain", "--from", "100.64.0.7"],
        ["explain", "alice", "--from", "laptop"],
        ["explain", "alice", "--from", "100.64.0.7", "--as-of", "soon"],
        ["explain", "alice", "--from", "100.64.0.7", "--as-of", ""],
        ["enable", "extra"],
        ["enable", "--methods", "none"],
        ["disable", "--refresh"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(run: Run, arguments: list[str]) -> None:
    """With a line on standard error, and nobody is asked."""
    ran = run(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("Usage: pam-tailscale")


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())
def test_an_agent_that_is_not_there_is_3(run: Run, nobody: Path, arguments: list[str]) -> None:
    """Cannot tell is not no."""
    ran = run(*arguments, "--socket", nobody)
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith(f"pam-tailscale: the agent cannot be reached at {nobody}")
    assert "systemctl status" in ran.err


@pytest.mark.parametrize("script", [say(), say(b"garbage"), say(info("{")), say(info("[]"))], ids=range(4))
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_broken_answer_is_3(run: Run, agents: Agents, arguments: list[str], script: object) -> None:
    """Also half a document."""
    agent = agents.playing(script)  # type: ignore[arg-type]
    ran = run(*arguments, "--socket", agent.path, "--json")
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())
def test_who_may_not_ask_reads_so(run: Run, agents: Agents, arguments: list[str]) -> None:
    """In the agent's words, which a terminal does not act on."""
    agent = agents.playing(say(deny("use sudo\x1b[31m\nroot")))
    ran = run(*arguments, "--socket", agent.path)
    assert (ran.status, ran.out) == (3, "")
    assert ran.err == "pam-tailscale: use sudo\\x1b[31m\\nroot\n"


NAME = "\u0436" * 40
POLICY = f"""{{"tagOwners": {{"tag:web": []}}, "ssh": [
  {{"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["{NAME}"]}}]}}"""
STATUS = """{"Version": "1", "BackendState": "Running", "TUN": true, "Self": {"UserID": 1, "DNSName": "laptop."}}"""
PRINTING = {
    "table": ("matrix",),
    "CSV": ("matrix", "--csv"),
    "JSON": ("matrix", "--json"),
    "page": ("matrix", "--html"),
    "JUnit": ("test", "--junit"),
    "rules": ("compile",),
    "help": ("matrix", "--help"),
}


def program(
    folder: Path, arguments: tuple[str, ...], shell: str, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """The command line as a process of its own, in a shell that says where its output goes."""
    (folder / "policy").write_text(POLICY)
    (folder / "status").write_text(STATUS)
    command = [sys.executable, "-m", "pam_tailscale.cli.main", "policy", *arguments]
    command += ["--tailnet", f"{folder}/status", f"{folder}/policy"]
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {shell}', "bash", *command],
        capture_output=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path), **environment},
    )


@pytest.mark.parametrize("arguments", PRINTING.values(), ids=PRINTING.keys())
@pytest.mark.parametrize("shell", ["> /dev/full", ">&-"])
def test_what_cannot_be_told_is_3(tmp_path: Path, arguments: tuple[str, ...], shell: str) -> None:
    """With one line that says why, and nothing of Python's."""
    ran = program(tmp_path, arguments, shell)
    assert (ran.returncode, ran.stdout, ran.stderr.count(b"\n")) == (3, b"", 1)
    assert ran.stderr.startswith(b"pam-tailscale: ")
    assert (b"No space left on device" if "full" in shell else b"is closed") in ran.stderr


@pytest.mark.parametrize("form", ["table", "page", "help"])
def test_a_pipe_that_nobody_reads(tmp_path: Path, form: str) -> None:
    """Ends quietly, and not as if all was well."""
    ran = program(tmp_path, PRINTING[form], "| true; exit ${PIPESTATUS[0]}")
    assert (ran.returncode, ran.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("form", "name"),
    [("table", r"\u0436" * 40), ("CSV", NAME), ("page", "Who can log in")],
    ids=["table", "CSV", "page"],
)
def test_an_encoding_that_lacks_letters(tmp_path: Path, form: str, name: str) -> None:
    """Documents are UTF-8 all the same, text has escapes."""
    ran = program(tmp_path, PRINTING[form], "", PYTHONIOENCODING="latin-1")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert name.encode() in ran.stdout
