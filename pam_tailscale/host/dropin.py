"""The drop-in: what sshd does differently on a connection with both ends in the tailnet, each line with its why.

It sets what has to be certain, whatever the rest of sshd_config says, and nothing of what stays the administrator's:
who may log in at all, commands, directories, forwarding. Pure.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pam_tailscale import paths
from pam_tailscale.errors import ConfigError
from pam_tailscale.host.answers import Methods
from pam_tailscale.host.version import OpenSSH
from pam_tailscale.model import TAILNET_NETWORKS

TAILNET = ",".join(map(str, TAILNET_NETWORKS))
"""What counts as the tailnet, in the drop-in as in the module's arguments."""
_KEYS_USER = "pam-tailscale-keys"
_CONNECTION_TOKEN = OpenSSH(9, 4)
"""The first that knows %C. One that does not takes the file all the same, and ends every login by key."""
_PATTERN = re.compile(r"!?[0-9A-Za-z.:*?/_-]+", re.ASCII)
"""An entry of a list of addresses; no blank, comma, quote or comment may come in by it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything that the content of the files depends on."""

    openssh: OpenSSH
    keys_uid: int
    """The key helper's account, pam-tailscale-keys."""
    keys_gid: int
    exempt: tuple[str, ...] = ()
    """The administrator's own PerSourcePenaltyExemptList, which ours is merged with."""
    methods: Methods | None = None
    """None where sshd_config has no AuthenticationMethods that would keep the policy from deciding."""
    allow_root: bool = True
    """False: the agent is told never to let root in, because sshd_config says `PermitRootLogin no`."""


@dataclass(frozen=True, slots=True)
class _Line:
    keyword: str
    value: str
    why: str = ""
    """Lines of a comment; empty where the comment above is about this one, too."""


def text(wanted: Wanted) -> str:
    """The whole file. Raises ConfigError for a list of exempt addresses that sshd itself would not take."""
    blocks = [_head(wanted), *map(_block, _everywhere(wanted))]
    match = _block(_Line("Match", f"LocalAddress {TAILNET} Address {TAILNET}", _BOTH_ENDS))
    inside = "".join(_block(line, "    ") for line in _on_the_tailnet(wanted))
    return "\n".join([*blocks, match + inside])


def settings(wanted: Wanted) -> Mapping[str, str]:
    """What `sshd -T -C ...` has to print for a connection from the tailnet: keyword in lower case to value.

    A keyword that it does not print at all is one of Kerberos or GSSAPI that this sshd was built without.
    """
    lines = [*_everywhere(wanted), *_on_the_tailnet(wanted)]
    return {line.keyword.lower(): line.value for line in lines}


def _block(line: _Line, indent: str = "") -> str:
    why = "".join(f"{indent}# {part}\n" for part in line.why.splitlines())
    return f"{why}{indent}{line.keyword} {line.value}\n"


_BOTH_ENDS = "Both ends: a LAN host that merely has a route to our tailnet address is not from the tailnet."


def _head(wanted: Wanted) -> str:
    version, half = "before 9.8", f"the block at the top of {paths.PAM_SSHD}"
    if wanted.openssh.has_service_names:
        version, half = "9.8 and later", str(paths.PAM_SERVICE)
    return f"""\
# Made by `pam-tailscale enable` for OpenSSH {version}; `pam-tailscale disable` takes it away. Do not edit it:
# once it is altered, it is taken out of force, and the next enable makes it anew. It is never here without its other
# half, {half}: without that, an empty password would be enough over the tailnet.
"""


def _everywhere(wanted: Wanted) -> Iterator[_Line]:
    """What cannot stand in a Match block."""
    yield _Line("UsePAM", "yes", "Without PAM nobody would ask the tailnet's policy.")
    if wanted.openssh.has_service_names:
        yield _Line(
            "PerSourcePenaltyExemptList",
            ",".join(_exempt(wanted.exempt)),
            "A refused login counts as a failure; after four of them sshd would no longer answer that device at all,\n"
            "not even with why."
            + (
                " What sshd_config exempts beside the tailnet is here as well: the first list wins."
                * bool(wanted.exempt)
            ),
        )


def _exempt(own: Iterable[str]) -> list[str]:
    for entry in own:
        if not _PATTERN.fullmatch(entry):
            raise ConfigError(f"PerSourcePenaltyExemptList: {entry!r} is no address: correct it in sshd_config")
    return list(dict.fromkeys([*TAILNET.split(","), *own]))


def _on_the_tailnet(wanted: Wanted) -> Iterator[_Line]:
    if wanted.openssh.has_service_names:
        yield _Line(
            "PAMServiceName", paths.PAM_SERVICE.name, f"Only our lines decide here; {paths.PAM_SSHD} stays as it is."
        )
    yield from _ASKING
    yield from _methods(wanted)
    yield from _NOT_ASKING
    if wanted.methods is not Methods.WITH_KEY:
        yield from _keys(wanted)
    yield _Line("PermitUserRC", "no", "~/.ssh/rc would run before anything a rule demands.")
    yield _Line("MaxAuthTries", "20", "An agent that offers many keys must still reach the method that tells why not.")


_ASKING = (
    _Line(
        "PermitEmptyPasswords",
        "yes",
        "Clients ask with the method `none` first; these two hand that question to PAM.",
    ),
    _Line("PasswordAuthentication", "yes"),
    _Line(
        "KbdInteractiveAuthentication",
        "yes",
        "The one method with which a person can be told why not.",
    ),
    _Line(
        "PermitRootLogin",
        "yes",
        "Otherwise sshd refuses root after PAM has let root in. Who may be root is the policy's decision.",
    ),
)
_NOT_ASKING = (
    _Line(
        "KerberosAuthentication",
        "no",
        "With this, sshd would take `none` and every password to the Kerberos realm, and not to PAM.",
    ),
    _Line(
        "GSSAPIAuthentication",
        "no",
        "Clients try these two before they come to a prompt. PAM would then be asked only at the end, where a check\n"
        "that is due cannot be shown any more and the connection is over.",
    ),
    _Line("HostbasedAuthentication", "no"),
)


def _methods(wanted: Wanted) -> Iterator[_Line]:
    if wanted.methods is Methods.REPLACE:
        yield _Line(
            "AuthenticationMethods",
            "any",
            "Answered to enable: the policy in place of the methods that sshd_config asks for elsewhere.",
        )
    elif wanted.methods is Methods.WITH_KEY:
        yield _Line(
            "AuthenticationMethods",
            "none,publickey keyboard-interactive,publickey",
            "Answered to enable: the policy, and then a key or certificate that sshd_config accepts for the account.\n"
            "So nothing is said here about where keys are looked for, and the key helper is not asked.",
        )
        yield _Line("PubkeyAuthentication", "yes")


def _keys(wanted: Wanted) -> Iterator[_Line]:
    yield _Line(
        "AuthorizedKeysFile", "none", "Keys and certificates of the host's own would let in whom the policy does not."
    )
    yield _Line("TrustedUserCAKeys", "none")
    yield _Line(
        "PubkeyAuthentication",
        "yes",
        "For clients that cannot do `none`: any key will do once the policy accepts the connection.",
    )
    if wanted.openssh >= _CONNECTION_TOKEN:
        yield _Line("AuthorizedKeysCommand", f"{paths.KEY_HELPER} %u %t %k %C", "%C is the connection.")
        yield _Line(
            "AuthorizedKeysCommandUser", _KEYS_USER, "A user of its own, because the helper reads what strangers send."
        )
        return
    yield _Line(
        "AuthorizedKeysCommand",
        f"{paths.KEY_HELPER} run_as={wanted.keys_uid}:{wanted.keys_gid} %u %t %k",
        "Before OpenSSH 9.4 sshd cannot say which connection it is (and each login by key dies if it is asked to):\n"
        f"the helper starts as root, looks at its parent's socket, and becomes {_KEYS_USER} for good before it\n"
        "looks at the key.",
    )
    yield _Line("AuthorizedKeysCommandUser", "root")
