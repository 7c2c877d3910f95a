"""This host's own store of evidence: held in memory, so that a login never waits for a disk, and written to a file.

With the file are lost: evidence, which means that people are asked anew; and the not-befores, which means that what
`check --forget` has forgotten counts again until its period ends, if another store still has it.
"""

import json
import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pam_tailscale.check import evidence
from pam_tailscale.check.evidence import Entry
from pam_tailscale.check.sqlitefile import Row, SqliteFile
from pam_tailscale.errors import CheckError
from pam_tailscale.model import folded
from pam_tailscale.secret import Secret

TOKENS_BYTES_MAX: Final = 64 << 20
"""Bytes of all tokens together; a usual one has 1 to 2 KiB."""
PASSED_MAX: Final = 10_000
"""People and nodes whose last check is remembered."""
KEYS_BYTES_MAX: Final = 1 << 20
"""Bytes of a provider's published keys."""

_EVERYONE: Final = ""
"""The key of the not-before that is everyone's."""
_PERSON, _NOT_BEFORE, _PASSED, _KEYS = "person", "not-before", "passed", "keys"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A person who has authenticated, for the command line."""

    person: str
    authenticated: float
    until: float


@dataclass(frozen=True, slots=True)
class _Person:
    """A person's entries, never empty, the newest first. Replaced whole, so that a reader needs no lock."""

    person: str
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        return sum(len(entry.token.reveal()) for entry in self.entries)


class SqliteStore:
    """Evidence of this host (`evidence.LocalStore`), in a file of the agent's own. May be used from several threads.

    Where the file cannot be written all goes on in memory, and `problem` says so. A not-before never goes back while
    the file exists: it is on the disk before `raise_not_before` returns, and no age removes it, whatever a clock does.
    """

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path)
        self._changing = threading.Lock()
        self._noting = threading.Lock()
        """For `_passed` and `_unsaved`, never held while a disk is waited for."""
        self._people: dict[str, _Person] = {}
        self._bytes = 0
        self._not_befores: dict[str, float] = {}
        self._passed: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self._keys: tuple[str, str, float] | None = None
        self._unsaved: dict[tuple[str, str], Row] = {}
        """Notes that wait for the next write: they are no reason to write by themselves."""
        self._behind = False
        """Whether the file lacks something, so that it has to be written anew."""
        self._problem = ""
        with self._changing:
            self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what waits, and close the file. Safe to call twice."""
        with self._changing:
            if self._file.usable and (self._unsaved or self._behind):
                self._save([])
            self._file.close()

    def problem(self) -> str:
        """Why the file is not in use and what to do; empty where all is well."""
        return self._problem

    # What stands in the way of a login: one look into a dictionary whose values are never changed.

    def tokens(self, key: str) -> tuple[Secret, ...]:
        """The newest tokens of a person, the newest first."""
        known = self._people.get(key)
        return () if known is None else tuple(entry.token for entry in known.entries)

    def not_before(self, key: str) -> float:
        """Unix time; what was authenticated before it counts no more. 0 where nothing was forgotten."""
        return max(self._not_befores.get(key, 0.0), self._not_befores.get(_EVERYONE, 0.0))

    def last_passed(self, person: str, node: str) -> tuple[str, float] | None:
        """The provider and the Unix time of the last check that was passed."""
        return self._passed.get((person, node))

    def keys(self, scope: str) -> tuple[str, float] | None:
        """The provider's published keys as they were kept, and when."""
        kept = self._keys
        return (kept[1], kept[2]) if kept is not None and kept[0] == scope else None

    def everyone(self, now: float) -> tuple[Remembered, ...]:
        """The newest authentication of each person that is still of use at `now`, in the order of their names."""
        found = []
        for known in tuple(self._people.values()):
            entry = next((entry for entry in known.entries if entry.until > now), None)
            if entry is not None:
                found.append(Remembered(known.person, entry.authenticated, entry.until))
        return tuple(sorted(found, key=lambda one: one.person))

    def people(self) -> Mapping[str, str]:
        """The people whose evidence is kept: key to person."""
        return {key: known.person for key, known in tuple(self._people.items())}

    def keep(self, key: str, person: str, token: Secret, authenticated: float, until: float) -> None:
        """Keep a token that was verified; `until` is the Unix time after which it is of no use to anyone.

        One from before the person's not-before is not kept. Raises CheckError for what cannot be a token.
        """
        evidence.require_token(token, authenticated, until)
        with self._changing:
            if authenticated < self.not_before(key):
                return
            known = self._people.get(key)
            entry = Entry(token, authenticated, until)
            entries = evidence.newest((entry, *(known.entries if known else ())))
            self._save([self._put_person(key, _Person(person, entries)), *self._make_room()])

    def raise_not_before(self, key: str, moment: float) -> bool:
        """Never goes back. Whether this was news; the person's tokens from before are then gone."""
        return key in self.raise_not_befores({key: moment})

    def raise_not_befores(self, heard: Mapping[str, float]) -> frozenset[str]:
        """The same for many, in one write. The keys for which it was news.

        Raises CheckError where they could not be written: until the next start they count all the same.

        Of more than `evidence.NOT_BEFORES_MAX` the oldest one becomes everyone's: none is ever forgotten, and the bound
        costs some people another check.
        """
        with self._changing:
            news = {key: moment for key, moment in heard.items() if self.not_before(key) < moment < math.inf}
            if news:
                self._not_befores.update(news)
                rows = [_row(_NOT_BEFORE, key, moment) for key, moment in news.items()]
                rows += [row for key in news for row in self._void(key)]
                self._save([*rows, *self._join_oldest()], durable=True)
                if self._problem:
                    raise CheckError(self._problem)
        return frozenset(news)

    def note_passed(self, person: str, node: str, provider: str, moment: float) -> None:
        """Remember the last check that was passed, for `explain`. It is written with the next change."""
        with self._noting:
            self._passed[person, node] = (provider, moment)
            self._passed.move_to_end((person, node))
            self._note(_row(_PASSED, json.dumps([person, node]), [provider, moment]))
            while len(self._passed) > PASSED_MAX:
                oldest, _ = self._passed.popitem(last=False)
                self._note(Row(_PASSED, json.dumps(oldest), None))

    def passed(self) -> tuple[tuple[str, str, str, float], ...]:
        """Person, node, provider and Unix time of the last checks that were passed, in the order of the names."""
        with self._noting:
            known = tuple(self._passed.items())
        return tuple(sorted((person, node, provider, moment) for (person, node), (provider, moment) in known))

    def forget_passed(self, person: str) -> None:
        """What is remembered of a person's last checks is gone. It is written with the next change."""
        with self._noting:
            for who in [who for who in self._passed if folded(who[0]) == folded(person)]:
                del self._passed[who]
                self._note(Row(_PASSED, json.dumps(who), None))

    def keep_keys(self, scope: str, text: str, moment: float) -> None:
        """Keep the provider's published keys, in place of those before. Raises CheckError where they are too many."""
        if len(text) > KEYS_BYTES_MAX:
            raise CheckError(f"the provider publishes more than {KEYS_BYTES_MAX >> 20} MiB of keys: check the issuer")
        with self._changing:
            gone = [] if self._keys is None else [Row(_KEYS, self._keys[0], None)]
            self._keys = (scope, text, moment)
            self._save([*gone, _row(_KEYS, scope, [text, moment])])

    def tidy(self, now: float) -> None:
        """Remove what is of no use any more, and write what could not be written before. To be called now and then."""
        with self._changing:
            rows = []
            for key, known in tuple(self._people.items()):
                left = tuple(entry for entry in known.entries if entry.until > now)
                if left != known.entries:
                    rows.append(self._left(key, known, left))
            if rows or self._unsaved or self._behind or not self._file.usable:
                self._save(rows, reopen=True)

    # Below: memory first, then the file. All of it under the lock.

    def _put_person(self, key: str, known: _Person) -> Row:
        before = self._people.get(key)
        self._bytes += known.size - (before.size if before else 0)
        self._people[key] = known
        entries = [[entry.token.reveal(), entry.authenticated, entry.until] for entry in known.entries]
        return _row(_PERSON, key, [known.person, entries])

    def _remove_person(self, key: str) -> Row:
        self._bytes -= self._people.pop(key).size
        return Row(_PERSON, key, None)

    def _left(self, key: str, known: _Person, left: tuple[Entry, ...]) -> Row:
        return self._put_person(key, _Person(known.person, left)) if left else self._remove_person(key)

    def _make_room(self) -> list[Row]:
        rows = []
        while len(self._people) > evidence.PEOPLE_MAX or self._bytes > TOKENS_BYTES_MAX:
            oldest = min(self._people, key=lambda key: self._people[key].entries[0].authenticated)
            rows.append(self._remove_person(oldest))
        return rows

    def _void(self, key: str) -> list[Row]:
        """Remove a person's entries from before their not-before."""
        known = self._people.get(key)
        if known is None:
            return []
        left = tuple(entry for entry in known.entries if entry.authenticated >= self.not_before(key))
        return [] if left == known.entries else [self._left(key, known, left)]

    def _join_oldest(self) -> list[Row]:
        surplus = len(self._not_befores.keys() - {_EVERYONE}) - evidence.NOT_BEFORES_MAX
        if surplus <= 0:
            return []
        own = sorted((moment, key) for key, moment in self._not_befores.items() if key != _EVERYONE)
        for _, key in own[:surplus]:
            del self._not_befores[key]
        floor = max(own[surplus - 1][0], self._not_befores.get(_EVERYONE, 0.0))
        self._not_befores[_EVERYONE] = floor
        log.warning("more than %d people were forgotten: everybody is asked anew", evidence.NOT_BEFORES_MAX)
        rows = [Row(_NOT_BEFORE, key, None) for _, key in own[:surplus]]
        return [
            *rows,
            _row(_NOT_BEFORE, _EVERYONE, floor),
            *(row for key in (*self._people,) for row in self._void(key)),
        ]

    def _note(self, row: Row) -> None:
        self._unsaved[row.kind, row.name] = row

    def _save(self, rows: Iterable[Row], *, durable: bool = False, reopen: bool = False) -> None:
        if not self._file.usable and (durable or reopen):
            self._open()
        if not self._file.usable:
            self._behind = True
            return
        with self._noting:
            notes, self._unsaved = self._unsaved, {}
        try:
            if self._behind:
                self._file.write(self._everything(), durable=True, anew=True)
            else:
                self._file.write([*notes.values(), *rows], durable=durable)
        except CheckError as err:
            self._behind = True
            self._say(str(err))
        else:
            self._behind = False
            self._say("")

    def _say(self, problem: str) -> None:
        if problem and not self._problem:
            log.warning("%s", problem)
        self._problem = problem

    def _open(self) -> None:
        """Open the file and join what it has with what is in memory."""
        rows, problem = self._file.open()
        for row in sorted(rows, key=lambda row: row.kind != _NOT_BEFORE):  # they decide what else is taken
            try:
                self._take(row)
            except (ValueError, TypeError) as err:
                log.warning("%s: an entry is not understood and left out (%s)", row.kind, type(err).__name__)
        self._make_room()
        with self._noting:  # the file has them in the order of their names
            self._passed = OrderedDict(sorted(self._passed.items(), key=lambda item: item[1][1]))
        self._say(problem)

    def _take(self, row: Row) -> None:
        value: Any = json.loads(row.value or "null")
        if row.kind == _NOT_BEFORE:
            self._not_befores[row.name] = max(value, self._not_befores.get(row.name, 0.0))
        elif row.kind == _PERSON:
            self._take_person(row.name, *value)
        elif row.kind == _PASSED:
            person, node = json.loads(row.name)
            with self._noting:
                self._passed.setdefault((person, node), tuple(value))
        elif row.kind == _KEYS and self._keys is None:
            self._keys = (row.name, *value)

    def _take_person(self, key: str, person: str, listed: list[tuple[str, float, float]]) -> None:
        known = self._people.get(key)
        read = [Entry(Secret(token), authenticated, until) for token, authenticated, until in listed]
        entries = evidence.newest((*(known.entries if known else ()), *read))
        left = tuple(entry for entry in entries if entry.authenticated >= self.not_before(key))
        if left:
            self._put_person(key, _Person(person, left))

    def _everything(self) -> Iterable[Row]:
        for key, known in self._people.items():
            yield self._put_person(key, known)
        yield from (_row(_NOT_BEFORE, key, moment) for key, moment in self._not_befores.items())
        with self._noting:
            passed = tuple(self._passed.items())
        yield from (_row(_PASSED, json.dumps(who), value) for who, value in passed)
        if self._keys is not None:
            yield _row(_KEYS, self._keys[0], self._keys[1:])


def _row(kind: str, name: str, value: object) -> Row:
    """A value as JSON: floats come back as they were, and text that is not UTF-8 too."""
    return Row(kind, name, json.dumps(value))
