"""Puts the files of an arrangement in force and takes them out again, in the only order that opens no door.

The drop-in is never in force without its PAM half: it comes last and goes first, and until sshd has really forgotten it
the PAM half stays. What the files are is decided elsewhere; whoever calls holds the lock and has written the journal.
"""

from collections.abc import Callable, Mapping, Sequence

from pam_tailscale import paths
from pam_tailscale.errors import HostError
from pam_tailscale.host import units
from pam_tailscale.host.arrangement import PATHS, File, Part, removed, without
from pam_tailscale.host.files import Files
from pam_tailscale.host.journal import Change, Goal, Journal
from pam_tailscale.host.sshd import Sshd, end_waiting

Say = Callable[[str], None]
_ORDER = tuple(Part)
_DROP_IN = str(paths.DROP_IN)
MARKER_GONE = File(str(paths.ENABLED), None, Part.REFERENCE)


class Switch:
    """Turns the host from one arrangement to another."""

    def __init__(self, files: Files, sshd: Sshd, ask: Callable[[], Sequence[str]], say: Say) -> None:
        """`ask`: asks the running listener what it must say no to, and tells what had no answer. Raises HostError."""
        self._files = files
        self._sshd = sshd
        self._ask = ask
        self._say = say
        self.journal = Journal(files)

    def on(self, files: Sequence[File], check: Callable[[], None] = lambda: None) -> None:
        """Write files, in the order of their parts, and have sshd go by them.

        `check` looks at what was written before sshd does, and raises HostError to stop it. Raises HostError.
        """
        for file in sorted(files, key=_position):
            self._put(file)
        if any(file.part is Part.DROP_IN and file.content is not None for file in files):
            self._sshd.test()
            check()
            self._reload()

    def off(self) -> None:
        """Take everything of ours out of the host's files; safe where nothing or half of it is there.

        Raises HostError where sshd does not forget the drop-in: the PAM half then stays, and nobody gets in by it.
        """
        present = self._files.present(PATHS)
        ours = sorted(removed(present), key=_position, reverse=True)
        for file in ours:
            if file.part is Part.DROP_IN:
                self._put(file)
        self._reload()
        ended = end_waiting()
        if ended:
            self._say(f"ended {ended} connections that had not logged in yet")
        for file in ours:
            if file.part is not Part.DROP_IN:
                self._put(file)

    def recover(self) -> bool:
        """Finish or take back what an earlier run left, and say which. False where it left nothing.

        Raises HostError where that fails; the journal stays for the next run.
        """
        change = self.journal.load()
        if change is None:
            return False
        self._files.sweep([*PATHS, *change.before])
        if change.goal is Goal.OFF:
            self._say("an earlier run was interrupted while switching off: finishing it")
            self.finish_off()
        else:
            self._say("an earlier run was interrupted while switching on: taking it back")
            self.roll_back(change)
        return True

    def finish_off(self) -> None:
        """The whole of switching off, once its journal is written."""
        self.off()
        units.unwatch()
        self._files.put(MARKER_GONE)
        self.journal.remove()

    def roll_back(self, change: Change) -> None:
        """Make every file of a change what it was before, to the byte, and have sshd go by that.

        A file that somebody else has written meanwhile keeps what they wrote; the host then stays switched off, because
        what was before does not fit it any more. Raises HostError.
        """
        without_us = without({path: content for path, content in change.before.items() if content is not None})
        now: Mapping[str, bytes | None] = {path: self._files.read(path) for path in change.before}
        ours = {path: {change.before[path], change.after.get(path), without_us.get(path)} for path in now}
        edited = sorted(path for path in now if now[path] not in ours[path])
        self.off()
        was_on = change.before.get(_DROP_IN) is not None
        if edited and was_on:
            self._say(f"{', '.join(edited)}: written by somebody else meanwhile: the host stays switched off")
            units.unwatch()
            self._files.put(MARKER_GONE)
        else:
            before = [
                File(path, content, part_of(path)) for path, content in change.before.items() if path not in edited
            ]
            self.on(before)
            if not was_on:
                units.unwatch()
        self.journal.remove()

    def must_be_possible(self, files: Sequence[File]) -> None:
        """Sees before anything is changed whether these can be written and sshd could read its own again.

        Raises HostError.
        """
        for file in files:
            self._files.must_be_writable(file.path)
        if not self._sshd.is_up():
            return
        try:
            self._sshd.test()
        except HostError as err:
            raise HostError(
                f"{err}. Nothing was changed: without reading its files again sshd would go on by those that were "
                "taken away. Mend its configuration, then run this again"
            ) from err

    def _put(self, file: File) -> None:
        if self._files.put(file):
            self._say(f"{'wrote' if file.content is not None else 'removed'} {file.path}")

    def _reload(self) -> None:
        if self._sshd.reload():
            self._say("sshd has read its configuration again")
        if self._sshd.running():
            silent = self._ask()
            for text in silent or ["sshd answers by these files, and lets nobody in from this host's own addresses"]:
                self._say(text)


def part_of(path: str) -> Part:
    """What the file at a path is for."""
    if path.startswith(_DROP_IN):
        return Part.DROP_IN
    if path == str(paths.CONFIG):
        return Part.AGENT
    return Part.PAM if path.startswith("/etc/") else Part.REFERENCE


def _position(file: File) -> tuple[int, bool]:
    """The access list is there before the PAM lines that name it, and goes after them."""
    return _ORDER.index(file.part), not file.path.startswith("/etc/security/")
