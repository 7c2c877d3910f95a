"""What an sshd was started with, and what of that is taken on."""

import pytest

from pam_tailscale.host.command_line import as_arguments, config_file, harmless, settings, words

LISTENING = "sshd: /usr/sbin/sshd {} [listener] 0 of 10-100 startups"


@pytest.mark.parametrize(
    ("arguments", "config", "options"),
    [
        ("-D", "", ()),
        ("-D -f /etc/ssh/sshd_config", "/etc/ssh/sshd_config", ()),
        ("-D -f/etc/ssh/other", "/etc/ssh/other", ()),
        ("-D -f /a -f /b", "/b", ()),
        ("-D -o UsePAM=no", "", ("UsePAM=no",)),
        ("-oUsePAM=no -D", "", ("UsePAM=no",)),
        ("-D -o UsePAM no -e", "", ("UsePAM no",)),
        ("-Do UsePAM=no", "", ("UsePAM=no",)),
        ("-D -p 2222 -p22", "", ("Port=2222", "Port=22")),
        ("-4Dp 2222", "", ("Port=2222",)),
        (
            "-D -E /var/log/sshd -o A=b -h /etc/key -c /etc/cert",
            "",
            ("A=b", "HostKey=/etc/key", "HostCertificate=/etc/cert"),
        ),
        ("-D -g 60", "", ("LoginGraceTime=60",)),
        ("-D -E -f", "", ()),
        ("-D -o", "", ("",)),
        ("", "", ()),
    ],
)
def test_what_an_sshd_was_started_with(arguments: str, config: str, options: tuple[str, ...]) -> None:
    """As getopt reads it: values behind or beside their letter, letters in one word; the last -f counts."""
    found = words(LISTENING.format(arguments))
    assert (config_file(found), settings(found)) == (config, options)


def test_a_title_that_is_no_listeners_is_its_command_line() -> None:
    """Between its start and its first title."""
    assert words("/usr/sbin/sshd -D -f /x") == ["-D", "-f", "/x"]


@pytest.mark.parametrize(
    "setting",
    ["UsePAM=no", "usepam no", "PORT = 2222", "LoginGraceTime=60", "PerSourcePenaltyExemptList=192.0.2.0/24"],
)
def test_what_names_no_file_is_taken_on(setting: str) -> None:
    """In whatever case, with whatever sign between."""
    assert harmless([setting]) == (setting,)


NOT_TAKEN = (
    "AuthorizedKeysCommand",
    "AuthorizedKeysCommandUser",
    "AuthorizedPrincipalsCommand",
    "AuthorizedPrincipalsCommandUser",
    "ForceCommand",
    "Subsystem",
    "Include",
    "SshdSessionPath",
    "SshdAuthPath",
    "SecurityKeyProvider",
    "ModuliFile",
    "HostKey",
    "HostCertificate",
    "HostKeyAgent",
    "AuthorizedKeysFile",
    "AuthorizedPrincipalsFile",
    "TrustedUserCAKeys",
    "RevokedKeys",
    "Banner",
    "ChrootDirectory",
    "XAuthLocation",
    "PAMServiceName",
    "SetEnv",
    "AcceptEnv",
    "PermitUserEnvironment",
    "PermitUserRC",
    "Match",
    "SomethingNew",
)


@pytest.mark.parametrize("keyword", NOT_TAKEN)
def test_what_is_run_or_opened_is_not(keyword: str) -> None:
    """Nor what is not known here."""
    given = [f"{keyword}=/tmp/mine", f"{keyword.lower()} /tmp/mine", f' "{keyword}" /tmp/mine']
    assert harmless(given) == ()


@pytest.mark.parametrize(
    "setting",
    ["", "UsePAM", "=UsePAM no", "UsePAM=no\nForceCommand=/tmp/mine", "UsePAM=no\0", "UsePAM\t=no", '"UsePAM"=no'],
)
def test_what_might_be_read_otherwise_is_not(setting: str) -> None:
    """One keyword in plain letters, one sign, one line."""
    assert harmless([setting]) == ()


def test_settings_as_arguments() -> None:
    """Each behind its own -o."""
    assert as_arguments(["A=1", "B=2"]) == ["-o", "A=1", "-o", "B=2"]
    assert as_arguments([]) == []
