"""The lines of a PAM service as libpam reads them: pam.conf(5), with include, substack and Debian's @include. Pure."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

TYPES = ("auth", "account", "password", "session")
OTHER = "other"
"""The service that libpam takes each type from that a service does not have (pam_dispatch.c)."""
_DEPTH_MAX = 16
_TOKEN = re.compile(r"\[(?:\\.|[^\]\\])*\]|\S+")

Read = Callable[[str], str | None]
"""The text of a service's file by its name, or None where there is none."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line that asks a module."""

    service: str
    """The file that it stands in."""
    number: int
    type: str
    control: str
    module: str
    arguments: tuple[str, ...]

    @property
    def asks(self) -> str:
        """The module's own name, without its directory."""
        return self.module.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return f"/etc/pam.d/{self.service}:{self.number}"


@dataclass(frozen=True, slots=True)
class Stack:
    """A whole service, type by type."""

    exists: bool
    lines: tuple[Line, ...]
    missing: tuple[str, ...] = ()
    """Files that it names and that are not there: libpam then refuses the whole service."""

    def of(self, kind: str) -> tuple[Line, ...]:
        """The lines of one type, in order."""
        return tuple(line for line in self.lines if line.type == kind)


def read(service: str, text_of: Read) -> Stack:
    """Read a service with all that it includes."""
    if text_of(service) is None:
        return Stack(exists=False, lines=())
    missing: list[str] = []
    lines = tuple(_lines(service, text_of, "", missing, 0))
    return Stack(exists=True, lines=lines, missing=tuple(dict.fromkeys(missing)))


def _lines(service: str, text_of: Read, only: str, missing: list[str], depth: int) -> Iterator[Line]:
    text = text_of(service)
    if text is None or depth > _DEPTH_MAX:
        missing.append(service)
        return
    for number, tokens in _tokens(text):
        if tokens[0] == "@include" and len(tokens) > 1:
            yield from _lines(tokens[1], text_of, only, missing, depth + 1)
            continue
        kind = tokens[0].removeprefix("-").lower()
        if kind not in TYPES or len(tokens) < 3 or only not in ("", kind):  # noqa: PLR2004 (type, control, module)
            continue
        if tokens[1] in ("include", "substack"):
            yield from _lines(tokens[2], text_of, kind, missing, depth + 1)
        else:
            yield Line(service, number, kind, _bare(tokens[1]), tokens[2], tuple(map(_bare, tokens[3:])))


def _tokens(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each line's words, with the number at which it begins; one that ends in a backslash goes on in the next."""
    begun, joined = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        begun = begun or number
        bare = line.partition("#")[0]
        if bare.endswith("\\"):
            joined += bare[:-1] + " "
            continue
        tokens = _TOKEN.findall(joined + bare)
        if tokens:
            yield begun, tokens
        begun, joined = 0, ""
    if tokens := _TOKEN.findall(joined):
        yield begun, tokens


def _bare(token: str) -> str:
    return token[1:-1] if token.startswith("[") and token.endswith("]") else token
