"""Accounts for the proof, as text."""

import ctypes

import pytest

from pam_tailscale.host.proving.actors import Actor, cast, group_with, hashed, passwd_with, shadow_with

ONE, TWO = Actor("one", 59999, "/stage/one"), Actor("two", 59998, "/stage/two")
PASSWD = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/bash\n"
SHADOW = "root:*:19000:0:99999:7:::\nalice:$6$x$y:19000:0:99999:7:30:21000:\n"


def test_nobodys_uid_is_taken() -> None:
    """From the end of the range of people, past those that are there."""
    taken = PASSWD + "far:x:59999:59999::/:/bin/sh\nshort\n"
    actors = cast(taken, ("one", "two"), "/stage")
    assert actors == (Actor("one", 59998, "/stage/one"), Actor("two", 59997, "/stage/two"))


def test_actors_stand_first() -> None:
    """Below a line of NIS nothing would be looked at."""
    text = passwd_with(PASSWD + "+::::::\n", (ONE, TWO))
    assert text.splitlines() == [
        "one:x:59999:59999::/stage/one:/bin/sh",
        "two:x:59998:59998::/stage/two:/bin/sh",
        *PASSWD.splitlines(),
        "+::::::",
    ]


def test_a_name_stands_once() -> None:
    """Also where the host has an account of that name."""
    assert passwd_with("one:x:5:5::/:/bin/false\n", (ONE,)) == "one:x:59999:59999::/stage/one:/bin/sh\n"
    assert group_with("one:x:5:\nother:x:6:one\n", (ONE,)) == "one:x:59999:\nother:x:6:one\n"


def test_passwords_are_put_in() -> None:
    """New names in front, the host's where they were, the rest untouched."""
    text = shadow_with(SHADOW, [("decoy", ""), ("root", "$6$a$b")])
    assert text.splitlines() == [
        "decoy::::::::",
        "root:$6$a$b:::::::",
        "alice:$6$x$y:19000:0:99999:7:30:21000:",
    ]


def test_an_account_that_ends_still_ends() -> None:
    """Only what is said about the age of a password goes: an old one would have to be changed first."""
    (line,) = shadow_with("alice:old:1:0:2:7:30:21000:\n", [("alice", "new")]).splitlines()
    assert line.split(":") == ["alice", "new", "", "", "", "", "", "21000", ""]


@pytest.mark.parametrize("line", ["alice:old", "alice:old:1", "alice"])
def test_a_line_that_is_cut_short_is_made_whole(line: str) -> None:
    """pam_unix would not take it."""
    (made,) = shadow_with(f"{line}\n", [("alice", "new")]).splitlines()
    assert made == "alice:new:::::::"


def test_bytes_that_are_no_text_survive() -> None:
    """A comment field may hold anything."""
    odd = "odd:x:7:7:\udcff:/:/bin/sh\n"
    assert odd in passwd_with(odd, (ONE,))


def test_a_hash_fits_its_password_alone() -> None:
    """As crypt(3) says, which is what pam_unix asks."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    field = hashed("secret")
    assert library.crypt(b"secret", field.encode()) == field.encode()
    assert library.crypt(b"Secret", field.encode()) != field.encode()
    assert hashed("secret") != field
    assert ":" not in field
