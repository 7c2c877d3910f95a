"""The clients of the proof: how ssh is called, what is typed, and when a login counts as over."""

import itertools
import os
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from pam_tailscale.host.proving import attempts, stage
from pam_tailscale.host.proving.inetd import Inetd
from pam_tailscale.host.proving.trial import CLOSED, NO_ANSWER, REFUSED, Attempt, Ending, Key, Typed
from pam_tailscale.host.proving.trial import attempts as all_attempts
from tests.unit.host.proving.plans import PLAN

TRIED = all_attempts(PLAN, any_key=True)
BATCH = next(attempt for attempt in TRIED if attempt.account == "alice")
TYPED = next(attempt for attempt in TRIED if attempt.typed is Typed.WRONG)
WITH_KEY = next(attempt for attempt in TRIED if attempt.key is Key.OWN and attempt.typed is Typed.RIGHT)


class Quiet:
    """sshd's side where nobody connects; `lines` is what it would have logged."""

    def __init__(self, lines: Mapping[str, Sequence[str]] | None = None) -> None:
        self.lines = lines or {}
        self.sockets: list[object] = []

    def logged(self, attempt: Attempt) -> tuple[str, ...]:
        return tuple(self.lines.get(attempt.name, ()))

    def said(self, attempt: Attempt) -> tuple[str, ...]:
        return (f"PAM about {attempt.account}",)


@pytest.fixture(autouse=True)
def _room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is written goes to a directory of the test."""
    monkeypatch.setattr(stage, "LOGS", tmp_path)
    monkeypatch.setattr(stage, "ROOM", tmp_path)
    monkeypatch.setattr(attempts, "_KEYS", tmp_path / "keys")
    monkeypatch.setattr(attempts, "_ANSWERS", tmp_path / "answers")


@pytest.fixture
def network() -> Iterator[int]:
    """The network that the clients are in: here the machine's own."""
    descriptor = os.open("/proc/self/ns/net", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def run(
    scripts: Mapping[Attempt, str], network: int, monkeypatch: pytest.MonkeyPatch, quiet: Quiet | None = None
) -> Mapping[Attempt, Ending]:
    """Attempts whose ssh is a shell script."""
    monkeypatch.setattr(attempts, "command", lambda attempt: ["sh", "-c", scripts[attempt]])
    return attempts.run(tuple(scripts), cast("Inetd", quiet or Quiet()), network)


class TestCommand:
    def test_a_client_that_can_ask_nobody(self) -> None:
        """No configuration of the host's counts, and nothing is remembered."""
        argv = attempts.command(BATCH)
        assert argv[:5] == ["ssh", "-F", "none", "-n", "-T"]
        assert argv[-4:] == ["-l", "alice", "100.64.0.1", "true"]
        for option in (
            "BatchMode=yes",
            "PubkeyAuthentication=no",
            "PreferredAuthentications=none",
            "BindAddress=100.64.0.2",
            "Port=22",
            "UserKnownHostsFile=/dev/null",
            "IdentityAgent=none",
        ):
            assert option in argv

    def test_a_client_with_a_key_and_a_password(self, tmp_path: Path) -> None:
        """One key, and one answer to each method."""
        argv = attempts.command(WITH_KEY)
        for option in (
            "BatchMode=no",
            "PubkeyAuthentication=yes",
            f"IdentityFile={tmp_path}/keys/own",
            "IdentitiesOnly=yes",
            "PreferredAuthentications=publickey,keyboard-interactive,password",
            "NumberOfPasswordPrompts=1",
        ):
            assert option in argv

    def test_ssh_knows_every_option(self, tmp_path: Path) -> None:
        """As it says itself when it is asked what an option comes to."""
        for attempt in TRIED:
            argv = attempts.command(attempt)
            done = subprocess.run([argv[0], "-G", *argv[1:]], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")
            assert f"user {attempt.account}\n" in done.stdout
            assert f"port {attempt.port}\n" in done.stdout
        assert list(tmp_path.iterdir()) == []


class TestAnswers:
    def test_what_is_typed(self, tmp_path: Path) -> None:
        """The right password, another, and an empty line; for root's eyes alone."""
        attempts.make_answers("the-right-one")
        folder = tmp_path / "answers"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        typed = {}
        for program in folder.iterdir():
            assert stat.S_IMODE(program.stat().st_mode) == 0o700
            typed[program.name] = subprocess.run([program], capture_output=True, text=True, check=True).stdout
        assert typed["right"] == "the-right-one\n"
        assert typed["empty"] == "\n"
        assert typed["wrong"].strip() not in ("", "the-right-one")

    def test_ssh_is_told_the_program_and_no_secret(self, network: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither arguments nor the environment have one, nor anything of the caller's environment."""
        monkeypatch.setenv("SSH_AUTH_SOCK", "/run/somebodys-agent")
        attempts.make_answers("the-right-one")
        endings = run({WITH_KEY: "env >&2", BATCH: "env >&2"}, network, monkeypatch)
        said = "\n".join(endings[WITH_KEY].said)
        assert "SSH_ASKPASS_REQUIRE=force" in said
        assert "/answers/right" in said
        assert "the-right-one" not in said + " ".join(attempts.command(WITH_KEY))
        assert "SSH_AUTH_SOCK" not in said
        assert "ASKPASS" not in "\n".join(endings[BATCH].said)


class TestKeys:
    @pytest.mark.parametrize(
        ("accepted", "kind"),
        [
            ("ssh-ed25519-cert-v01@openssh.com,ssh-ed25519,ecdsa-sha2-nistp256", "ssh-ed25519"),
            ("ecdsa-sha2-nistp256,rsa-sha2-512", "ecdsa-sha2-nistp256"),
            ("rsa-sha2-512,rsa-sha2-256", "ssh-rsa"),
            ("rsa-sha2-256", "ssh-rsa"),
        ],
    )
    def test_of_a_type_that_sshd_accepts(self, accepted: str, kind: str, tmp_path: Path) -> None:
        """Where the host allows only some."""
        line = attempts.make_key(Key.OWN, accepted)
        assert line.split()[0] == kind
        assert stat.S_IMODE((tmp_path / "keys/own").stat().st_mode) == 0o600

    @pytest.mark.parametrize("accepted", ["", "sk-ssh-ed25519@openssh.com", "ssh-ed25519-cert-v01@openssh.com"])
    def test_none_where_none_is_accepted(self, accepted: str) -> None:
        """Such as a host that takes certificates alone."""
        assert attempts.make_key(Key.ANY, accepted) == ""

    def test_what_ssh_keygen_says_is_told(self, tmp_path: Path) -> None:
        """A key cannot be made twice."""
        attempts.make_key(Key.OWN, "ssh-ed25519")
        (tmp_path / "keys/own").chmod(0o400)
        with pytest.raises(OSError, match="ssh-keygen"):
            attempts.make_key(Key.OWN, "ssh-ed25519")


class TestRun:
    def test_each_ending_is_its_own(self, network: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """By exit status and what ssh said; in the order in which they were asked for."""
        inside = "echo 'Authenticated to x ([x]:22) using \"none\".' >&2"
        outside = "echo 'alice@x: Permission denied (publickey).' >&2; exit 255"
        scripts = dict(zip(TRIED[:3], (inside, outside, "exit 255"), strict=True))
        endings = run(scripts, network, monkeypatch)
        assert list(endings) == list(TRIED[:3])
        assert [ending.text for ending in endings.values()] == ["let in by none", REFUSED, CLOSED]
        assert all(ending.said[-1].startswith("PAM about") for ending in endings.values())

    def test_who_does_not_end_is_not_waited_for(self, network: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """A login that hangs is no refusal."""
        monkeypatch.setattr(attempts, "SECONDS", 0.3)
        assert run({BATCH: "exec sleep 5"}, network, monkeypatch)[BATCH].text == NO_ANSWER

    def test_a_refusal_in_sshds_log_is_enough(self, network: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """The client hears of it seconds later."""
        attempts.make_answers("x")
        line = f"Failed {TYPED.methods[-1]} for {TYPED.account} from {TYPED.source} port 1 ssh2"
        began = time.monotonic()
        endings = run({TYPED: "exec sleep 5"}, network, monkeypatch, Quiet({TYPED.name: [line]}))
        assert endings[TYPED].text == REFUSED
        assert line in endings[TYPED].said
        assert time.monotonic() - began < 5

    def test_but_a_client_that_was_let_in_was_let_in(self, network: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever the log says besides."""
        attempts.make_answers("x")
        line = f"Failed {TYPED.methods[-1]} for {TYPED.account} from {TYPED.source} port 1 ssh2"
        script = "echo 'Authenticated to x ([x]:22) using \"password\".' >&2; exec sleep 5"
        slow = itertools.chain([()], itertools.repeat((line,)))

        class Late(Quiet):
            def logged(self, attempt: Attempt) -> tuple[str, ...]:
                assert attempt is TYPED
                time.sleep(0.2)
                return next(slow)

        assert run({TYPED: script}, network, monkeypatch, Late())[TYPED].text.startswith("let in by password")
