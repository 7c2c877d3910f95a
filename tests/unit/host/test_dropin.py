"""The drop-in: what it says to each sshd and for each answer. That sshd takes it so is for tests/integration."""

import dataclasses
import re

import pytest

from pam_tailscale.errors import ConfigError
from pam_tailscale.host.answers import Methods
from pam_tailscale.host.dropin import Wanted, settings, text
from pam_tailscale.host.version import OpenSSH

R = "100.64.0.0/10,fd7a:115c:a1e0::/48"
NEW = Wanted(OpenSSH(10, 0), keys_uid=990, keys_gid=991)
OLD = dataclasses.replace(NEW, openssh=OpenSSH(9, 2))
HELPER = "/usr/libexec/pam-tailscale/authorized-keys"
ADMINISTRATORS = re.compile(
    r"AllowUsers|DenyUsers|AllowGroups|DenyGroups|ForceCommand|ChrootDirectory|PermitTTY|Forwarding"
)


def directives(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """What stands above the Match block, and what in it."""
    lines = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    everywhere = dict(line.split(" ", 1) for line in lines if not line.startswith(("    ", "Match")))
    inside = dict(line.strip().split(" ", 1) for line in lines if line.startswith("    "))
    assert len(everywhere) + len(inside) + 1 == len(lines), "no directive stands twice"
    return everywhere, inside


@pytest.mark.parametrize("openssh", [OpenSSH(9, 2), OpenSSH(9, 7), OpenSSH(9, 8), OpenSSH(10, 0)])
@pytest.mark.parametrize("methods", [None, *Methods])
def test_what_is_always_certain(openssh: OpenSSH, methods: Methods | None) -> None:
    """PAM is asked, by `none`, a prompt or a password, on connections with both ends in the tailnet and no others."""
    whole = text(dataclasses.replace(NEW, openssh=openssh, methods=methods))
    everywhere, inside = directives(whole)
    assert f"\nMatch LocalAddress {R} Address {R}\n" in whole
    assert everywhere["UsePAM"] == "yes"
    for keyword in (
        "PermitEmptyPasswords",
        "PasswordAuthentication",
        "KbdInteractiveAuthentication",
        "PermitRootLogin",
    ):
        assert inside[keyword] == "yes"
    for keyword in ("PermitUserRC", "GSSAPIAuthentication", "HostbasedAuthentication", "KerberosAuthentication"):
        assert inside[keyword] == "no"
    assert inside["PubkeyAuthentication"] == "yes"
    assert not ADMINISTRATORS.search(whole)
    assert max(map(len, whole.splitlines())) <= 120


@pytest.mark.parametrize(("openssh", "known"), [(OpenSSH(9, 7), False), (OpenSSH(9, 8), True)])
def test_what_sshd_does_not_know_is_not_said_to_it(openssh: OpenSSH, known: bool) -> None:  # noqa: FBT001 (a column)
    """A keyword that is unknown keeps sshd from starting."""
    everywhere, inside = directives(text(dataclasses.replace(NEW, openssh=openssh)))
    assert ("PAMServiceName" in inside) is known
    assert ("PerSourcePenaltyExemptList" in everywhere) is known


@pytest.mark.parametrize(
    ("openssh", "command", "user"),
    [
        (OpenSSH(9, 2), f"{HELPER} run_as=990:991 %u %t %k", "root"),
        (OpenSSH(9, 3), f"{HELPER} run_as=990:991 %u %t %k", "root"),
        (OpenSSH(9, 4), f"{HELPER} %u %t %k %C", "pam-tailscale-keys"),
        (OpenSSH(10, 0), f"{HELPER} %u %t %k %C", "pam-tailscale-keys"),
    ],
)
def test_how_the_helper_is_started(openssh: OpenSSH, command: str, user: str) -> None:
    """By root only where sshd cannot name the connection: 9.3 takes %C in its file and ends each login by it."""
    _, inside = directives(text(dataclasses.replace(NEW, openssh=openssh)))
    assert (inside["AuthorizedKeysCommand"], inside["AuthorizedKeysCommandUser"]) == (command, user)
    assert (inside["AuthorizedKeysFile"], inside["TrustedUserCAKeys"]) == ("none", "none")


def test_methods_are_not_spoken_of_where_nobody_was_asked() -> None:
    """An AuthenticationMethods that comes later must not be passed over in silence."""
    assert "AuthenticationMethods" not in text(NEW)
    assert "authenticationmethods" not in settings(NEW)


def test_the_policy_in_place_of_several_methods() -> None:
    """As answered."""
    _, inside = directives(text(dataclasses.replace(NEW, methods=Methods.REPLACE)))
    assert inside["AuthenticationMethods"] == "any"
    assert inside["AuthorizedKeysFile"] == "none"


def test_the_policy_and_a_key() -> None:
    """Keys and certificates are looked for where the administrator says, and our helper accepts none."""
    whole = text(dataclasses.replace(NEW, methods=Methods.WITH_KEY))
    _, inside = directives(whole)
    assert inside["AuthenticationMethods"] == "none,publickey keyboard-interactive,publickey"
    assert not re.search("AuthorizedKeys|TrustedUserCAKeys|AuthorizedPrincipals", whole)


@pytest.mark.parametrize(
    ("own", "merged"),
    [
        ((), R),
        (("192.0.2.0/24", "2001:db8::/32"), f"{R},192.0.2.0/24,2001:db8::/32"),
        (("fd7a:115c:a1e0::/48", "192.0.2.1", "192.0.2.1", "100.64.0.0/10"), f"{R},192.0.2.1"),
        (("!192.0.2.9", "192.0.2.*"), f"{R},!192.0.2.9,192.0.2.*"),
    ],
)
def test_the_administrators_exemptions_stay(own: tuple[str, ...], merged: str) -> None:
    """The first list wins, so theirs has to be in ours."""
    everywhere, _ = directives(text(dataclasses.replace(NEW, exempt=own)))
    assert everywhere["PerSourcePenaltyExemptList"] == merged


@pytest.mark.parametrize("entry", ["", "a b", "192.0.2.1\nPermitRootLogin yes", '"', "#", "a,b", "\N{NO-BREAK SPACE}"])
def test_nothing_else_comes_in_by_an_exemption(entry: str) -> None:
    """It is text of another file."""
    with pytest.raises(ConfigError, match="PerSourcePenaltyExemptList"):
        text(dataclasses.replace(NEW, exempt=(entry,)))


@pytest.mark.parametrize("wanted", [OLD, NEW, dataclasses.replace(NEW, methods=Methods.WITH_KEY)])
def test_the_settings_are_those_of_the_text(wanted: Wanted) -> None:
    """Each directive of the file, and nothing else."""
    everywhere, inside = directives(text(wanted))
    assert settings(wanted) == {keyword.lower(): value for keyword, value in (everywhere | inside).items()}


@pytest.mark.parametrize(("wanted", "half"), [(OLD, "/etc/pam.d/sshd:"), (NEW, "/etc/pam.d/sshd-tailscale:")])
def test_the_first_lines_say_whose_it_is(wanted: Wanted, half: str) -> None:
    """What an administrator has to know who comes upon it."""
    head = text(wanted).partition("\n\n")[0]
    for word in ("`pam-tailscale enable`", "`pam-tailscale disable`", "Do not edit it", half):
        assert word in head
