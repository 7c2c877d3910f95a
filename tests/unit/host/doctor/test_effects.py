"""What sshd's files come to on the tailnet."""

from pam_tailscale.host import dropin, effective
from pam_tailscale.host.answers import Methods
from pam_tailscale.host.doctor.check import Check, State
from pam_tailscale.host.doctor.effects import Asked, judge
from pam_tailscale.host.sshdconfig import SshdConfig
from tests.support.host_facts import STOCK, TRIXIE, config

SETTINGS = dropin.settings(dropin.Wanted(TRIXIE, 998, 997))


def asked(*users: str, **changes: str) -> tuple[Asked, ...]:
    """Connections of these for which sshd says what the drop-in says, but for `changes`."""
    values = {**SETTINGS, **changes}
    text = "".join(f"{keyword} {value}\n" for keyword, value in values.items())
    return tuple(Asked(user, "100.64.0.1", effective.parse(text)) for user in users)


def checks(found: tuple[Asked, ...], configuration: SshdConfig | None = None, why_not: str = "") -> dict[str, Check]:
    """By name."""
    return {check.name: check for check in judge(found, SETTINGS, configuration or config(), why_not)}


def test_in_order() -> None:
    """For everybody who was asked about."""
    assert {check.state for check in checks(asked("root", "alice")).values()} == {State.OK}


def test_a_line_that_wins() -> None:
    """Is named with its file and number, and whom it is about."""
    winning = config(others={"05-a.conf": "Match User alice\n  AuthorizedKeysFile .ssh/keys\n"}, main=STOCK)
    found = (*asked("root"), *asked("alice", authorizedkeysfile=".ssh/keys"))
    check = checks(found, winning)["effective"]
    assert check.state is State.PROBLEM
    assert check.what == "for alice at 100.64.0.1 authorizedkeysfile is .ssh/keys, not none"
    assert check.items == ("authorizedkeysfile .ssh/keys (/etc/ssh/sshd_config.d/05-a.conf:2)",)


def test_nobody_knows_which_line() -> None:
    """Then sshd has to be asked."""
    assert checks(asked("root", usepam="no"))["effective"].mend == "sshd -T"


def test_sshd_does_not_say() -> None:
    """Because it refuses its files, or the node has no address."""
    assert checks((), why_not="bad line")["effective"].state is State.UNKNOWN
    assert "no address" in checks(())["effective"].what


def test_two_methods_of_one_identity() -> None:
    """Our helper answers for publickey as well; where it does not, a key is the account's own."""
    both = asked("root", authenticationmethods="none,publickey keyboard-interactive,publickey")
    assert checks(both)["two-methods"].state is State.PROBLEM
    own_key = tuple(
        Asked(
            one.user, one.address, effective.parse("authenticationmethods none,publickey\nauthorizedkeyscommand none\n")
        )
        for one in both
    )
    assert checks(own_key)["two-methods"].state is State.OK
    twice = asked("root", authenticationmethods="password,keyboard-interactive:pam")
    assert "password and keyboard-interactive:pam" in checks(twice)["two-methods"].what


def test_with_key_is_what_was_answered() -> None:
    """The drop-in then asks no helper."""
    settings = dropin.settings(dropin.Wanted(TRIXIE, 998, 997, methods=Methods.WITH_KEY))
    text = "".join(f"{keyword} {value}\n" for keyword, value in settings.items())
    found = judge([Asked("root", "100.64.0.1", effective.parse(text))], settings, config(), "")
    assert {check.state for check in found} == {State.OK}
