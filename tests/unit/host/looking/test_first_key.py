"""Whose file of keys counts: read as its owner, as sshd does. Run as the program that it is, by root."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pam_tailscale.host.looking import first_key

KEY = "ssh-ed25519 AAAA alice\n"
UID = 4321


@pytest.fixture
def home() -> Iterator[Path]:
    """One of an account's, which everybody can look into."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        path = Path(directory, "home")
        path.mkdir()
        os.chown(path, UID, UID)
        yield path


def own(path: Path, text: str = KEY, mode: int = 0o600, uid: int = UID) -> Path:
    """A file of the account's."""
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, uid, uid)
    return path


def account(home: Path, *files: Path, uid: int = UID) -> dict[str, Any]:
    """As the program is told of one."""
    return {"uid": uid, "gid": uid, "groups": [uid], "home": str(home), "files": list(map(str, files))}


def first(*accounts: dict[str, Any], strict: bool = True) -> str:
    """What the program answers."""
    done = subprocess.run(
        [sys.executable, "-I", first_key.__file__],
        input=json.dumps({"strict": strict, "accounts": accounts}),
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert done.stderr == ""
    return done.stdout


def test_the_first_who_has_a_key(home: Path) -> None:
    """In any of the files; whoever has none is passed over."""
    nothing = account(home, home / "gone", own(home / "comments", "# none\n\n"))
    assert first() == first(nothing) == ""
    assert first(nothing, account(home, home / "gone", own(home / "keys")), account(home, home / "keys")) == "1"


def test_it_is_read_as_the_account_and_not_as_root(home: Path) -> None:
    """A link of the account's leads nowhere where it may not read itself, and another account's key is not its own."""
    secret = own(home.parent / "secret", uid=0)
    link = home / "link"
    link.symlink_to(secret)
    assert first(account(home, link), account(home, own(home / "others", uid=UID + 1)), strict=False) == ""
    assert first(account(home, link, uid=0), strict=False) == "0"


def test_groups_are_the_accounts_too(home: Path) -> None:
    """None of root's are left, and they come back for the next."""
    shared = own(home / "shared", uid=0, mode=0o640)
    alice = account(home, shared)
    assert first(alice, strict=False) == ""
    assert first(account(home), {**alice, "groups": [UID, 0]}, strict=False) == "1"


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o660, 0o666])
def test_what_others_may_write_does_not_count(home: Path, mode: int) -> None:
    """With StrictModes, as sshd says."""
    keys = own(home / "keys", mode=mode)
    assert first(account(home, keys)) == ""
    assert first(account(home, keys), strict=False) == "0"


def test_a_home_that_others_may_write_to_does_not_count(home: Path) -> None:
    """They could put another file there; what is above the home is not asked."""
    keys = own(home / "keys")
    home.chmod(0o777)
    assert first(account(home, keys)) == ""
    home.chmod(0o755)
    home.parent.chmod(0o777)
    assert first(account(home, keys)) == "0"


def test_another_owner_does_not_count(home: Path) -> None:
    """But root."""
    assert first(account(home, own(home / "keys", mode=0o644, uid=UID + 1))) == ""
    assert first(account(home, own(home / "keys", mode=0o644, uid=0))) == "0"


def test_what_is_no_plain_file_is_not_read(home: Path) -> None:
    """Nobody writes to the pipe."""
    os.mkfifo(home / "pipe")
    os.chown(home / "pipe", UID, UID)
    for path in ("pipe", ".", "gone"):
        with pytest.raises(OSError, match=r"plain file|No such"):
            first_key.content(str(home / path))
    assert first(account(home, home / "pipe", Path("/dev/zero"), home), strict=False) == ""


def test_what_is_too_large_is_not_read(home: Path) -> None:
    """A mebibyte is many keys."""
    keys = own(home / "keys", KEY + "#" * (first_key.LIMIT - len(KEY)))
    assert len(first_key.content(str(keys))[0]) == first_key.LIMIT
    own(home / "keys", KEY + "#" * first_key.LIMIT)
    with pytest.raises(OSError, match="too large"):
        first_key.content(str(keys))


def test_a_size_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of /proc say that they are empty; half of one is not taken for the whole."""
    status = Path("/proc/self/status")
    assert status.stat().st_size == 0
    monkeypatch.setattr(first_key, "LIMIT", 100)
    with pytest.raises(OSError, match="too large"):
        first_key.content(str(status))


def test_this_process_is_who_it_was_afterwards(home: Path) -> None:
    """Whatever happens meanwhile."""
    before = (os.geteuid(), os.getegid(), os.getgroups())
    with first_key.acting_as(account(home)):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (UID, UID, [UID])
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before
    with suppress(ZeroDivisionError), first_key.acting_as(account(home)):
        raise ZeroDivisionError
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before
