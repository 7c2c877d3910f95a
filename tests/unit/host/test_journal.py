"""The journal says the same after it was read as before it was written, and a damaged one is never guessed at."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.errors import HostError
from pam_tailscale.host.files import Files
from pam_tailscale.host.journal import Change, Goal, Journal

PATH = "var/lib/pam-tailscale/change.json"
CONTENTS = st.dictionaries(st.text(), st.none() | st.binary(max_size=50), max_size=4)


@given(goal=st.sampled_from(Goal), before=CONTENTS, after=CONTENTS)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, goal: Goal, before: dict[str, bytes], after: dict[str, bytes]
) -> None:
    """Also bytes that are no text."""
    journal = Journal(Files(tmp_path_factory.mktemp("root")))
    journal.store(Change(goal, before, after))
    assert journal.load() == Change(goal, before, after)


def test_it_is_roots_alone_and_gone_when_removed(tmp_path: Path) -> None:
    """It holds the host's files."""
    journal = Journal(Files(tmp_path))
    assert journal.load() is None
    journal.store(Change(Goal.OFF, {}, {}))
    assert stat.S_IMODE((tmp_path / PATH).stat().st_mode) == 0o600
    journal.remove()
    journal.remove()
    assert journal.load() is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"format":2,"goal":"on","before":{},"after":{}}',
        b'{"format":1,"goal":"sideways","before":{},"after":{}}',
        b'{"format":1,"goal":"on","before":[],"after":{}}',
        b'{"format":1,"goal":"on","before":{"/etc/a":"?"},"after":{}}',
        b'{"format":1,"goal":"on","before":{"/etc/a":7},"after":{}}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_a_damaged_journal_is_an_error_that_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    """Taking back the wrong files would be worse than stopping."""
    (tmp_path / PATH).parent.mkdir(parents=True)
    (tmp_path / PATH).write_bytes(content)
    with pytest.raises(HostError, match=r"change\.json: is damaged.*pam-tailscale disable"):
        Journal(Files(tmp_path)).load()
