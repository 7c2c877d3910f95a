"""What sshd itself says its configuration comes to: the output of `sshd -T`. Pure: text in, values out."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Effective:
    """Keyword in lower case to what stands behind it, one value for each line that names it."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def all(self, keyword: str) -> tuple[str, ...]:
        """Every line of a keyword, in order: `port`, `listenaddress`, `allowusers` come several times."""
        return self.values.get(keyword.lower(), ())

    def one(self, keyword: str) -> str:
        """A keyword's value; empty where sshd does not print it, which it does for many that are not set."""
        return next(iter(self.all(keyword)), "")

    def says(self, keyword: str) -> bool:
        """Whether a keyword is `yes`."""
        return self.one(keyword).lower() == "yes"

    def is_set(self, keyword: str) -> bool:
        """Whether a keyword has a value that is not sshd's word for nothing."""
        return self.one(keyword).lower() not in ("", "none")


def parse(text: str) -> Effective:
    """What `sshd -T` has printed. Case does not count: newer versions print keywords as the manual writes them."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        keyword, _, value = line.strip().partition(" ")
        if keyword:
            found[keyword.lower()] = (*found.get(keyword.lower(), ()), value.strip())
    return Effective(found)


def connection_spec(user: str, source: object, target: object, port: int) -> str:
    """A connection as `sshd -T -C` takes it, with every criterion that a Match may have but the routing domain.

    `source` and `target`: the addresses of the client and of the host.
    """
    return f"user={user},host={source},addr={source},laddr={target},lport={port}"


# An sshd that was built without them does not print them.
_MAY_BE_UNKNOWN = frozenset({"kerberosauthentication", "gssapiauthentication"})


def differing(found: Effective, settings: Mapping[str, str]) -> list[str]:
    """The keywords, in lower case, of which sshd says something else than is wanted."""
    return [
        keyword
        for keyword, value in settings.items()
        if found.one(keyword) != value and not (keyword in _MAY_BE_UNKNOWN and not found.all(keyword))
    ]


def seconds(text: str) -> int | None:
    """A time as sshd prints it, which is a number of seconds; None where it is none."""
    return int(text) if text.isascii() and text.isdecimal() else None


def first_startups(text: str) -> int | None:
    """The first number of a `MaxStartups`, from which on connections are dropped; None where it is none."""
    return seconds(text.partition(":")[0])


_BY_KEYWORD = (
    ("publickey", "pubkeyauthentication"),
    ("password", "passwordauthentication"),
    ("keyboard-interactive", "kbdinteractiveauthentication"),
    ("hostbased", "hostbasedauthentication"),
    ("gssapi-with-mic", "gssapiauthentication"),
)


def offered(effective: Effective) -> frozenset[str]:
    """The methods that sshd names after a refused `none`, under this effective configuration (auth2.c)."""
    enabled = {method for method, keyword in _BY_KEYWORD if effective.says(keyword)}
    lists = effective.one("authenticationmethods").split()
    if not lists or lists == ["any"]:
        return frozenset(enabled)
    first = {one.partition(",")[0].partition(":")[0] for one in lists}
    return frozenset(first & enabled)
