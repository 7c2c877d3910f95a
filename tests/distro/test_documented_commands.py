"""The commands in the documents and manual pages, typed on a booted Debian host in the situations that they are for.

They are typed as they stand there, at a terminal, line by line; only addresses and the decision's id are those of the
site. What a document promises is looked at afterwards.
"""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.distro.doors import BURGLARS, INVITED, LAN_AS_ALWAYS, ON_LAN, all_are, tried
from tests.support.booted_files import Entry, listing
from tests.support.documented import commands
from tests.support.machine import DROP_IN, ENABLE, PASSWORD, Machine, Site
from tests.support.members import ssh
from tests.support.roots import PROJECT, Suite
from tests.support.sandbox import Sandbox
from tests.support.waiting import wait_until
from tests.support.waiting_login import WaitingLogin

_TYPIST = PROJECT / "tests/support/typist.py"
_LOGIN = "/etc/ssh", "/etc/pam.d", "/etc/security"
_SSH_CONFIG = """\
Host server
    HostName {address}
    HostKeyAlias server
    StrictHostKeyChecking accept-new
    ConnectTimeout 10
"""


@dataclass(frozen=True, slots=True)
class Typed:
    """A line, and what came of it."""

    line: str
    status: int
    shown: str


@dataclass
class Desk:
    """An administrator's desk: the machine, and the laptop of somebody who logs in."""

    site: Site
    machine: Machine
    before: dict[str, Entry]
    """What says who may log in, before anything of ours was there."""
    decision: str = "5f0c3a91"
    """The id that somebody was shown."""

    def type(self, block: str, *, answer: str = "y", at: Sandbox | None = None) -> list[Typed]:
        """Types a block line by line, in the folder where the packages are, and answers what is asked."""
        lines = self._here(block).replace("\\\n", " ").splitlines()
        return [self._line(at or self.machine.box, line, answer) for line in lines]

    def must(self, block: str, *, answer: str = "y", at: Sandbox | None = None) -> str:
        """The same, and every line succeeds; answers what was shown."""
        typed = self.type(block, answer=answer, at=at)
        failed = [one for one in typed if one.status != 0]
        assert not failed, (failed, self.machine.report())
        return "".join(one.shown for one in typed)

    def _here(self, text: str) -> str:
        """The names of this site in the place of the documents'."""
        alices = self.site.alices.status()["Self"]["TailscaleIPs"]
        names = {
            "100.64.0.2": alices[0],
            "100.64.0.7": alices[0],
            "fd7a:115c:a1e0::2": alices[1],
            "192.0.2.10": self.machine.lan_address,
            "5f0c3a91": self.decision,
        }
        return re.sub("|".join(map(re.escape, names)), lambda match: names[match[0]], text)

    @staticmethod
    def _line(box: Sandbox, line: str, answer: str) -> Typed:
        box.write("/run/typist.py", _TYPIST.read_text())
        command = 'cd /root; exec /usr/bin/python3 /run/typist.py "$0" "$1"'
        env = {"PAGER": "cat", "SYSTEMD_PAGER": "cat", "TERM": "dumb"}
        done = box.run(["sh", "-euc", command, line, answer], env=env, check=False, timeout=200)
        return Typed(line, done.returncode, done.stdout + done.stderr)

    # How things stand

    def lets_in(self) -> bool:
        """Whether alice gets in over the tailnet with nothing but her laptop."""
        return ssh(self.site.alices, "alice", self.machine.known_ipv4, "-o", "BatchMode=yes").accepted

    def switch_on(self) -> None:
        """Whatever was before."""
        self.machine.run(f"{ENABLE} --replace-edits")
        assert self.lets_in(), self.machine.report()

    def who_may_log_in(self) -> dict[str, Entry]:
        """The files that say so, as they are now."""
        return about_login(self.machine)

    def nothing_is_left(self) -> None:
        """The files are what they were, the LAN goes on, and nobody gets in by what was ours."""
        assert self.who_may_log_in() == self.before
        self.sshd_answers()
        assert tried(self.site, self.machine, *ON_LAN, *BURGLARS, *INVITED) == {
            **LAN_AS_ALWAYS,
            **all_are("refused", (*BURGLARS, *INVITED)),
        }

    @contextmanager
    def without(self, path: str) -> Iterator[None]:
        """While a file of the machine is gone."""
        self.machine.run(f"mv {path} {path}.gone")
        try:
            yield
        finally:
            self.machine.run(f"mv {path}.gone {path}")

    def sshd_answers(self) -> None:
        """Waits until it listens, which it does not for a moment when it reads its configuration again."""
        door = ON_LAN[1]
        wait_until(lambda: tried(self.site, self.machine, door) == all_are("refused", [door]), 10, "sshd answers")


def about_login(machine: Machine) -> dict[str, Entry]:
    """What says who may log in on a machine."""
    return {path: entry for path, entry in listing(machine.box).items() if path.startswith(_LOGIN)}


@pytest.fixture(scope="module")
def bare(site: Site, suite: Suite, packages: tuple[Path, ...]) -> Iterator[Desk]:
    """A host in a tailnet, with our packages in root's home and not installed; and a laptop that knows it by a name."""
    machine = site.machine("documented", suite)
    machine.bring(packages)
    site.alices.box.write("/root/.ssh/config", _SSH_CONFIG.format(address=machine.known_ipv4), 0o600)
    site.bobs.box.write("/root/.ssh/config", _SSH_CONFIG.format(address=machine.known_ipv4), 0o600)
    yield Desk(site, machine, about_login(machine))
    machine.close()


@pytest.fixture(scope="module")
def installed(bare: Desk) -> Desk:
    """Installed and switched on, as the README says."""
    bare.must(commands("README.md", "Install"))
    return bare


@pytest.fixture
def desk(installed: Desk) -> Desk:
    """The host is on."""
    installed.switch_on()
    return installed


# README


def test_two_commands(installed: Desk) -> None:
    """And alice is in, without a key or a password."""
    assert installed.lets_in(), installed.machine.report()


def test_the_first_screen(desk: Desk) -> None:
    """Who is let in, who is told why not, and how the administrator finds the reason."""
    let_in, refused, explained = commands("README.md", "pam_tailscale").splitlines()
    laptop = desk.site.alices.box
    assert desk.type(let_in, answer="exit", at=laptop)[0].status == 0
    (told,) = desk.type(refused, answer="", at=laptop)
    assert re.search(r'tailnet policy does not permit you to SSH as user "bob" \(decision [0-9a-f]{8}\)', told.shown)
    assert "Permission denied (publickey)." in told.shown
    (why,) = desk.type(explained)
    assert (why.status, "deny: user_not_in_rule" in why.shown) == (1, True)


def test_a_check_at_the_prompt(desk: Desk) -> None:
    """Of bob, whom this site's policy asks for one."""
    line = commands("README.md", "Check mode").replace("alice@", "bob@")
    with WaitingLogin(desk.site.bobs.box, shlex.split(line)) as login:
        assert re.search(r"Press Enter now, or after approving \(check [0-9a-f]{8}\): $", login.prompt())
        check = login.page().rstrip("/").rpartition("/")[2]
        desk.site.tailnet.box.run(["/usr/bin/headscale", "auth", "approve", "--auth-id", check])
        assert login.finish() == 0, login.stderr


# Manual pages


def test_status_whois_and_explain(desk: Desk) -> None:
    """By the examples of their pages."""
    assert "ready: logins over the tailnet" in desk.must(commands("man/pam-tailscale-status.8", "EXAMPLES"))
    known = desk.must(commands("man/pam-tailscale-whois.8", "EXAMPLES"))
    assert known.count("alice@example.com") == 2
    assert desk.must(commands("man/pam-tailscale-explain.8", "EXAMPLES")).count("allow: accepted") == 2


def test_a_policy_file_is_tested_and_compared(desk: Desk) -> None:
    """With the tailnet as this node sees it. A policy that lets alice be root on the machines gives her root."""
    box = desk.machine.box
    test = {"src": "alice@example.com", "dst": ["tag:server"], "accept": ["root"]}
    rule = {"action": "accept", "src": ["alice@example.com"], "dst": ["tag:server"], "users": ["root"]}
    policy = {"tagOwners": {"tag:server": []}, "ssh": [rule], "sshTests": [test]}
    box.write("/root/policy.hujson", json.dumps(policy))
    box.write("/root/old.hujson", "{} // nothing yet\n")
    *before, compared, live = desk.type(commands("man/pam-tailscale-policy.8", "EXAMPLES"))
    assert [one.status for one in before] == [0, 0, 0], before
    assert (live.status, "alice@example.com" in live.shown) == (0, True), live
    assert (compared.status, "root access gained" in compared.shown) == (1, True), compared


def test_check_tells_and_forgets(desk: Desk) -> None:
    """Forgetting says what it has not reached: this site's control plane remembers for itself."""
    shown, forgotten = desk.type(commands("man/pam-tailscale-check.8", "EXAMPLES"))
    assert shown.status == 0
    assert (forgotten.status, "not reached" in forgotten.shown) == (1, True)


def test_doctor_finds_nothing(desk: Desk) -> None:
    """With and without a login."""
    alone, login = desk.type(commands("man/pam-tailscale-doctor.8", "EXAMPLES"))
    assert (alone.status, login.status) == (0, 0), (alone.shown, login.shown)
    assert "allow: accepted" in login.shown


def test_the_agents_journal(desk: Desk) -> None:
    """A decision is found by time, by person and by its id; a reload leaves the agent up."""
    desk.decision = refused_decision(desk)
    hour, person, one, reload = desk.type(commands("man/pam-tailscale-agent.8", "EXAMPLES"))
    assert f"id={desk.decision}" in hour.shown
    assert "reason=user_not_in_rule" in person.shown
    assert "reason=user_not_in_rule" in one.shown
    assert reload.status == 0
    wait_until(desk.lets_in, 10, "alice gets in after the reload")


def refused_decision(desk: Desk) -> str:
    """Somebody is refused, and reads an id."""
    told = ssh(desk.site.alices, "bob", desk.machine.known_ipv4).stderr
    match = re.search(r"\(decision ([0-9a-f]{8})\)", told)
    assert match is not None, told
    return match[1]


def test_enable_and_disable(desk: Desk) -> None:
    """By the examples of their pages, which begin with a look."""
    look, off = desk.type(commands("man/pam-tailscale-disable.8", "EXAMPLES"))
    assert (look.status, off.status) == (0, 0)
    assert "pam_tailscale" in look.shown
    desk.nothing_is_left()
    look, on = desk.type(commands("man/pam-tailscale-enable.8", "EXAMPLES"))
    assert (look.status, on.status) == (0, 0), (look.shown, on.shown)
    assert "It would make these differences:" in look.shown
    assert '"on": true' in on.shown
    assert desk.lets_in()


def alter_a_half(desk: Desk) -> None:
    """Somebody edits a file of ours, and check-halves acts."""
    path = desk.machine.pam_half
    desk.machine.run(f"sed -i 's/die/ignore/' {path}")
    wait_until(lambda: not desk.machine.box.exists(DROP_IN), 5, "the drop-in is out of force")


def test_documents_are_where_the_pages_say(desk: Desk) -> None:
    """And pages, other than those of programs that a host need not have."""
    sources = [page.read_text() for page in sorted((PROJECT / "man").iterdir())]
    named = sorted({path for text in sources for path in re.findall(r"^\.Pa (/usr/\S+)", text, re.MULTILINE)})
    assert len(named) > 2
    desk.machine.run(f"ls -d {' '.join(named)}")


def test_what_check_halves_did(desk: Desk) -> None:
    """It is in the journal, and enable puts both halves back."""
    alter_a_half(desk)
    told, back = desk.type(commands("man/pam-tailscale-check-halves.8", "EXAMPLES"))
    assert "The drop-in is now" in told.shown
    assert back.status == 0, back.shown
    assert desk.lets_in()


# docs/troubleshooting.md


def test_looking_for_a_reason(desk: Desk) -> None:
    """The decision's id finds it; without the id the same login is decided again; and the whole is in order."""
    desk.decision = refused_decision(desk)
    assert "reason=user_not_in_rule" in desk.must(commands("docs/troubleshooting.md", "Troubleshooting", 1))
    assert "allow: accepted" in desk.must(commands("docs/troubleshooting.md", "Troubleshooting", 2))
    desk.must(commands("docs/troubleshooting.md", "Troubleshooting", 3))


def test_another_server_answers(desk: Desk) -> None:
    """Tailscale's own is switched off."""
    desk.must(
        commands(
            "docs/troubleshooting.md",
            '`tailscale: tailnet policy does not permit you to SSH as user "bob" (decision 5f0c3a91)`',
        )
    )
    assert desk.lets_in()


def test_the_agent_does_not_answer(desk: Desk) -> None:
    """The person reads so, the administrator sees it, and starts the agent."""
    desk.machine.run("systemctl stop pam-tailscale-agent.socket pam-tailscale-agent.service")
    told = ssh(desk.site.alices, "alice", desk.machine.known_ipv4).stderr
    assert "tailscale: this host cannot ask the tailnet's policy at the moment, try again later\n" in told
    looked, started = desk.type(
        commands(
            "docs/troubleshooting.md",
            "`tailscale: this host cannot ask the tailnet's policy at the moment, try again later`",
        )
    )
    assert "inactive (dead)" in looked.shown
    assert started.status == 0
    wait_until(desk.lets_in, 20, "alice gets in again")
    desk.machine.run("systemctl stop pam-tailscale-agent.socket pam-tailscale-agent.service")
    (asked,) = desk.type("pam-tailscale status")
    assert "the agent cannot be reached at" in asked.shown
    desk.must(commands("docs/troubleshooting.md", "`the agent cannot be reached at …`"))
    wait_until(desk.lets_in, 20, "alice gets in again")


def test_sshd_does_not_run(desk: Desk) -> None:
    """The client says that nobody listens; then it runs."""
    desk.machine.run("systemctl stop ssh")
    assert "Connection refused" in ssh(desk.site.alices, "alice", desk.machine.known_ipv4).stderr
    desk.must(commands("docs/troubleshooting.md", "`Connection refused`"))
    assert desk.lets_in()


def test_the_tailnet_is_looked_at(desk: Desk) -> None:
    """By tailscale's own command."""
    assert desk.machine.known_ipv4 in desk.must(commands("docs/troubleshooting.md", "`Connection timed out`"))


def test_host_keys(desk: Desk) -> None:
    """The fingerprint on the host is the one that the client has seen; a client that has seen another forgets it."""
    laptop = desk.site.alices.box
    on_host = desk.must(
        commands(
            "docs/troubleshooting.md",
            "`The authenticity of host 'server (100.64.0.1)' can't be established.`",
        )
    )
    laptop.run(["ssh", "-o", "BatchMode=yes", "-o", "HostKeyAlgorithms=ssh-ed25519", "alice@server", "true"])
    seen = laptop.run(["ssh-keygen", "-lF", "server"]).stdout
    (fingerprint,) = re.findall(r"SHA256:\S+", on_host)
    assert fingerprint in seen
    laptop.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/other"])
    other = laptop.read("/root/other.pub")
    laptop.write("/root/.ssh/known_hosts", f"server {other}")
    changed = laptop.run(["ssh", "-o", "BatchMode=yes", "alice@server", "true"], check=False).stderr
    assert "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!" in changed
    desk.must(commands("docs/troubleshooting.md", "`WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!`"), at=laptop)
    laptop.run(["ssh", "-o", "BatchMode=yes", "alice@server", "true"])


def test_who_may_ask_about_others(desk: Desk) -> None:
    """Alice may, once she is in the group."""
    ask = ["pam-tailscale", "whois", desk.site.alices.ipv4]
    refused = desk.machine.box.run(ask, user="alice", check=False)
    assert "only root and members of the group pam-tailscale-admin may ask this: use sudo" in refused.stderr
    desk.must(commands("docs/troubleshooting.md", "`only root and members of the group … may ask this: use sudo`"))
    assert "alice@example.com" in desk.machine.box.run(ask, user="alice").stdout
    desk.machine.run("gpasswd --delete alice pam-tailscale-admin")


def test_after_an_upgrade(desk: Desk) -> None:
    """Nothing is to be done where the files fit."""
    shown = desk.must(
        commands("docs/troubleshooting.md", "`sshd's and PAM's files could not be fitted to what is installed`")
    )
    assert "Already on: nothing to change." in shown


def test_a_half_was_altered(desk: Desk) -> None:
    """Then nobody gets in by the policy, until enable has written both halves anew."""
    alter_a_half(desk)
    wait_until(lambda: not desk.lets_in(), 10, "sshd has read its configuration again")
    desk.must(commands("docs/troubleshooting.md", "`The drop-in is now …`"))
    assert desk.lets_in()


# docs/break-glass.md


def test_another_way_in(desk: Desk) -> None:
    """From the LAN, as root with a key."""
    line = commands("docs/break-glass.md", "Keep another way in")
    client = desk.site.clients["the LAN"]
    key = client.public_key("root")
    desk.machine.box.write("/root/.ssh/authorized_keys", key, 0o600)
    options = client.options(key=client.make_key("root"))
    argv = shlex.split(line.replace("192.0.2.10", desk.machine.lan_address))
    client.box.run([argv[0], *options, *argv[1:]])
    desk.machine.run("rm -r /root/.ssh")


def test_looking_and_switching_off(desk: Desk) -> None:
    """Both say that all is well; then everything is as it was."""
    desk.must(commands("docs/break-glass.md", "Nobody gets in over the tailnet", 1))
    desk.must(commands("docs/break-glass.md", "Nobody gets in over the tailnet", 2))
    desk.nothing_is_left()


def test_switching_off_by_hand(desk: Desk) -> None:
    """In the document's order; after each step the tailnet's door is shut to whoever the policy does not let in."""
    first = commands("docs/break-glass.md", "Without our command", 1)
    waiting = commands("docs/break-glass.md", "Without our command", 2)
    from_9_8 = commands("docs/break-glass.md", "Without our command", 3)
    before_9_8 = commands("docs/break-glass.md", "Without our command", 4)
    last = commands("docs/break-glass.md", "Without our command", 5)
    with desk.without("/usr/bin/pam-tailscale"):
        for block in (first, waiting, from_9_8 if desk.machine.has_service_names else before_9_8, last):
            desk.must(block)
            desk.sshd_answers()
            assert tried(desk.site, desk.machine, *BURGLARS) == all_are("refused", BURGLARS)
    desk.nothing_is_left()
    assert desk.machine.failed_units() == []
    assert "It is not switched on here" in desk.machine.run("pam-tailscale enable --refresh --yes").stdout
    desk.nothing_is_left()


def test_sshd_does_not_start(desk: Desk) -> None:
    """Because of a drop-in that somebody has spoilt."""
    desk.machine.run(f"systemctl stop pam-tailscale-halves.path; echo Nonsense yes >> {DROP_IN}; systemctl stop ssh")
    desk.must(commands("docs/break-glass.md", "sshd does not start"))
    desk.sshd_answers()
    assert tried(desk.site, desk.machine, *ON_LAN, *BURGLARS) == {**LAN_AS_ALWAYS, **all_are("refused", BURGLARS)}


def test_a_change_was_interrupted(desk: Desk) -> None:
    """Somebody kills enable while it proves; the next run takes that back."""
    desk.machine.run("pam-tailscale disable --yes")
    running = desk.machine.box.popen(["pam-tailscale", "enable", "--yes"], "/root/enable.log")
    wait_until(lambda: desk.machine.box.exists("/var/lib/pam-tailscale/change.json"), 20, "the change is under way")
    running.kill()
    running.wait(10)
    shown = desk.must(commands("docs/break-glass.md", "A change was interrupted"))
    assert "an earlier run was interrupted while switching on: taking it back" in shown
    desk.nothing_is_left()


def test_openssh_is_upgraded(desk: Desk) -> None:
    """To the version that it has, which runs the same trigger: the host stays on, and is in order."""
    desk.machine.run("dpkg -i /var/cache/apt/archives/openssh-*.deb", timeout=180)
    desk.must(commands("docs/break-glass.md", "openssh-server is upgraded"))
    assert desk.lets_in()


def test_after_a_reboot(desk: Desk) -> None:
    """The LAN is open at once; tailscaled is looked at."""
    desk.machine.reboot()
    client = desk.site.clients["the LAN"]
    assert client.ssh("alice", desk.machine.lan_address, password=PASSWORD).returncode == 0
    wait_until(lambda: desk.machine.status()["BackendState"] == "Running", 60, "tailscaled is up")
    desk.must(commands("docs/break-glass.md", "After a reboot"))
    wait_until(desk.lets_in, 60, "alice gets in again")


def test_the_host_becomes_another_node(desk: Desk) -> None:
    """Nobody gets in until root says that it is meant."""
    desk.machine.run("systemctl stop tailscaled; rm /var/lib/tailscale/tailscaled.state; systemctl start tailscaled")
    desk.site.join(desk.machine)
    desk.site.alices.box.write("/root/.ssh/config", _SSH_CONFIG.format(address=desk.machine.known_ipv4), 0o600)
    assert not desk.lets_in()
    desk.must(commands("docs/break-glass.md", "The tailnet itself"))
    wait_until(desk.lets_in, 10, "alice gets in at the new node")


# README, the end


def test_off_and_away(desk: Desk) -> None:
    """Doctor, off, purged: what says who may log in is what it was. And on again, by the first manual page."""
    looked, off, gone = desk.type(commands("README.md", "Install", 2))
    assert [looked.status, off.status, gone.status] == [0, 0, 0], (looked.shown, off.shown, gone.shown)
    assert "Off: sshd and PAM are what they were." in off.shown
    assert desk.machine.installed("pam-tailscale") == ""
    desk.nothing_is_left()
    desk.must(commands("man/pam-tailscale.8", "EXAMPLES"))
    assert desk.lets_in(), desk.machine.report()


def test_the_shell_of_these_tests_shows_failures(bare: Desk) -> None:
    """A line that fails is seen to fail."""
    (typed,) = bare.type("ls /nowhere")
    assert typed.status != 0
    with pytest.raises(subprocess.CalledProcessError):
        bare.machine.run("ls /nowhere")
