"""A host's files in a directory of a test, and an sshd that notes what it is told and goes by what it read last."""

from collections.abc import Sequence
from pathlib import Path

from pam_tailscale import paths
from pam_tailscale.errors import HostError
from pam_tailscale.host import marker
from pam_tailscale.host.answers import Answers, Methods
from pam_tailscale.host.arrangement import PATHS, Wanted, arrange
from pam_tailscale.host.effective import Effective
from pam_tailscale.host.files import Files
from pam_tailscale.host.listeners import Listener
from pam_tailscale.host.sshd import Sshd
from pam_tailscale.host.switch import Switch
from pam_tailscale.host.version import OpenSSH

OLD, NEW = OpenSSH(9, 2), OpenSSH(10, 0)
SSHD_PAM = b"# the administrator's\n@include common-auth\naccount required pam_nologin.so"
AGENT_TOML = b'# mine\nmode = "enforce"\n'
MARK = str(paths.ENABLED)
DROP_IN = str(paths.DROP_IN)
Host = dict[str, bytes]


def wanted(openssh: OpenSSH, *, allow_root: bool = False, methods: Methods | None = None) -> Wanted:
    """An arrangement that touches all files there are."""
    return Wanted(openssh, 998, 997, allow_root=allow_root, methods=methods)


class RecordingSshd(Sshd):
    """What sshd does, as far as files go. `halves` says which were there at each reload."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.up = True
        self.complaint = ""
        self.open_door = False
        self.log: list[str] = []
        self.drop_in = files.read(DROP_IN)

    def running(self) -> tuple[Listener, ...]:
        return (Listener(1, "/usr/sbin/sshd", "sshd", ()),) if self.up else ()

    def is_up(self) -> bool:
        return self.up

    def test(self) -> None:
        if self.complaint:
            raise HostError(self.complaint)

    def effective(self, options: Sequence[str], spec: str) -> Effective:
        raise AssertionError(f"switching asks for no settings: {options}, {spec}")

    def reload(self) -> bool:
        if not self.up:
            return False
        self.test()
        self.drop_in = self.files.read(DROP_IN)
        self.log.append("reload with the drop-in" if self.drop_in is not None else "reload without")
        return True

    def ask(self) -> list[str]:
        """What asking it comes to."""
        self.log.append("asked")
        if self.open_door:
            raise HostError("sshd lets root in")
        return []


class Rig:
    """Everything that Switch works with, on the files of a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = Files(root)
        self.write({str(paths.PAM_SSHD): SSHD_PAM, str(paths.CONFIG): AGENT_TOML, str(paths.PIN): b"{}\n"})
        (root / "etc/ssh/sshd_config.d").mkdir(parents=True)
        self.sshd = RecordingSshd(self.files)
        self.said: list[str] = []
        # Not the bound method: a test may have another in its place by then.
        self.switch = Switch(self.files, self.sshd, lambda: self.sshd.ask(), self.said.append)  # noqa: PLW0108 (as said)

    def write(self, host: Host) -> None:
        for path, content in host.items():
            where = self.root / path.lstrip("/")
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_bytes(content)

    def snapshot(self) -> Host:
        """Every file there is."""
        return {f"/{path.relative_to(self.root)}": path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def arranged(self, openssh: OpenSSH) -> Host:
        """What the host has when it is on."""
        files = arrange(wanted(openssh), self.files.present(PATHS))
        return {file.path: file.content for file in files if file.content is not None}

    def turn_on(self, openssh: OpenSSH) -> None:
        self.switch.on(arrange(wanted(openssh), self.files.present(PATHS)))
        self.write({MARK: marker.encode(Answers())})
