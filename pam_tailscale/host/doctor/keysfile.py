"""What an authorized_keys file restricts (sshd(8), AUTHORIZED_KEYS FILE FORMAT). Pure."""

import re

_KEY_TYPE = re.compile(r"(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+\Z", re.ASCII)
_RESTRICTING = frozenset(
    {
        "command",
        "expiry-time",
        "from",
        "no-agent-forwarding",
        "no-port-forwarding",
        "no-pty",
        "no-user-rc",
        "no-x11-forwarding",
        "permitlisten",
        "permitopen",
        "principals",
        "restrict",
        "verify-required",
    }
)


def restrictions(text: str) -> frozenset[str]:
    """The options by which any entry of the file lets its key do less than everything, in lower case."""
    found: set[str] = set()
    for line in text.splitlines():
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        options, _ = _first_word(entry)
        if _KEY_TYPE.match(options) is None:
            found |= {name for name in _names(options) if name in _RESTRICTING}
    return frozenset(found)


def _first_word(line: str) -> tuple[str, str]:
    """A line up to its first blank outside of quotes (auth-options.c, sshauthopt_parse), and the rest."""
    quoted = False
    for at, character in enumerate(line):
        if character == '"' and line[at - 1 : at] != "\\":
            quoted = not quoted
        elif character in " \t" and not quoted:
            return line[:at], line[at:].strip()
    return line, ""


def _names(options: str) -> list[str]:
    bare = re.sub(r'"(?:\\.|[^"\\])*"', "", options)
    return [part.partition("=")[0].strip().lower() for part in bare.split(",")]
