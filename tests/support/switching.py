"""Switching a sandbox on and off as an administrator does, with the steps of it killed, and a look at all its files."""

import json
from dataclasses import dataclass
from typing import Any

from pam_tailscale.host.arrangement import PATHS, removed
from tests.support.host import Host

_LOOK = """
import hashlib, json, os, stat
found = {}
for top in ("/etc", "/var/lib/pam-tailscale", "/usr/libexec/pam-tailscale"):
    for directory, directories, names in os.walk(top):
        for name in [*directories, *names]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            content = ""
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            found[path] = [oct(status.st_mode), status.st_uid, status.st_gid, content]
print(json.dumps(found))
"""
# Counts what changes the host, and kills itself before the one it is told to.
_KILLED = """
import os, signal, sys
from pam_tailscale.host import asking, files, sshd, switch
from pam_tailscale.host.proving import proof
from pam_tailscale.cli.main import main
steps = 0
# It comes third, after the journal and the pin; what follows does not depend on it, and takes half the time without.
if {number} > 3:
    proof.prove = lambda plan, say: ()
def before(function):
    def step(*args, **options):
        global steps
        steps += 1
        if steps == {number}:
            os.kill(os.getpid(), signal.{signal})
        return function(*args, **options)
    return step
files.Files.put = before(files.Files.put)
sshd.Sshd.reload = before(sshd.Sshd.reload)
asking.ask = before(asking.ask)
switch.end_waiting = before(switch.end_waiting)
proof.prove = before(proof.prove)
sys.argv = ["pam-tailscale", *{arguments!r}]
main()
"""

# Somebody's `systemctl reload ssh`, at the moment when the drop-in goes from the disk: sshd has read it by then and has
# no socket, so that it looks as if it were down.
_RACE = """
import os, signal, sys, time
from pam_tailscale.host import files, listeners
from pam_tailscale.cli.main import main
put, before = files.Files.put, listeners.find()
def racing(self, file):
    if file.path.endswith("10-pam-tailscale.conf") and file.content is None:
        os.kill(before[0].pid, signal.SIGHUP)
        while listeners.find() == before:
            pass
        time.sleep({delay})
    return put(self, file)
files.Files.put = racing
sys.argv = ["pam-tailscale", "disable", "--yes", "--json"]
main()
"""

BROKEN = "/etc/ssh/sshd_config.d/60-broken.conf"
"""Where a test writes what sshd does not understand."""
Looked = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Switched:
    """How a run ended."""

    status: int
    document: dict[str, Any]
    err: str


def take_away(host: Host) -> None:
    """The host as it is after installing the package: everything is there, and nothing is switched on."""
    present = {path: host.box.read(path).encode() for path in PATHS if host.box.exists(path)}
    for file in removed(present):
        if file.content is None:
            host.box.run(["rm", "-f", file.path])
        else:
            host.box.write(file.path, file.content)
    host.box.run(["rm", "-rf", "/var/lib/pam-tailscale"])
    host.box.run(["install", "-d", "-m", "0755", "/var/lib/pam-tailscale", "/var/lib/pam-tailscale/halves"])


def switch(host: Host, *arguments: str) -> Switched:
    """`pam-tailscale enable` or `disable`, as a program runs it."""
    ran = host.cli(*arguments, "--yes", "--json", check=False)
    return Switched(ran.returncode, json.loads(ran.stdout) if ran.stdout else {}, ran.stderr)


def switch_without(host: Host, lines: str, *arguments: str) -> Switched:
    """The same with lines of Python in front that switch something of it off."""
    argv = ["pam-tailscale", *arguments, "--yes", "--json"]
    program = f"{lines}\nimport sys\nfrom pam_tailscale.cli.main import main\nsys.argv = {argv!r}\nmain()\n"
    ran = host.box.run([host.python, "-c", program], env=host._env, check=False)
    return Switched(ran.returncode, json.loads(ran.stdout) if ran.stdout else {}, ran.stderr)


def killed_at(host: Host, number: int, *arguments: str, signal: str = "SIGKILL") -> bool:
    """The same, with a signal before its `number`th step; False where it has not that many."""
    program = _KILLED.format(number=number, arguments=[*arguments, "--yes", "--json"], signal=signal)
    ran = host.box.run([host.python, "-c", program], env=host._env, check=False)
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.returncode != 0


def disable_in_a_race(host: Host, delay: float) -> None:
    """`disable`, while somebody else has sshd read its files; `delay`: seconds until the drop-in goes."""
    host.box.run([host.python, "-c", _RACE.format(delay=delay)], env=host._env)


def switch_on_unproved(host: Host) -> None:
    """`enable` without its proof, for a test that is about what comes after."""
    assert not killed_at(host, 1000, "enable")


def look(host: Host) -> Looked:
    """Everything in the directories that we write to: mode, owner, content."""
    found: Looked = json.loads(host.box.run([host.python, "-c", _LOOK]).stdout)
    return found
