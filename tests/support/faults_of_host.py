"""Hosts on which something is in the way of switching on: how each fault is made, and how the host is mended again."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from contrib.demo.tailnet import Node, nodes_rule
from tests.support.host import Host
from tests.support.roots import Suite
from tests.support.scene import Scene
from tests.support.switching import Looked, look, take_away
from tests.support.waiting import wait_until

SSHD = "/usr/sbin/sshd"
SSHD_CONFIG = "/etc/ssh/sshd_config"
CONFIG_DIRECTORY = "/etc/ssh/sshd_config.d"
_KEPT = ("/etc", "/usr/libexec/pam-tailscale")
_STATE = "/var/lib/pam-tailscale"
_PROGRAM = "/usr/local/sbin/systemctl"
_KEEP = """
for top in {tops} {state}; do mkdir -p /run/kept$top; cp -a $top/. /run/kept$top; done
cp -a {files} /run/kept
"""
_MEND = """
for top in {tops}; do find $top -mindepth 1 -delete; cp -a /run/kept$top/. $top; done
find {state} -mindepth 1 -maxdepth 1 ! -name agent -exec rm -r {{}} +
find /run/kept{state} -mindepth 1 -maxdepth 1 ! -name agent -exec cp -a -t {state} {{}} +
"""
# What systemd would say where it runs; whatever else it is told, it does nothing and says that all is well.
_SYSTEMCTL = """#!/bin/sh
main_pid=$(cat /run/sshd.pid 2> /dev/null || echo 0)
case "$*" in
*--property=MainPID*) echo "$main_pid" ;;
*--property=Listen*) echo "0.0.0.0:22 (Stream)" ;;
show*ssh.socket) echo "ActiveState={socket}" ;;
is-active*ssh.socket) [ {socket} = active ] ;;
restart*ssh.service) /usr/sbin/sshd -E /var/log/sshd-by-systemd.log ;;
reload*ssh.service) kill -HUP "$main_pid" ;;
show*ssh.service)
    echo "MainPID=$main_pid"
    cat <<-'END'
{service}
END
;;
esac
"""
_GUARDED = """\
ExecStartPre={ path=/usr/libexec/pam-tailscale/check-halves ; }
ExecReload={ path=/usr/libexec/pam-tailscale/check-halves ; }
ExecReload={ path=/bin/kill ; argv[]=/bin/kill -HUP $MAINPID ; }"""


class Lab:
    """A host on which everything is installed and nothing is switched on, and on which things can be broken.

    Its sshd runs as Debian starts it, `sshd -D`. Everything that a fault changes is put back by `mended`.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.host: Host = scene.host
        self.box = scene.host.box
        self._undo = ExitStack()
        self._agent_is_stale = False
        self._starts = 0
        take_away(self.host)
        # Tests fail to log in all the time; what is shut out for that is not what they ask.
        penalties = "PerSourcePenalties no\n" if self.host.has_service_names else ""
        self.edit(SSHD_CONFIG, lambda text: f"LogLevel VERBOSE\n{penalties}{text}")
        self._files = f"{SSHD} {self.host.module_file}"
        self.box.run(["sh", "-eu", "-c", _KEEP.format(tops=" ".join(_KEPT), state=_STATE, files=self._files)])
        self.start_sshd()
        self.whole = self.look()

    def look(self) -> Looked:
        """Every file that we might write, and all beside it; what the agent remembers of checks is its own."""
        return {path: entry for path, entry in look(self.host).items() if not path.startswith(f"{_STATE}/agent")}

    # Breaking

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """A file."""
        self.box.write(path, text, mode)

    def edit(self, path: str, change: Callable[[str], str]) -> None:
        """A file that is there."""
        self.write(path, change(self.box.read(path)))

    def sshd_config(self, text: str, name: str = "60-local.conf") -> None:
        """A file in sshd_config.d, which a fresh sshd has read."""
        self.write(f"{CONFIG_DIRECTORY}/{name}", text)
        self.start_sshd()

    def run(self, *argv: str, undo: tuple[str, ...] = ()) -> None:
        """A command inside, and what takes it back."""
        self.box.run(argv)
        if undo:
            self.on_mending(*undo)

    def on_mending(self, *argv: str) -> None:
        """A command that takes something back."""
        self._undo.callback(self.box.run, argv)

    def start_sshd(self, *arguments: str, program: str = SSHD) -> None:
        """Sshd anew, as Debian starts it, with more arguments or another program."""
        self.host.stop_sshd()
        self.host.sshd = self._listening(program, *arguments)

    def start_another_sshd(self, *arguments: str) -> None:
        """One beside it."""
        other = self._listening(SSHD, *arguments)
        self._undo.callback(other.wait, 20)
        self._undo.callback(other.terminate)

    def _listening(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        self._starts += 1
        log = f"/var/log/sshd-fault-{self._starts}.log"
        sshd = self.box.popen([program, "-D", "-E", log, *arguments], "/var/log/sshd-output.log")

        def listening() -> bool:
            said = self.box.read(log) if self.box.exists(log) else ""
            if sshd.poll() is not None:
                raise RuntimeError(f"sshd ended with {sshd.returncode}: {said}")
            return "Server listening on" in said

        wait_until(listening, 10, "sshd listens")
        return sshd

    def tailnet(self, **changes: Any) -> None:
        """Other attributes of the embedded tailnet."""
        for name, value in changes.items():
            self._undo.callback(setattr, self.scene.tailnet, name, getattr(self.scene.tailnet, name))
            setattr(self.scene.tailnet, name, value)
        self._changed()

    def prefs(self, **changes: Any) -> None:
        """Other settings of tailscaled."""
        self.tailnet(prefs={**self.scene.tailnet.prefs, **changes})

    def rules(self, *rules: Any) -> None:
        """Another policy of the tailnet, of so many rules that the agent can be seen to have it."""
        self.tailnet(rules=[*rules, *[nodes_rule([self.scene.nodes.stranger], {})] * 8])
        self.until_known()

    def _changed(self) -> None:
        self.scene.tailnet.changed()
        self._undo.callback(self.scene.tailnet.changed)
        self._agent_is_stale = True

    def agent_config(self, text: str) -> None:
        """Another configuration, which the agent has read."""
        self.host.configure(text)
        self.restart_agent()

    def restart_agent(self) -> None:
        """A fresh agent."""
        self._agent_is_stale = True
        self.host.stop_agent()
        self.host.start_agent()

    def stop_agent(self) -> None:
        """None."""
        self._agent_is_stale = True
        self.host.stop_agent()

    def systemd(self, service: str = "", socket: str = "inactive") -> None:
        """A host that systemd runs, as far as it is asked: there is none in a sandbox."""
        shown = f"LoadState=loaded\nActiveState=active\n{_GUARDED}"
        for line in service.splitlines():
            name = line.partition("=")[0]
            shown = "\n".join([*(one for one in shown.splitlines() if not one.startswith(f"{name}=")), line])
        self.write(_PROGRAM, _SYSTEMCTL.format(socket=socket, service=shown), 0o755)
        self._undo.callback(self.box.run, ["rm", _PROGRAM])
        self.run("mkdir", "-p", "/run/systemd/system", undo=("rmdir", "/run/systemd/system"))

    def until_known(self) -> None:
        """Waits until the agent knows the tailnet and its policy."""
        expected = [len(self.scene.tailnet.rules or [])]

        def known() -> bool:
            status = self.scene.status()
            return (
                status["tailscaled"]["state"] == "Running" and [one["rules"] for one in status["sources"]] == expected
            )

        wait_until(known, 20, "the agent knows the tailnet")

    def until_agent_says(self, text: str) -> None:
        """Waits until the agent has seen something and says so."""
        wait_until(lambda: text in str(self.scene.status()), 20, f"the agent says {text!r}")

    # Mending

    @contextmanager
    def mended(self) -> Iterator[Self]:
        """Whatever is broken in the block is whole again after it."""
        try:
            yield self
        finally:
            self._undo.close()
            self.box.run(["sh", "-eu", "-c", _MEND.format(tops=" ".join(_KEPT), state=_STATE)])
            for path in self._files.split():
                # By a rename: what runs cannot be written to.
                self.box.run(["sh", "-eu", "-c", 'cp -a "/run/kept/${0##*/}" "$0.kept" && mv "$0.kept" "$0"', path])
            self.start_sshd()
            if self._agent_is_stale:
                self._agent_is_stale = False
                self.host.stop_agent()
                self.host.start_agent()
                self.until_known()


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in the way, and what comes of it."""

    row: str
    """The row of the table that sees it."""
    make: Callable[[Lab], None]
    answer: tuple[str, ...] = ()
    """Options with which an ASK is answered."""
    suites: tuple[Suite, ...] = ("bookworm", "trixie")
    name: str = ""
    """Where a row has several."""
    node: Callable[[Scene], Node] | None = None
    """The node from which root runs the command, over the tailnet; None: it is run on the host."""
    lan: bool = True
    """Whether alice gets in by password from the LAN while the host is broken like that."""
    after: Callable[[Lab], None] = field(default=lambda _: None)
    """What is to be seen once it is switched on all the same."""

    def __str__(self) -> str:
        return f"{self.row}-{self.name}" if self.name else self.row
