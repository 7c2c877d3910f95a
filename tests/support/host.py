"""A host with our product installed: a sandbox with stock sshd, our module, helper and agent, and switched on.

sshd's and PAM's files are those that `pam-tailscale enable` writes. tailscaled is not here: a real one or an embedded
LocalAPI must serve the sandbox's /run/tailscale/tailscaled.sock.
"""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from pam_tailscale import paths
from pam_tailscale.host import version
from pam_tailscale.host.answers import Methods
from pam_tailscale.host.arrangement import File, Wanted, arrange
from tests.support.logs import DatagramLog, journal_fields
from tests.support.roots import PROJECT
from tests.support.sandbox import Sandbox
from tests.support.shims import Shims
from tests.support.waiting import wait_until

CHECK_HALVES = "/usr/libexec/pam-tailscale/check-halves"
DROP_IN = str(paths.DROP_IN)
DISABLED = str(paths.DROP_IN_DISABLED)
HALVES = str(paths.HALVES_DIR)
"""Where the references are."""
LOCAL_CONF = "/etc/ssh/sshd_config.d/50-local.conf"
HELPER = str(paths.KEY_HELPER)
CONFIG = str(paths.CONFIG)
PIN = str(paths.PIN)
ROOT_PASSWORD = "root-password"
USER_PASSWORD = "user-password"
PEOPLE = ("alice", "bob")
_UNFINISHED = ("[accepted]", "[preauth]", "[net]", "[pam]")  # in the titles of sshd's processes (monitor, auth-pam.c)

_PIN_OF_NOW = """
from pam_tailscale import paths, pin
from pam_tailscale.host.pinning import pin_of
from pam_tailscale.tailnet.localapi import LocalAPI
api = LocalAPI(paths.TAILSCALED_SOCKET)
print(pin.encode(pin_of(api.status(), api.prefs())).decode(), end="")
"""
_USERS = """
groupadd --system pam-tailscale-admin
for user in pam-tailscale pam-tailscale-keys; do
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin $user
done
install -d -m 0755 /etc/pam-tailscale /var/lib/pam-tailscale /usr/libexec/pam-tailscale /run/pam-tailscale /run/sshd
"""


class Host:
    """Our product in a sandbox. Making one installs it; nothing runs until the start_... methods are called.

    `python` runs the agent and the command line; `module_path` is where it finds our package. On the host are alice and
    bob with the password USER_PASSWORD, root with ROOT_PASSWORD, and decoy with an empty one; over the LAN root may use
    the password, so that an open door over the tailnet would be noticed.
    """

    def __init__(
        self,
        box: Sandbox,
        shims: Shims,
        *,
        config: str = "",
        python: str = "/usr/bin/python3",
        module_path: str = "/opt/pam-tailscale",
    ) -> None:
        self.box = box
        self.python = python
        self.agent: subprocess.Popen[bytes] | None = None
        self.reader: subprocess.Popen[bytes] | None = None
        self.sshd: subprocess.Popen[bytes] | None = None
        self._shims = shims
        self._env = {"PYTHONPATH": module_path, "PYTHONDONTWRITEBYTECODE": "1"}
        self._starts = 0
        box.run(["sh", "-eu", "-c", _USERS])
        self._syslog = DatagramLog(box, "/dev/log")
        self._journal = DatagramLog(box, "/run/systemd/journal/socket")
        self._notify = DatagramLog(box, "/run/systemd/notify")
        self.openssh = self._openssh_version()
        self.module_file = self._security_directory() + "/pam_tailscale.so"
        self.stock_pam = box.read("/etc/pam.d/sshd")
        box.write(CONFIG, config)
        self.install_shims()
        self.add_accounts()
        self.install_halves()

    # Installing

    @property
    def has_service_names(self) -> bool:
        """Whether this sshd knows PAMServiceName, so that the PAM half is a file of its own (from 9.8)."""
        return self.openssh.has_service_names

    @property
    def pam_file(self) -> str:
        """The file our PAM half is in."""
        return str(paths.PAM_SERVICE if self.has_service_names else paths.PAM_SSHD)

    def install_shims(self) -> None:
        """Puts the PAM module and the programs beside it in place (again)."""
        self.box.write(self.module_file, self._shims.module.read_bytes())
        self.box.write(HELPER, self._shims.helper.read_bytes(), 0o755)
        self.box.write(CHECK_HALVES, (PROJECT / "contrib/libexec/check-halves").read_bytes(), 0o755)

    def add_accounts(self) -> None:
        """The accounts of every scenario; those that the machine already has keep everything but the password."""
        self.box.set_password("root", ROOT_PASSWORD)
        for name, password in {**dict.fromkeys(PEOPLE, USER_PASSWORD), "decoy": ""}.items():
            with suppress(KeyError):
                self.box.account(name)
                self.box.set_password(name, password)
                continue
            self.box.add_user(name, password=password)

    def arrangement(self, methods: Methods | None = None) -> tuple[File, ...]:
        """The files that `pam-tailscale enable` would write, by the answer about several methods."""
        keys = self.box.account("pam-tailscale-keys")
        wanted = Wanted(self.openssh, keys_uid=keys.uid, keys_gid=keys.gid, methods=methods)
        return arrange(wanted, {str(paths.PAM_SSHD): self.stock_pam.encode()})

    def install_halves(self, methods: Methods | None = None) -> None:
        """Writes them. sshd sees it at its next start."""
        self.box.write(LOCAL_CONF, "PermitRootLogin yes\n")
        self.box.run(["rm", "-f", DISABLED])
        for file in self.arrangement(methods):
            assert file.content is not None
            self.box.write(file.path, file.content, file.mode)

    def install_systemctl(self, script: str) -> None:
        """Puts a shell script in the place of systemctl: there is no systemd here, and so no ssh.socket."""
        no_socket = 'case "$*" in *ssh.socket*) exit 3 ;; esac\n'
        self.box.write("/usr/local/sbin/systemctl", f"#!/bin/sh\n{no_socket}{script}", 0o755)

    def drop_in(self) -> str:
        """The text of the drop-in."""
        return self._text(DROP_IN)

    def pam_half(self) -> str:
        """The text of `pam_file`."""
        return self._text(self.pam_file)

    def _text(self, path: str) -> str:
        content = {file.path: file.content for file in self.arrangement()}[path]
        assert content is not None
        return content.decode()

    def check_halves(self, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs the check; without options, as it stands before every start and reload of sshd."""
        return self.box.run([CHECK_HALVES, *options], check=check)

    def configure(self, text: str) -> None:
        """Replaces the agent's configuration; it counts at the agent's next start or SIGHUP."""
        self.box.write(CONFIG, text)

    # Running

    def start_reader(self) -> None:
        """Starts the listener that runs the root reader for the agent, in systemd's place."""
        uid = self.box.account("pam-tailscale").uid
        argv = [self.python, "-m", "contrib.demo.reader_listener", "--uid", str(uid)]
        self.reader = self.box.popen(argv, "/var/log/reader.log", env=self._env)
        wait_until(lambda: self.box.exists("/run/pam-tailscale/reader.sock"), 10, "the reader's listener listens")

    def start_agent(self, *, wrapper: str | None = None) -> None:
        """Starts the agent and waits until it says that it is ready.

        `wrapper` is a Python program that is run instead of the agent's module, for tests that remove a defence.
        """
        program = ["-c", wrapper] if wrapper else ["-m", "pam_tailscale.agent.app"]
        ready_before = self._ready_messages()
        agent = self.popen_agent(CONFIG, "/var/log/agent.log", program)
        self.agent = agent

        def ready() -> bool:
            if agent.poll() is not None:
                raise RuntimeError(f"the agent ended with {agent.returncode}: {self.box.read('/var/log/agent.log')}")
            return self._ready_messages() > ready_before

        wait_until(ready, 20, "the agent says that it is ready")

    def popen_agent(
        self, config: str, log: str, program: Sequence[str] = ("-m", "pam_tailscale.agent.app")
    ) -> subprocess.Popen[bytes]:
        """Starts an agent with a configuration file; `start_agent` does for the host's own."""
        # What systemd tells a service: where to say that it is ready, and that its output is read by the journal.
        env = {**self._env, "NOTIFY_SOCKET": "/run/systemd/notify", "JOURNAL_STREAM": "1:1"}
        return self.box.popen([self.python, *program, "--config", config], log, env=env)

    def _ready_messages(self) -> int:
        return sum(b"READY=1" in message.split(b"\n") for message in self._notify.messages)

    def stop_agent(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends the agent and waits for it. Safe to call when it does not run."""
        _end(self.agent, number)

    def stop_reader(self) -> None:
        """Ends the reader's listener."""
        _end(self.reader, signal.SIGTERM)

    def start_sshd(self, *, penalties: bool = False, settings: Mapping[str, str] | None = None) -> None:
        """Starts sshd on port 22 and waits until it listens.

        `penalties`: whether sources that fail to log in are shut out for a while, as is stock from 9.8 on. Tests fail
        to log in all the time. `settings` are sshd_config's, before those of the files.
        """
        self._starts += 1
        log = self._sshd_log_path
        # Absolute paths: sshd executes itself again from `/`.
        argv = ["/usr/sbin/sshd", "-D", "-f", "/etc/ssh/sshd_config", "-E", log, "-o", "LogLevel=VERBOSE"]
        # A slow test machine starts many logins at once; dropping some of them at random is not what is tested.
        for name, value in {"MaxStartups": "100", **(settings or {})}.items():
            argv += ["-o", f"{name}={value}"]
        if self.has_service_names and not penalties:
            argv += ["-o", "PerSourcePenalties=no"]
        sshd = self.box.popen(argv, "/var/log/sshd-output.log")
        self.sshd = sshd

        def listening() -> bool:
            if sshd.poll() is not None:
                raise RuntimeError(f"sshd ended with {sshd.returncode}: {self.sshd_log()}")
            return "Server listening on" in self.box.read(log)

        wait_until(listening, 10, "sshd listens")

    def stop_sshd(self) -> None:
        """Ends sshd's listener; sessions go on."""
        _end(self.sshd, signal.SIGTERM)

    def restart_sshd(self, **settings: str) -> None:
        """What an administrator does after changing sshd's configuration; `settings` as in `start_sshd`."""
        self.stop_sshd()
        self.start_sshd(settings=settings)

    def cli(self, *args: str, check: bool = True, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs `pam-tailscale ARGS`."""
        argv = [self.python, "-m", "pam_tailscale.cli.main", *args]
        return self.box.run(argv, env=self._env, check=check, user=user)

    def pin(self) -> None:
        """Pins the host to the tailnet it is in now."""
        self.box.write(PIN, self.box.run([self.python, "-c", _PIN_OF_NOW], env=self._env).stdout)

    # Looking

    @property
    def _sshd_log_path(self) -> str:
        return f"/var/log/sshd-{self._starts}.log"

    def sshd_log(self) -> str:
        """What sshd has logged since its last start."""
        return self.box.read(self._sshd_log_path)

    def syslog(self) -> list[str]:
        """What our shims and other programs sent to syslog, oldest first."""
        return [message.decode(errors="replace") for message in self._syslog.messages]

    def journal(self) -> list[dict[str, str]]:
        """The agent's entries in the journal, as fields, oldest first."""
        return [journal_fields(message) for message in self._journal.messages]

    def decisions(self) -> list[str]:
        """The agent's lines about decisions, oldest first."""
        return [line for entry in self.journal() if "decision=" in (line := entry.get("MESSAGE", ""))]

    def logs(self) -> dict[str, str]:
        """Everything that was logged anywhere, by where."""
        files = ["agent.log", "reader.log", *(f"sshd-{number + 1}.log" for number in range(self._starts))]
        paths = [f"/var/log/{name}" for name in files]
        texts = {path: self.box.read(path) for path in paths if self.box.exists(path)}
        return texts | {"journal": "\n".join(map(str, self.journal())), "syslog": "\n".join(self.syslog())}

    def unfinished_logins(self) -> list[str]:
        """The command lines of sshd's processes for connections that have not logged in."""
        listed = self.box.run(["ps", "-eo", "args="]).stdout.splitlines()
        return [line for line in listed if line.startswith("sshd") and any(mark in line for mark in _UNFINISHED)]

    def close(self) -> None:
        """Ends what was started. The sandbox itself is its owner's to close."""
        for process in (self.agent, self.reader, self.sshd):
            _end(process, signal.SIGKILL)
        for log in (self._syslog, self._journal, self._notify):
            log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _openssh_version(self) -> version.OpenSSH:
        found = version.parse(self.box.run(["ssh", "-V"]).stderr)
        assert found is not None, "ssh -V names no version"
        return found

    def _security_directory(self) -> str:
        return self.box.run(["sh", "-c", "dirname /usr/lib/*/security/pam_unix.so"]).stdout.strip()


def _end(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGCONT)
    process.send_signal(number)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
        raise
