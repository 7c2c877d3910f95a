"""The store of evidence that hosts share: a Redis or Valkey, which is not trusted.

Whoever may write there may have put anything there, of any size and type. So the layout is such that nothing is ever
read whole whose size is not known:

- `PREFIX:token:KEY:N`, N from 0 to 3: a string, `TIME TOKEN`, with the time of the authentication. Of a list or set of
  tokens one could say how many to read, not how large they may be, and a member may have 512 MiB; GETRANGE reads the
  beginning of a string.
- `PREFIX:not-before:DAY`, DAY counted from 1970: a string to which hosts append lines, `KEY TIME`, all of one length.
  Only its end is read. It goes by itself when no check period reaches back to its last line any more.

What is of another type is passed over, and overwritten where there is something to write. A member that cannot be read
costs an attacker one SET; so would deleting the whole store, which is why neither lets anyone in.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pam_tailscale.check import evidence
from pam_tailscale.check.evidence import AHEAD_MAX, NOT_BEFORE_KEEP, NOT_BEFORES_MAX, TOKEN_MAX, TOKENS_MAX, Entry
from pam_tailscale.check.redis_client import Answer, Client, Command, Refusal
from pam_tailscale.check.redis_socket import Place
from pam_tailscale.errors import CheckError
from pam_tailscale.secret import Secret

LOG_EVERY: Final = 60.0
"""Seconds between two messages about entries that were passed over."""

_DAY = 86400
_KEEP = int(NOT_BEFORE_KEEP)
_TIME = re.compile(rb"\d{10}\.\d{7}")
"""Unix time until the year 2286. Seven digits give a float back as it was."""
_TIME_SIZE = 18
_LINE = re.compile(rb"(?m)^([0-9a-f]{64}) (\d{10}\.\d{7})$")
_LINE_SIZE = 64 + 1 + _TIME_SIZE + 2  # a newline on both sides: what a stranger appends spoils no neighbour
_ENTRY_MAX = _TIME_SIZE + 1 + TOKEN_MAX

log = logging.getLogger(__name__)


class RedisStore:
    """Evidence that hosts share (`evidence.SharedStore`). May be used from several threads.

    Where the store is down its methods raise CheckError, and for a time that grows to 30 s they do so at once.
    """

    def __init__(
        self,
        place: Place,
        prefix: str = "pam-tailscale",
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = Client(place, monotonic)
        self._prefix = prefix
        self._wall = wall
        self._monotonic = monotonic
        self._problems: dict[str, str] = {}
        """What reading or writing was refused for by a store that is there."""
        self._counting = threading.Lock()
        self._passed_over = 0
        self._logged = -LOG_EVERY

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def problem(self) -> str:
        """Why the store is of no use and what to do; empty where nothing is known to be wrong."""
        return self._client.problem() or next(iter(self._problems.copy().values()), "")

    def tokens(self, key: str) -> tuple[Secret, ...]:
        """The newest tokens that somebody has put there under this key, whatever they are. Raises CheckError."""
        entries = (entry for entry in self._entries(key) if entry is not None)
        return tuple(entry.token for entry in evidence.newest(entries))

    def keep(self, key: str, token: Secret, authenticated: float, until: float) -> None:
        """Put a token there until the Unix time `until`, in place of the oldest one. Raises CheckError."""
        evidence.require_token(token, authenticated, until)
        seconds = min(int(until - self._wall()), _KEEP)
        if seconds < 1:
            return
        slot = _slot_for(token, self._entries(key))
        value = b"%s %s" % (_time(authenticated), token.reveal().encode("ascii"))
        self._write(("SET", self._slot(key, slot), value, "EX", seconds))

    def announce_not_before(self, key: str, moment: float) -> None:
        """Tell every host that what was authenticated before counts no more, and remove it. Raises CheckError."""
        day = self._day(int(self._wall()) // _DAY)
        line = b"\n%s %s\n" % (key.encode("ascii"), _time(moment))
        commands: list[Command] = [("APPEND", day, line), ("EXPIRE", day, _KEEP)]
        answers = self._client.ask(commands, 0)
        if isinstance(answers[0], Refusal) and answers[0].code in {"WRONGTYPE", "ERR"}:  # ERR: it has grown to 512 MiB
            answers = self._client.ask([("UNLINK", day), *commands], 0)
        self._require_written(answers)
        void = [number for number, entry in enumerate(self._entries(key)) if entry and entry.authenticated < moment]
        if void:
            self._write(*(("UNLINK", self._slot(key, number)) for number in void))

    def not_befores(self) -> Mapping[str, float]:
        """All that was announced and can be meant, by key; of too many the newest. Raises CheckError."""
        today, left = int(self._wall()) // _DAY, NOT_BEFORES_MAX * _LINE_SIZE
        # A clock may be ahead; the newest first.
        days = [self._day(day) for day in range(today + 1, today - _KEEP // _DAY - 1, -1)]
        commands: list[Command] = []
        for day, size in zip(days, self._read([("STRLEN", day) for day in days], 0), strict=True):
            if isinstance(size, int) and min(size, left) > 0:
                commands.append(("GETRANGE", day, -min(size, left), -1))
                left -= min(size, left)
        if not commands:
            return {}
        return self._heard(self._read(commands, NOT_BEFORES_MAX * _LINE_SIZE))

    def _heard(self, texts: Sequence[Answer]) -> dict[str, float]:
        now, heard = self._wall(), dict[str, float]()
        for text in texts:
            if not isinstance(text, bytes):
                continue
            lines = [(key.decode("ascii"), float(moment)) for key, moment in _LINE.findall(text)]
            for key, moment in lines:
                if evidence.believable(moment, now):
                    heard[key] = max(moment, heard.get(key, 0.0))
            possible = sum(moment <= now + AHEAD_MAX for _, moment in lines)
            self._pass_over(len(text) // _LINE_SIZE - possible, "announced")
        return heard

    def _entries(self, key: str) -> list[Entry | None]:
        """What is in each slot of a person."""
        commands = [("GETRANGE", self._slot(key, number), 0, _ENTRY_MAX) for number in range(TOKENS_MAX)]
        return [self._entry(value) for value in self._read(commands, TOKENS_MAX * (_ENTRY_MAX + 1))]

    def _entry(self, value: Answer) -> Entry | None:
        if not isinstance(value, bytes) or not value:
            return None
        moment, space, token = value[:_TIME_SIZE], value[_TIME_SIZE : _TIME_SIZE + 1], value[_TIME_SIZE + 1 :]
        if not _TIME.fullmatch(moment) or space != b" " or not evidence.fits(token):
            self._pass_over(1, "token")
            return None
        authenticated = float(moment)
        if authenticated > self._wall() + AHEAD_MAX:
            authenticated = 0.0  # it must not stand before true ones for ever
        return Entry(Secret(token.decode("ascii")), authenticated)

    def _read(self, commands: Sequence[Command], most: int) -> list[Answer]:
        """The answers; None for what is of another type. Raises CheckError."""
        answers: list[Answer] = []
        for answer in self._client.ask(commands, most):
            if isinstance(answer, Refusal):
                if answer.code != "WRONGTYPE":
                    raise self._refused("read", answer)
                self._pass_over(1, "key")
            answers.append(None if isinstance(answer, Refusal) else answer)
        self._problems.pop("read", None)
        return answers

    def _write(self, *commands: Command) -> None:
        self._require_written(self._client.ask(commands, 0))

    def _require_written(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            if isinstance(answer, Refusal):
                raise self._refused("write", answer)
        self._problems.pop("write", None)

    def _refused(self, what: str, refusal: Refusal) -> CheckError:
        self._problems[what] = refusal.advice
        return CheckError(refusal.advice)

    def _pass_over(self, count: int, what: str) -> None:
        """Say now and then that there are entries which nobody of ours has made."""
        if count <= 0:
            return
        with self._counting:
            self._passed_over += count
            now = self._monotonic()
            if now - self._logged < LOG_EVERY:
                return
            self._logged, number, self._passed_over = now, self._passed_over, 0
        log.warning(
            "entries of the shared store passed over, which no host of ours has made: %d (the last: %s): "
            "see who may write under %s:*",
            number,
            what,
            self._prefix,
        )

    def _slot(self, key: str, number: int) -> str:
        return f"{self._prefix}:token:{key}:{number}"

    def _day(self, number: int) -> str:
        return f"{self._prefix}:not-before:{number}"


def _time(moment: float) -> bytes:
    return b"%018.7f" % min(max(moment, 0.0), 9999999999.0)


def _slot_for(token: Secret, entries: Sequence[Entry | None]) -> int:
    """Where a token goes: where it is already, else where nothing is that counts, else in place of the oldest."""
    for number, entry in enumerate(entries):
        if entry is not None and entry.token == token:
            return number
    moments = [-1.0 if entry is None else entry.authenticated for entry in entries]
    return moments.index(min(moments))
