"""A walk over a netmap's JSON that keeps nothing but what is asked for. Pure.

A netmap may have tens of megabytes; as Python objects it would be five times that. Here one value of it is decoded at a
time. The text is UTF-8 read as Latin-1: one byte a character whatever it holds, and back to the same bytes by encoding.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pam_tailscale.errors import PolicyShapeError, TailscaledError

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODE = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True)
class Reduced:
    """What is left of a netmap."""

    cached: bool
    stable_id: str
    addresses: tuple[str, ...]
    """As in the netmap, with prefix length."""
    rules: tuple[bytes, ...] | None
    """Each rule's JSON, on one line; None when the netmap has no SSHPolicy."""


class Walk:
    """A position in a JSON text, moved on by taking values. All methods raise ValueError where it is no JSON."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._space()

    def peek(self) -> str:
        """The character at which the next value starts; empty at the end of the text."""
        return self._text[self._at : self._at + 1]

    def value(self) -> Any:
        """Take a value, decoded. Raises RecursionError where it is nested too deep."""
        value, self._at = _DECODE(self._text, self._at)
        self._space()
        return value

    def raw(self) -> bytes:
        """Take a value as its bytes."""
        start = self._at
        _, end = _DECODE(self._text, start)
        self._at = end
        self._space()
        return self._text[start:end].encode("latin-1")

    def members(self) -> Iterator[str]:
        """The keys of an object. Whoever iterates takes the value of each before the next."""
        for _ in self._items("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise ValueError("a key is no string")  # noqa: TRY004 -- the text is wrong, not a caller
            self._take(":")
            yield key

    def elements(self) -> Iterator[None]:
        """The elements of an array, to be taken like members()."""
        yield from self._items("[", "]")

    def skip(self) -> None:
        """Pass over a value; of an object or array, one member at a time."""
        if self.peek() == "[":
            for _ in self.elements():
                self.value()
        elif self.peek() == "{":
            for _ in self.members():
                self.value()
        else:
            self.value()

    def end(self) -> None:
        """Nothing may follow any more."""
        if self._at != len(self._text):
            raise ValueError("something follows the document")

    def _items(self, first: str, last: str) -> Iterator[None]:
        self._take(first)
        if self.peek() == last:
            self._take(last)
            return
        while True:
            yield
            if self.peek() == last:
                self._take(last)
                return
            self._take(",")

    def _take(self, character: str) -> None:
        if self.peek() != character:
            raise ValueError(f"no {character} at {self._at}")
        self._at += 1
        self._space()

    def _space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        if match is not None:  # it always matches
            self._at = match.end()


def netmap(body: bytes) -> Reduced:
    """Reduce a netmap.NetworkMap. Raises TailscaledError and PolicyShapeError."""
    return _guarded(body, _netmap)


def first_notify(line: bytes) -> Reduced:
    """Reduce the NetMap in the first message of the bus (up to 1.102). Raises TailscaledError and PolicyShapeError."""
    return _guarded(line, _notify)


def _guarded(body: bytes, reduce: Any) -> Reduced:
    try:
        walk = Walk(body.decode("latin-1"))
        reduced: Reduced = reduce(walk)
        walk.end()
    except (ValueError, RecursionError) as err:
        raise TailscaledError(
            f"tailscaled sent a netmap that is not complete JSON ({len(body)} bytes, {err}): "
            "restart tailscaled; if it stays, this version of tailscaled is not supported"
        ) from err
    return reduced


def _notify(walk: Walk) -> Reduced:
    reduced = None
    for key in walk.members():
        if key == "ErrMessage" and walk.peek() == '"':
            raise TailscaledError(f"tailscaled refused its netmap: {walk.value()[:200]!r}: see `tailscale status`")
        if key == "NetMap" and walk.peek() == "{":
            reduced = _netmap(walk)
        else:
            walk.skip()
    if reduced is None:
        raise TailscaledError("tailscaled has no netmap: log the node in (`tailscale up`), see `tailscale status`")
    return reduced


def _netmap(walk: Walk) -> Reduced:
    seen: dict[str, Any] = {}
    for key in walk.members():
        if key in seen:
            raise ValueError(f"{key} stands twice")
        if key == "SSHPolicy":
            seen[key] = _policy(walk)
        elif key in {"SelfNode", "Cached"}:
            seen[key] = json.loads(walk.raw())
        else:
            walk.skip()
    own = seen.get("SelfNode")
    if not isinstance(own, dict):
        raise TailscaledError("tailscaled's netmap has no node of its own: log the node in, see `tailscale status`")
    cached, stable_id, addresses = seen.get("Cached"), own.get("StableID"), own.get("Addresses") or []
    listed = isinstance(addresses, list) and all(isinstance(address, str) for address in addresses)
    if not listed or not isinstance(stable_id, str) or not (cached is None or isinstance(cached, bool)):
        raise TailscaledError(
            "tailscaled's netmap has an unknown shape: "
            "this version of Tailscale may be newer than pam-tailscale knows; upgrade pam-tailscale"
        )
    return Reduced(bool(cached), stable_id, tuple(addresses), seen.get("SSHPolicy"))


def _policy(walk: Walk) -> tuple[bytes, ...] | None:
    """The rules of a tailcfg.SSHPolicy; what is in them is for others to judge."""
    if walk.peek() != "{":
        if walk.value() is None:
            return None
        raise _unknown_shape("it is not an object")
    rules: list[bytes] | None = None
    for key in walk.members():
        if key != "rules" or rules is not None:
            raise _unknown_shape(f"{key[:80]!r}")
        rules = []
        if walk.peek() == "[":
            for _ in walk.elements():
                rules.append(_one_line(walk.raw()))
        elif walk.value() is not None:
            raise _unknown_shape("its rules are no list")
    return tuple(rules or ())


def _one_line(rule: bytes) -> bytes:
    return json.dumps(json.loads(rule)).encode("ascii") if b"\n" in rule or b"\r" in rule else rule


def _unknown_shape(what: str) -> PolicyShapeError:
    return PolicyShapeError(
        f"the tailnet's SSH policy has a shape this version does not know ({what}): upgrade pam-tailscale"
    )
