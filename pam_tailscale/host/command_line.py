"""What an sshd was started with, by the words of its title or of /etc/default/ssh. Text in, records out.

A title is what a process says of itself, and what it says is handed to programs that root runs. So only settings that
name no file and no program are taken on; the rest is for the administrator to put into sshd_config.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

# sshd's options that take a value (sshd.c, getopt).
_WITH_VALUE = "CEbcfghkoPpu"
_OPTION_OF = {"p": "Port", "h": "HostKey", "g": "LoginGraceTime", "c": "HostCertificate"}
_TITLE = re.compile(r"(?:sshd: )?(.*?)(?: \[listener\] .*)?", re.DOTALL)
_SETTING = re.compile(r"([A-Za-z0-9]+)[ =][^\x00-\x1f\x7f]*", re.ASCII)
_HARMLESS = frozenset(
    [
        "addressfamily",
        "allowagentforwarding",
        "allowgroups",
        "allowtcpforwarding",
        "allowusers",
        "authenticationmethods",
        "casignaturealgorithms",
        "challengeresponseauthentication",
        "ciphers",
        "clientalivecountmax",
        "clientaliveinterval",
        "compression",
        "debianbanner",
        "denygroups",
        "denyusers",
        "disableforwarding",
        "fingerprinthash",
        "gatewayports",
        "gssapiauthentication",
        "gssapicleanupcredentials",
        "gssapikeyexchange",
        "gssapistrictacceptorcheck",
        "hostbasedacceptedalgorithms",
        "hostbasedauthentication",
        "hostkeyalgorithms",
        "ignorerhosts",
        "ignoreuserknownhosts",
        "ipqos",
        "kbdinteractiveauthentication",
        "kerberosauthentication",
        "kexalgorithms",
        "listenaddress",
        "logingracetime",
        "loglevel",
        "macs",
        "maxauthtries",
        "maxsessions",
        "maxstartups",
        "passwordauthentication",
        "permitemptypasswords",
        "permitrootlogin",
        "permittty",
        "persourcemaxstartups",
        "persourcenetblocksize",
        "persourcepenalties",
        "persourcepenaltyexemptlist",
        "pidfile",
        "port",
        "printlastlog",
        "printmotd",
        "pubkeyacceptedalgorithms",
        "pubkeyauthentication",
        "rekeylimit",
        "requiredrsasize",
        "strictmodes",
        "syslogfacility",
        "tcpkeepalive",
        "usedns",
        "usepam",
        "versionaddendum",
        "x11displayoffset",
        "x11forwarding",
        "x11uselocalhost",
    ]
)
"""Keywords of sshd_config(5), in lower case, by whose values nothing is executed or opened.

A PidFile is not written by `sshd -T` and `sshd -i`, for which these are meant.
"""


def words(title: str) -> list[str]:
    """The words behind the program in a listener's title, `sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups`."""
    match = _TITLE.fullmatch(title)
    return (match[1] if match else title).split()[1:]


def config_file(arguments: Sequence[str]) -> str:
    """The file named with -f, the last of them if there are several; empty where there is none."""
    return next((value for name, value in reversed(list(_options(arguments))) if name == "f"), "")


def settings(arguments: Sequence[str]) -> tuple[str, ...]:
    """What is given with -o and its like, as `Keyword=value`."""
    return tuple(
        value if name == "o" else f"{_OPTION_OF[name]}={value}"
        for name, value in _options(arguments)
        if name == "o" or name in _OPTION_OF
    )


def as_arguments(given: Iterable[str]) -> list[str]:
    """Settings as the command lines of sshd and ssh take them."""
    return [part for setting in given for part in ("-o", setting)]


def harmless(given: Iterable[str]) -> tuple[str, ...]:
    """Those settings by whose values nothing is executed or opened."""
    return tuple(setting for setting in given if _is_harmless(setting))


def _is_harmless(setting: str) -> bool:
    match = _SETTING.fullmatch(setting)
    return match is not None and match[1].lower() in _HARMLESS


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each option with its value, as getopt takes them; a title does not show where an argument with blanks ends."""
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        for at, letter in enumerate(word[1:] if word.startswith("-") else "", 1):
            if letter in _WITH_VALUE:
                value = word[at + 1 :] or (rest.pop(0) if rest else "")
                while letter == "o" and "=" not in value and rest and not rest[0].startswith("-"):
                    value += f" {rest.pop(0)}"
                yield letter, value
                break
