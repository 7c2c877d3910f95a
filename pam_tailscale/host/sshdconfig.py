"""sshd_config as sshd reads it: Include, Match, and which line sets what for whom. Pure: text in, records out.

After OpenSSH's servconf.c (process_server_config_line_depth, match_cfg_line). `sshd -T` says what the configuration
comes to for one connection; this says which file and line make it so, and what it comes to for all that could come.
"""

import enum
import fnmatch
import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pam_tailscale.model import TAILNET_NETWORKS, IPNetwork

PROGRAM = "/usr/sbin/sshd"
MAIN = "/etc/ssh/sshd_config"
DIRECTORY = "/etc/ssh"
COMMAND_LINE = "the command line of sshd"
"""Stands for the file of settings given with -o, which come before those of all files."""

_DEPTH_MAX = 16
_SPACE = " \t\r\n\f"
_KEYWORD = re.compile(r'[ \t]*(?:"([^"]*)"|([^ \t="]+))[ \t]*=?[ \t]*')
_ALIASES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
}
_ARGUMENTLESS = {"all", "invalid-user"}
_OCTETS = re.compile(r"((?:\d{1,3}\.){1,3})\*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


@dataclass(frozen=True, slots=True)
class Match:
    """A Match line: its criteria in lower case, each with its pattern; `all` has an empty one."""

    criteria: tuple[tuple[str, str], ...]
    place: Place

    def __str__(self) -> str:
        words = " ".join(f"{name} {pattern}".strip() for name, pattern in self.criteria)
        return f"Match {words} ({self.place})"


Matches = tuple[Match, ...]
"""Match lines that all have to hold, outermost first; none where something holds for every connection."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A keyword in lower case, an alias under its proper name, with its arguments."""

    keyword: str
    arguments: tuple[str, ...]
    place: Place
    inside: Matches = ()

    def __str__(self) -> str:
        return f"{self.keyword} {' '.join(self.arguments)} ({self.place})"


@dataclass(frozen=True, slots=True)
class DropInPlace:
    """Where sshd reads a drop-in."""

    index: int
    """How many settings it has read before."""
    inside: Matches
    """The Match blocks that the Include stands in."""


@dataclass(frozen=True, slots=True)
class SshdConfig:
    """A whole configuration, in the order in which sshd reads it."""

    settings: tuple[Setting, ...] = ()
    drop_in: DropInPlace | None = None
    """Where the drop-in is read, or would be if it were there; None: no Include takes it."""
    problems: tuple[str, ...] = ()
    """What sshd would not accept, or could not read."""

    def before_drop_in(self) -> tuple[Setting, ...]:
        """Everything that is read before the drop-in; all there is where it is not read."""
        return self.settings if self.drop_in is None else self.settings[: self.drop_in.index]


class Reader:
    """Reads a configuration and everything it includes.

    Args:
        text: the text of a file, or None where it cannot be read.
        expand: the files that a pattern fits, in any order.
        drop_in: path of a drop-in that is left out; where it would be read is found out.
    """

    def __init__(self, text: Callable[[str], str | None], expand: Callable[[str], Sequence[str]], drop_in: str) -> None:
        self._text = text
        self._expand = expand
        self._drop_in = drop_in
        self._settings: list[Setting] = []
        self._found: DropInPlace | None = None
        self._problems: list[str] = []

    def read(self, path: str = MAIN, options: Sequence[str] = ()) -> SshdConfig:
        """The configuration of a file. `options`: what sshd was given with -o, as `Keyword=value`."""
        for option in options:
            self._line(option, Place(COMMAND_LINE, 0), (), 0)
        self._file(path, (), 0)
        return SshdConfig(tuple(self._settings), self._found, tuple(self._problems))

    def _file(self, path: str, inside: Matches, depth: int) -> None:
        text = self._text(path)
        if text is None or depth > _DEPTH_MAX:
            self._problems.append(f"{path}: " + ("cannot be read" if text is None else "is included too deeply"))
            return
        here = inside
        for number, line in enumerate(text.split("\n"), 1):
            match = self._line(line, Place(path, number), here, depth)
            if match is not None:
                here = (*inside, match)

    def _line(self, line: str, place: Place, inside: Matches, depth: int) -> Match | None:
        """Take in one line; what is answered is the Match block that begins with it."""
        found = _KEYWORD.match(line.rstrip(_SPACE))
        keyword = (found[1] or found[2] or "").lower() if found else ""
        if found is None or not keyword or keyword.startswith("#"):
            return None
        try:
            arguments = split(line.rstrip(_SPACE)[found.end() :])
        except ValueError as err:
            self._problems.append(f"{place}: {err}")
            return None
        if keyword == "match":
            return Match(_criteria(arguments), place)
        if keyword == "include":
            for pattern in arguments:
                self._include(pattern if pattern[:1] in ("/", "~") else f"{DIRECTORY}/{pattern}", inside, depth)
        else:
            self._settings.append(Setting(_ALIASES.get(keyword, keyword), arguments, place, inside))
        return None

    def _include(self, pattern: str, inside: Matches, depth: int) -> None:
        paths = set(self._expand(pattern))
        if _fits(self._drop_in, pattern):
            paths.add(self._drop_in)
        for path in sorted(paths, key=lambda path: path.encode(errors="surrogateescape")):
            if path != self._drop_in:
                self._file(path, inside, depth + 1)
            elif self._found is None:
                self._found = DropInPlace(len(self._settings), inside)


def split(text: str) -> tuple[str, ...]:
    """A line's arguments, up to a comment, as misc.c's argv_split does. Raises ValueError for quotes left open."""
    words: list[str] = []
    at = 0
    while at < len(text) and text[at] != "#":
        if text[at] in " \t":
            at += 1
            continue
        word, at = _word(text, at)
        words.append(word)
    return tuple(words)


def _word(text: str, at: int) -> tuple[str, int]:
    """The word that begins at a position, without its quotes and escapes, and where it ends."""
    word, quote = "", ""
    while at < len(text):
        character, following = text[at], text[at + 1 : at + 2]
        if character == "\\" and following and (following in "'\"\\" or (following == " " and not quote)):
            word += following
            at += 1
        elif not quote and character in " \t":
            break
        elif not quote and character in "'\"":
            quote = character
        elif character == quote:
            quote = ""
        else:
            word += character
        at += 1
    if quote:
        raise ValueError("invalid quotes")
    return word, at


def _criteria(arguments: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of a criterion and its pattern, which `=` may join."""
    words: list[str] = []
    for argument in arguments:
        name, equals, pattern = argument.partition("=")
        words += [name, pattern] if equals and len(words) % 2 == 0 else [argument]
        if len(words) % 2 == 1 and words[-1].lower() in _ARGUMENTLESS:
            words.append("")
    words += [""] * (len(words) % 2)
    return tuple((name.lower(), pattern) for name, pattern in zip(words[::2], words[1::2], strict=True))


def _fits(path: str, pattern: str) -> bool:
    """Whether glob(7) takes a path for a pattern: no wildcard goes beyond a slash."""
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


# For which connections something is set


class Fit(enum.Enum):
    """For how many of some connections a Match holds."""

    NEVER = 0
    MAYBE = 1
    """For some of them, or it depends on what is not known here: groups, names of hosts."""
    ALWAYS = 2


@dataclass(frozen=True, slots=True)
class Connections:
    """The connections that something is asked about."""

    clients: tuple[IPNetwork, ...] = TAILNET_NETWORKS
    servers: tuple[IPNetwork, ...] = TAILNET_NETWORKS
    ports: tuple[int, ...] = (22,)
    user: str = ""
    """Empty: of whoever."""


def who_set(config: SshdConfig, keyword: str, connections: Connections) -> tuple[Setting, ...]:
    """The settings of which one is in force for each of the connections, the strongest first.

    What stands in a Match is stronger than what does not, wherever the two stand; among each of them the first is. So
    none means: nobody has set it. More than one means: it depends on the connection.
    """
    named = [setting for setting in config.settings if setting.keyword == keyword.lower()]
    found = []
    for setting in named:
        fit = fits(setting.inside, connections)
        if setting.inside and fit is not Fit.NEVER:
            found.append(setting)
            if fit is Fit.ALWAYS:
                return tuple(found)
    return (*found, *[setting for setting in named if is_global(setting)][:1])


def is_global(setting: Setting) -> bool:
    """Whether it counts beside all Match blocks; `Match all` ends them (servconf.c, match_cfg_line)."""
    return all(name == "all" for match in setting.inside for name, _ in match.criteria)


def fits(inside: Matches, connections: Connections) -> Fit:
    """For how many of the connections all of these blocks hold."""
    each = [_criterion(name, pattern, connections) for match in inside for name, pattern in match.criteria]
    return min(each, key=lambda fit: fit.value, default=Fit.ALWAYS)


def _criterion(name: str, pattern: str, connections: Connections) -> Fit:
    if name == "all":
        return Fit.ALWAYS
    if name == "address":
        return _addresses(pattern, connections.clients)
    if name == "localaddress":
        return _addresses(pattern, connections.servers)
    if name == "localport":
        return _how_many(str(port) == pattern for port in connections.ports)
    if name == "user" and connections.user:
        return Fit.ALWAYS if _matches_list(connections.user, pattern) else Fit.NEVER
    if name == "user" and pattern == "*":
        return Fit.ALWAYS
    if name == "invalid-user":
        return Fit.NEVER  # nobody logs in as a name that is nobody's
    return Fit.MAYBE


def _how_many(answers: Iterable[bool]) -> Fit:
    """Of several, each of which is certain."""
    found = set(answers)
    return Fit.MAYBE if len(found) > 1 else Fit.ALWAYS if True in found else Fit.NEVER


def _matches_list(text: str, patterns: str) -> bool:
    """match.c, match_pattern_list: one pattern has to fit, and none with `!` before it."""
    parts = patterns.split(",")
    wanted = [part for part in parts if not part.startswith("!")]
    return not any(_matches(text, part[1:]) for part in parts if part.startswith("!")) and any(
        _matches(text, part) for part in wanted
    )


def _matches(text: str, pattern: str) -> bool:
    # Only `*` and `?` are wildcards of sshd's; a bracket is a bracket.
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))


def _addresses(patterns: str, networks: Sequence[IPNetwork]) -> Fit:
    """addrmatch.c, addr_match_list: what is named with `!` is out, whatever else is named."""
    each = {_address_fit(patterns.split(","), network) for network in networks}
    return each.pop() if len(each) == 1 else Fit.MAYBE


def _address_fit(entries: Sequence[str], network: IPNetwork) -> Fit:
    taken = _most(_entry(entry.removeprefix("!"), network) for entry in entries if entry.startswith("!"))
    given = _most(_entry(entry, network) for entry in entries if not entry.startswith("!"))
    if taken is Fit.ALWAYS or given is Fit.NEVER:
        return Fit.NEVER
    return Fit.ALWAYS if given is Fit.ALWAYS and taken is Fit.NEVER else Fit.MAYBE


def _most(fits: Iterable[Fit]) -> Fit:
    return max(fits, key=lambda fit: fit.value, default=Fit.NEVER)


def _entry(text: str, network: IPNetwork) -> Fit:
    """How much of a network an entry names: an address, a network, or a pattern with wildcards."""
    if text == "*":
        return Fit.ALWAYS
    if octets := _OCTETS.fullmatch(text):
        given = octets[1].rstrip(".").split(".")
        text = ".".join(given + ["0"] * (4 - len(given))) + f"/{8 * len(given)}"
    try:
        entry = ipaddress.ip_network(text)
    except ValueError:
        return Fit.MAYBE
    if not entry.overlaps(network):
        return Fit.NEVER
    return Fit.ALWAYS if entry.prefixlen <= network.prefixlen else Fit.MAYBE
