"""Questions to sshd, systemd and tailscaled."""

import ipaddress
from pathlib import Path

import pytest

from pam_tailscale.errors import HostError
from pam_tailscale.host import sshd
from pam_tailscale.host.doctor import ask
from pam_tailscale.host.facts import Socket
from tests.support.localapi import serving, small_tailnet

OWN = (ipaddress.ip_address("100.64.0.1"), ipaddress.ip_address("fd7a:115c:a1e0::1"))
ANY4, ANY6 = ipaddress.ip_address("0.0.0.0"), ipaddress.ip_address("::")
DENIED = "pam-tailscale@100.64.0.1: Permission denied (publickey,keyboard-interactive)."


class Programs:
    """Programs that answer what a test tells them, and what they were asked."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        monkeypatch.setenv("PATH", str(path), prepend=":")
        monkeypatch.setattr(sshd, "PROGRAM", str(path / "sshd"))
        monkeypatch.setattr(sshd, "PRIVSEP", path / "privsep")

    def answer(self, name: str, out: str = "", err: str = "", status: int = 0) -> None:
        """Lay down a program."""
        (self.path / f"{name}.out").write_text(out)
        (self.path / f"{name}.err").write_text(err)
        program = self.path / name
        lines = f'echo "$*" >> {program}.log; cat {program}.out; cat {program}.err >&2; exit {status}'
        program.write_text(f"#!/bin/sh\n{lines}\n")
        program.chmod(0o755)

    def asked(self, name: str) -> list[str]:
        """The arguments of each run."""
        log = self.path / f"{name}.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Nothing of the machine's own is run."""
    return Programs(tmp_path, monkeypatch)


def test_effects(programs: Programs) -> None:
    """One question for each account and address, with the listener's own options."""
    programs.answer("sshd", "permitrootlogin yes\n")
    found = ask.effects(["root"], OWN, 22, ["Port=2222"])
    assert [(one.user, one.address, one.found.one("permitrootlogin")) for one in found] == [
        ("root", str(address), "yes") for address in OWN
    ]
    assert programs.asked("sshd")[0] == (
        "-T -f /etc/ssh/sshd_config -o Port=2222 -C user=root,host=100.64.0.1,addr=100.64.0.1,laddr=100.64.0.1,lport=22"
    )


def test_sshd_refuses_its_files(programs: Programs) -> None:
    """With what it says last."""
    programs.answer("sshd", err="one\n/etc/ssh/sshd_config line 1: bad\n", status=255)
    with pytest.raises(HostError, match="line 1: bad"):
        ask.effects(["root"], OWN, 22, [])


def test_offers(programs: Programs) -> None:
    """At each address and port where somebody listens, from that very address."""
    programs.answer("ssh", err=f"{DENIED}\n", status=255)
    listening = [Socket(ANY4, 22), Socket(ANY4, 2222), Socket(OWN[1], 22), Socket(ipaddress.ip_address("192.0.2.1"), 9)]
    found = ask.offers("pam-tailscale", OWN, listening)
    assert [offer.address for offer in found] == ["100.64.0.1:22", "100.64.0.1:2222", "[fd7a:115c:a1e0::1]:22"]
    assert {offer.methods for offer in found} == {frozenset({"publickey", "keyboard-interactive"})}
    assert all("PreferredAuthentications=none" in line for line in programs.asked("ssh"))
    assert "-b 100.64.0.1 -p 22 -l pam-tailscale -- 100.64.0.1 true" in programs.asked("ssh")[0]


@pytest.mark.parametrize(
    ("err", "status", "text"),
    [
        ("ssh: connect to host: Connection refused\n", 255, "does not answer.*Connection refused"),
        ("", 255, "ssh says nothing"),
    ],
    ids=["refused", "silent"],
)
def test_no_offer(programs: Programs, err: str, status: int, text: str) -> None:
    """Is an error."""
    programs.answer("ssh", err=err, status=status)
    with pytest.raises(HostError, match=text):
        ask.offers("pam-tailscale", OWN, [Socket(ANY4, 22), Socket(ANY6, 22)])


@pytest.mark.parametrize("status", [0, 1, 255], ids=["a shell", "no shell", "a session that fails"])
def test_let_in(programs: Programs, status: int) -> None:
    """Whatever comes of the session: ssh says that it was authenticated."""
    programs.answer("ssh", err='Authenticated to 100.64.0.1 ([100.64.0.1]:22) using "none".\n', status=status)
    (offer,) = ask.offers("pam-tailscale", OWN[:1], [Socket(ANY4, 22)])
    assert (offer.let_in, offer.methods) == (True, frozenset())


def test_nobody_is_asked_where_nobody_listens(programs: Programs) -> None:
    """For instance a daemon of the LAN alone."""
    programs.answer("ssh", status=255)
    assert ask.offers("pam-tailscale", OWN, [Socket(ipaddress.ip_address("192.0.2.1"), 22)]) == ()
    assert programs.asked("ssh") == []


def test_units(programs: Programs) -> None:
    """Blocks of properties; a list comes line by line."""
    block = "Id=ssh.service\nLoadState=loaded\nExecReload={ a }\nExecReload={ b }\n"
    programs.answer("systemctl", f"{block}\nId=x.path\nActiveState=active\n")
    ssh, other = ask.units()
    assert (ssh.name, ssh.says("ExecReload"), ssh.says("UnitFileState")) == ("ssh.service", "{ a }\n{ b }", "")
    assert (other.name, other.says("ActiveState")) == ("x.path", "active")


def test_systemd_does_not_answer(programs: Programs) -> None:
    """With its own words."""
    programs.answer("systemctl", err="Failed to connect to bus\n", status=1)
    with pytest.raises(HostError, match="connect to bus"):
        ask.units()


def test_a_program_that_is_not_there(programs: Programs) -> None:
    """Is an error of the host."""
    with pytest.raises(HostError, match="does not run"):
        ask.effects(["root"], OWN, 22, [])
    assert programs.asked("sshd") == []


# tailscaled


@pytest.mark.parametrize("version", ["1.104.5", "1.102.5"])
def test_policy(tmp_path: Path, version: str) -> None:
    """As root reads it, from either generation of tailscaled."""
    socket, tailnet = tmp_path / "tailscaled.sock", small_tailnet()
    tailnet.version = version
    with serving(socket, tailnet):
        policy = ask.policy(socket, version)
    assert [rule.users for rule in policy.rules] == [{"alice": "="}]


def test_no_policy(tmp_path: Path) -> None:
    """Has no rules."""
    socket, tailnet = tmp_path / "tailscaled.sock", small_tailnet()
    tailnet.rules = None
    with serving(socket, tailnet):
        assert ask.policy(socket, "1.104.5").rules == ()
