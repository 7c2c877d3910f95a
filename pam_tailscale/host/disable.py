"""Switching off: everything becomes what it was before `enable`, to the byte, in the order that opens no door."""

from dataclasses import dataclass

from pam_tailscale import paths
from pam_tailscale.host import changes, lock, signals, units
from pam_tailscale.host.arrangement import PATHS, File, removed
from pam_tailscale.host.files import Files
from pam_tailscale.host.journal import Change, Goal
from pam_tailscale.host.report import Person, Report
from pam_tailscale.host.switch import MARKER_GONE, Switch


@dataclass(frozen=True, slots=True)
class Disabler:
    """Switches this host off."""

    files: Files
    switch: Switch
    person: Person

    def run(self, *, dry_run: bool) -> Report:
        """Switch off, once; a host that is off already is left as it is.

        An earlier run that was interrupted is finished or taken back first. Raises HostError and ConfigError; what was
        begun is then finished by the next run.
        """
        with lock.locked(self.person.say):
            recovered = not dry_run and self.switch.recover()
            present = self.files.present(PATHS)
            ours = removed(present)
            diff = changes.diff(present, ours)
            if not ours and not units.watches() and self.files.read(MARKER_GONE.path) is None:
                return Report(on=False, changed=recovered)
            if dry_run:
                return Report(on=True, changed=False, diff=diff)
            if not self.person.agrees(diff):
                return Report(on=True, changed=False, diff=diff, problem="not agreed to: nothing was changed")
            self._off(ours)
            return Report(on=False, changed=True, diff=diff)

    def _off(self, ours: tuple[File, ...]) -> None:
        self.switch.must_be_possible(ours)
        self.switch.journal.store(Change(Goal.OFF, {}, {}))
        # Whatever comes now, going on is safer than standing still.
        with signals.held():
            self.switch.finish_off()
            if any(file.path == str(paths.CONFIG) for file in ours):
                units.reload_agent()
