"""Both halves: what lies there is what `enable` wrote, or it is said what follows."""

import stat
from collections.abc import Mapping
from typing import Any

import pytest

from pam_tailscale.host.arrangement import Wanted, arrange
from pam_tailscale.host.doctor.check import Check, State
from pam_tailscale.host.doctor.halves import (
    CHANGE,
    DISABLED,
    DROP_IN,
    MARKER,
    REFERENCES,
    Halves,
    Switched,
    addresses,
    judge,
)
from pam_tailscale.host.doctor.places import Place
from pam_tailscale.host.version import OpenSSH

NEW, OLD = OpenSSH(10, 0), OpenSSH(9, 2)
SSHD, SERVICE, ACCESS = "/etc/pam.d/sshd", "/etc/pam.d/sshd-tailscale", "/etc/security/not-tailnet.access"
STOCK = b"@include common-auth\n"
FILE, FOLDER = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755


def written(openssh: OpenSSH) -> dict[str, bytes]:
    """What lies there once `enable` is done."""
    files = arrange(Wanted(openssh, 998, 997), {SSHD: STOCK})
    return {SSHD: STOCK, MARKER: b"{}"} | {file.path: file.content for file in files if file.content is not None}


def halves(contents: Mapping[str, bytes], openssh: OpenSSH | None = NEW, **changes: Any) -> Halves:
    """These contents, root's all of them."""
    places = {path: Place(path, FILE) for path in contents}
    places |= {path: Place(path, FOLDER) for path in (REFERENCES, "/var/lib/pam-tailscale")}
    return Halves(openssh, contents, **({"places": places} | changes))


def found(seen: Halves) -> dict[str, Check]:
    """Everything that is not in order, by name."""
    return {check.name: check for check in judge(seen) if check.state is not State.OK}


@pytest.mark.parametrize("openssh", [NEW, OLD], ids=str)
def test_as_enable_wrote_it(openssh: OpenSSH) -> None:
    """On, and in order."""
    seen = halves(written(openssh), openssh)
    assert (seen.switched, found(seen)) == (Switched.ON, {})


@pytest.mark.parametrize("openssh", [NEW, OLD], ids=str)
def test_off(openssh: OpenSSH) -> None:
    """Nothing of ours is there."""
    seen = halves({SSHD: STOCK}, openssh)
    assert (seen.switched, found(seen)) == (Switched.OFF, {})


@pytest.mark.parametrize(
    ("openssh", "path", "name"),
    [
        (NEW, DROP_IN, "drop-in"),
        (NEW, SERVICE, "pam-half"),
        (OLD, DROP_IN, "drop-in"),
        (OLD, SSHD, "pam-half"),
        (OLD, ACCESS, "pam-half"),
    ],
)
def test_an_altered_half(openssh: OpenSSH, path: str, name: str) -> None:
    """To the byte, as check-halves has it: a comment counts."""
    contents = written(openssh)
    contents[path] = b"#\n" + contents[path]
    checks = found(halves(contents, openssh))
    assert set(checks) == {name}
    assert (checks[name].state, checks[name].mend) == (State.PROBLEM, "pam-tailscale enable --replace-edits")
    assert path in checks[name].what


@pytest.mark.parametrize(("openssh", "path"), [(NEW, SERVICE), (OLD, SSHD), (OLD, ACCESS)])
def test_a_missing_pam_half(openssh: OpenSSH, path: str) -> None:
    """The worst of all."""
    contents = written(openssh)
    del contents[path]
    checks = found(halves(contents, openssh))
    assert checks["pam-half"].state is State.PROBLEM
    assert "without a password" in checks["pam-half"].means


def test_lines_below_ours_are_the_administrators() -> None:
    """Before 9.8 only the top of the file is ours."""
    contents = written(OLD)
    contents[SSHD] += b"session optional pam_motd.so\n"
    assert found(halves(contents, OLD)) == {}


@pytest.mark.parametrize(("openssh", "other"), [(NEW, OLD), (OLD, NEW)], ids=["upgraded", "downgraded"])
def test_another_sshd_than_the_files_are_for(openssh: OpenSSH, other: OpenSSH) -> None:
    """After an upgrade of Debian whose trigger did not run."""
    checks = found(halves(written(other), openssh))
    assert checks["drop-in"].mend == "pam-tailscale enable --refresh"
    assert str(openssh) in checks["drop-in"].what


@pytest.mark.parametrize(
    ("openssh", "name"),
    [
        (NEW, "drop-in"),
        (NEW, "sshd-tailscale"),
        (OLD, "drop-in"),
        (OLD, "pam.d-sshd.lines"),
        (OLD, "not-tailnet.access"),
    ],
)
def test_a_missing_reference(openssh: OpenSSH, name: str) -> None:
    """For enable the files would be somebody else's then: it has to go off first."""
    contents = written(openssh)
    del contents[f"{REFERENCES}/{name}"]
    checks = found(halves(contents, openssh))
    assert checks["references"].state is State.PROBLEM
    assert {check.mend for check in checks.values()} == {"pam-tailscale disable && pam-tailscale enable"}
    assert checks["drop-in" if name == "drop-in" else "pam-half"].state is State.UNKNOWN


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (REFERENCES, Place(REFERENCES, stat.S_IFDIR | 0o775)),
        ("/var/lib/pam-tailscale", Place("/var/lib/pam-tailscale", FOLDER, 1000)),
        (f"{REFERENCES}/drop-in", Place(f"{REFERENCES}/drop-in", stat.S_IFREG | 0o666)),
        (f"{REFERENCES}/drop-in", Place(f"{REFERENCES}/drop-in", stat.S_IFLNK | 0o777)),
    ],
    ids=["group", "owner above", "file", "link"],
)
def test_references_that_others_may_write(path: str, place: Place) -> None:
    """Whoever can alter them can alter the halves unseen."""
    seen = halves(written(NEW))
    seen = halves(written(NEW), places={**seen.places, path: place})
    checks = found(seen)
    assert set(checks) == {"references"}
    assert checks["references"].mend == f"chown root:root {path} && chmod go-w {path}"


def test_taken_out_of_force() -> None:
    """By check-halves; what it left says so."""
    contents = written(NEW)
    contents[DISABLED] = contents.pop(DROP_IN)
    seen = halves(contents)
    assert seen.switched is Switched.OUT_OF_FORCE
    assert set(found(seen)) == {"drop-in"}
    assert DISABLED in found(seen)["drop-in"].what


def test_gone_although_switched_on() -> None:
    """By somebody's rm."""
    contents = written(NEW)
    del contents[DROP_IN]
    seen = halves(contents)
    assert (seen.switched, found(seen)["drop-in"].state) == (Switched.OUT_OF_FORCE, State.PROBLEM)


def test_what_check_halves_left_behind() -> None:
    """Beside a drop-in that is in force again."""
    assert found(halves(written(NEW) | {DISABLED: b""}))["drop-in-disabled"].state is State.WARNING


def test_no_marker() -> None:
    """Upgrades would pass the host by."""
    contents = written(NEW)
    del contents[MARKER]
    assert found(halves(contents))["marker"].mend == "pam-tailscale enable"


@pytest.mark.parametrize("content", [b"", b"x", b"[]", b"\xff"])
def test_a_damaged_marker(content: bytes) -> None:
    """Enable does not run with one."""
    checks = found(halves(written(NEW) | {MARKER: content}))
    assert checks["marker"].mend == "pam-tailscale disable && pam-tailscale enable"


@pytest.mark.parametrize(("goal", "mend"), [("on", "pam-tailscale enable"), ("off", "pam-tailscale disable")])
def test_an_interrupted_change(goal: str, mend: str) -> None:
    """The next run of the same sees to it."""
    checks = found(halves(written(NEW) | {CHANGE: f'{{"format": 1, "goal": "{goal}"}}'.encode()}))
    assert (checks["interrupted-change"].state, checks["interrupted-change"].mend) == (State.PROBLEM, mend)


def test_a_change_under_way() -> None:
    """Is no problem yet."""
    checks = found(halves(written(NEW) | {CHANGE: b""}, locked=True))
    assert checks["interrupted-change"].state is State.WARNING


@pytest.mark.parametrize(
    ("contents", "state"),
    [
        ({SERVICE: b"auth required pam_deny.so\n"}, State.WARNING),
        ({SSHD: b"auth required pam_tailscale.so mode=enforce\n"}, State.WARNING),
        ({SSHD: b"session optional pam_tailscale.so mode=observe\n"}, State.OK),
        ({SSHD: b"# pam_tailscale.so was here\n"}, State.OK),
    ],
    ids=["a service", "lines", "it observes", "a comment"],
)
def test_a_pam_half_alone(contents: dict[str, bytes], state: State) -> None:
    """Opens nothing; a host that only observes has no drop-in."""
    (check,) = [check for check in judge(halves(contents)) if check.name == "left-over-half"]
    assert check.state is state


def test_what_cannot_be_read() -> None:
    """A directory in a file's place, say."""
    seen = halves(written(NEW), unreadable={SERVICE: "is no file"})
    assert found(seen)["unreadable"].what == f"{SERVICE}: is no file"
    dark = halves({}, unreadable={DROP_IN: "is no file"})
    assert dark.switched is Switched.ON
    assert {check.state for name, check in found(dark).items() if name in ("drop-in", "pam-half", "references")} == {
        State.UNKNOWN
    }


def test_addresses_of_a_drop_in() -> None:
    """One list for both ends; two that differ are none."""
    text = written(NEW)[DROP_IN].decode()
    assert addresses(text) == ("100.64.0.0/10", "fd7a:115c:a1e0::/48")
    assert addresses(text.replace("LocalAddress 100", "LocalAddress 101")) == ()
    assert addresses("") == ()
