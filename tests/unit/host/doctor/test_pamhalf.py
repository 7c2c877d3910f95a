"""PAM's half: whatever would let somebody else than our module answer is a problem."""

import pytest

from pam_tailscale.host import pamfiles
from pam_tailscale.host.doctor.check import Check, State
from pam_tailscale.host.doctor.pamhalf import Pam, judge, lets_in_anybody, whole
from pam_tailscale.host.doctor.pamstack import Stack, read

R = ("100.64.0.0/10", "fd7a:115c:a1e0::/48")
COMMON = {"common-auth": "auth required pam_unix.so nullok\nauth required pam_permit.so\n"}
STOCK = (
    "@include common-auth\naccount required pam_nologin.so\npassword required pam_unix.so\n"
    "session required pam_limits.so\n"
)
OTHER = "@include common-auth\naccount required pam_unix.so\n"
NEW, OLD = pamfiles.SERVICE.decode(), pamfiles.insert(STOCK.encode()).decode()


def stack(name: str, text: str | None, stock: str = STOCK) -> Stack:
    """A service of this text, beside Debian's."""
    files = {**COMMON, "sshd": stock, **({} if text is None else {name: text})}
    return read(name, files.get)


def checks(
    text: str | None, service: str = "sshd-tailscale", other: str = OTHER, mode: str = "enforce", error: str = ""
) -> dict[str, Check]:
    """All checks, by name."""
    pam = Pam(service, stack(service, text), read("other", {**COMMON, "other": other}.get), error)
    return {check.name: check for check in judge(pam, R, mode)}


def wrong(found: dict[str, Check]) -> dict[str, str]:
    """What is not in order."""
    return {name: check.what for name, check in found.items() if check.state is State.PROBLEM}


@pytest.mark.parametrize(("service", "text"), [("sshd-tailscale", NEW), ("sshd", OLD)], ids=["9.8", "before 9.8"])
def test_what_enable_writes_is_in_order(service: str, text: str) -> None:
    """All of it, and PAM may be asked."""
    found = checks(text, service)
    assert {check.state for check in found.values()} == {State.OK}
    assert whole(list(found.values()))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (None, "pam-service"),
        (NEW.replace("password requisite", "#"), "pam-service"),
        (NEW.replace("include    sshd", "include    gone"), "pam-service"),
        (f"auth sufficient pam_unix.so\n{NEW}", "pam-order"),
        (NEW.replace("pam_tailscale.so", "pam_permit.so"), "pam-order"),
        (NEW.replace("try_again=done default=die", "default=ignore"), "pam-order"),
        (NEW.replace("account  requisite", "account  optional"), "pam-order"),
        (NEW.replace("mode=enforce", "mode=observe"), "pam-arguments"),
        (NEW.replace("100.64.0.0/10,", ""), "pam-arguments"),
        (NEW.replace("100.64.0.0/10", "100.64.0.0/11"), "pam-arguments"),
    ],
    ids=[
        "no file",
        "a type is missing",
        "includes what is not there",
        "a line above",
        "another module",
        "a no that ends nothing",
        "a no that counts for nothing",
        "observes",
        "no IPv4",
        "other addresses",
    ],
)
def test_what_is_altered_is_a_problem(text: str | None, name: str) -> None:
    """And then PAM is not asked: what answers would not be our module, and might count a failed login."""
    found = checks(text)
    assert name in wrong(found)
    assert found[name].mend
    assert not whole(list(found.values()))


def test_a_missing_service_is_told_once() -> None:
    """Its lines are not there either, but that is the same thing."""
    assert set(wrong(checks(None))) == {"pam-service"}


def test_lines_above_ours_before_98() -> None:
    """In a file of somebody else's, where anybody may put lines."""
    found = checks(f"auth required pam_env.so\n{OLD}", "sshd")
    assert wrong(found) == {"pam-order": "/etc/pam.d/sshd:1 asks pam_env.so before pam_tailscale.so is asked"}


def test_what_stands_in_for_a_missing_type() -> None:
    """Is said by how bad it is."""
    assert "a password opens the door" in checks(None)["pam-service"].means
    assert "anybody gets in" in checks(None, other="auth required pam_permit.so\n")["pam-service"].means


def test_a_module_that_cannot_be_loaded() -> None:
    """Refuses the tailnet; asking PAM then reaches other lines before 9.8."""
    found = checks(OLD, "sshd", error="undefined symbol: x")
    assert wrong(found) == {"pam-module": "pam_tailscale.so cannot be loaded: undefined symbol: x"}
    assert not whole(list(found.values()))


@pytest.mark.parametrize(("mode", "state"), [("", State.UNKNOWN), ("observe", State.PROBLEM), ("enforce", State.OK)])
def test_modes_of_agent_and_module(mode: str, state: State) -> None:
    """The agent refuses everybody where they differ; the lines are as they were."""
    found = checks(NEW, mode=mode)
    assert found["pam-mode"].state is state
    assert whole(list(found.values()))


@pytest.mark.parametrize(
    ("other", "anybody"),
    [
        (OTHER, False),
        ("auth required pam_deny.so\n", False),
        ("", False),
        ("auth required pam_permit.so\n", True),
        ("auth required pam_warn.so\nauth sufficient pam_permit.so\n", True),
        ("auth requisite pam_deny.so\nauth required pam_permit.so\n", False),
    ],
    ids=["Debian's", "deny", "empty", "permit", "warn and permit", "deny and permit"],
)
def test_other(other: str, anybody: bool) -> None:  # noqa: FBT001
    """Debian's own asks for a password."""
    assert lets_in_anybody(read("other", {**COMMON, "other": other}.get)) is anybody
    assert checks(NEW, other=other)["pam-other"].state is (State.WARNING if anybody else State.OK)
