"""Our part of PAM: put in and taken out again without a byte of anybody else's."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.errors import ConfigError
from pam_tailscale.host.pamfiles import ACCESS, BLOCK, SERVICE, insert, remove

STOCK = b"""\
# PAM configuration for the Secure Shell service
#
@include common-auth
account    required     pam_nologin.so
session    required     pam_loginuid.so
"""
OBSERVE = b"session optional pam_tailscale.so mode=observe\n"
"""A line that an administrator may have written."""
PIECES = [*STOCK.splitlines(keepends=True), OBSERVE, b"#\r\n", b"\n", b"auth \\\n", b"\xff\x00", b"no newline", b"\r"]
CONTENTS = st.one_of(st.binary(), st.lists(st.sampled_from(PIECES)).map(b"".join))
OLD = BLOCK.replace(b"default=die", b"default=bad").replace(b"end of what it wrote", b"the end")
"""The block of another version."""


def active(text: bytes) -> list[list[str]]:
    """The lines that count, as words."""
    return [line.split() for line in text.decode().splitlines() if line and not line.startswith("#")]


@given(CONTENTS)
def test_in_and_out_leaves_every_byte(content: bytes) -> None:
    """Whatever stands in the file, with CRLF, without a last newline, or no text at all."""
    assert remove(insert(content), BLOCK) == content
    assert remove(insert(content), None) == content


@given(CONTENTS)
def test_a_file_without_the_block_is_left_alone(content: bytes) -> None:
    """A package has put its own file in place: there is nothing to do, also where a line names our module."""
    assert remove(content, BLOCK) == content


@pytest.mark.parametrize("written", [BLOCK, OLD])
def test_what_another_version_wrote_is_found_by_the_reference(written: bytes) -> None:
    """The reference says what to look for."""
    assert remove(written + STOCK, written) == STOCK


def test_a_reference_that_is_no_block_of_ours_takes_nothing_away() -> None:
    """It says what to cut, so what it must begin with is known."""
    assert remove(insert(STOCK), STOCK[:20]) == STOCK
    assert remove(STOCK, STOCK[:20]) == STOCK


@pytest.mark.parametrize(
    ("content", "rest"),
    [
        (b"# managed\n" + BLOCK + STOCK, b"# managed\n" + STOCK),
        (b"auth optional pam_echo.so\n" + BLOCK, b"auth optional pam_echo.so\n"),
        (BLOCK + BLOCK + STOCK, STOCK),
        (STOCK + BLOCK + BLOCK + STOCK, STOCK + STOCK),
        (insert(OBSERVE + STOCK), OBSERVE + STOCK),
    ],
    ids=["below a line", "at the end", "twice", "twice in the middle", "above a line of the administrator's"],
)
def test_the_block_is_found_wherever_it_stands(content: bytes, rest: bytes) -> None:
    """Somebody has put lines above it, or it came there twice."""
    assert remove(content, BLOCK) == rest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"default=die", b"default=ignore"),
        (b"mode=enforce", b"mode=enforce debug"),
        (b"\n", b"\r\n"),
        (b"pam_tailscale.so", b"/usr/lib/security/pam_tailscale.so"),
        (b"noaudit ", b""),
        (b"# The same question", b"# the same Question"),
        (b"#\n", b""),
        (b"auth    [success=ignore", b"\nauth [success=ignore"),
    ],
)
def test_an_altered_block_is_found_by_its_comments(old: bytes, new: bytes) -> None:
    """An editor changed lines of ours: between our first and last comment they are still ours."""
    assert old in BLOCK
    rest = remove(BLOCK.replace(old, new) + STOCK + OBSERVE, BLOCK)
    assert active(rest) == active(STOCK + OBSERVE)
    assert rest.endswith(STOCK + OBSERVE)


def test_an_altered_block_below_a_whole_one_goes_too() -> None:
    """As check-halves leaves it where sshd does not reload: it puts the block back above whatever is there."""
    assert remove(BLOCK + BLOCK.replace(b"default=die", b"default=ignore") + STOCK, BLOCK) == STOCK


def test_lines_of_others_within_an_altered_block_stay() -> None:
    """Only what is ours goes, also a bare comment sign of somebody else's."""
    lines = BLOCK.splitlines(keepends=True)
    own = b"# added by bob\nauth required pam_faillock.so preauth\n"
    content = b"#\n" + b"".join([*lines[:9], own, *lines[9:]]) + STOCK
    assert remove(content, BLOCK) == b"#\n" + own + STOCK


def test_without_our_comments_the_lines_are_known_by_what_they_are() -> None:
    """A tool has thrown comments away."""
    bare = b"".join(line for line in BLOCK.splitlines(keepends=True) if not line.startswith(b"#"))
    assert remove(bare + STOCK, BLOCK) == STOCK


def test_what_cannot_be_told_from_the_administrators_own_is_refused() -> None:
    """Neither a line as it was written nor between our comments: it stays, and the person is asked to look."""
    bare = b"".join(line for line in BLOCK.splitlines(keepends=True) if not line.startswith(b"#"))
    with pytest.raises(ConfigError, match=r"^/etc/pam\.d/sshd: line 8: .*delete it if it is not"):
        remove(bare + OBSERVE + STOCK, BLOCK)


def test_all_four_types_are_in_the_service() -> None:
    """For a type that is missing libpam would take the service `other`."""
    assert {line[0] for line in active(SERVICE)} == {"auth", "account", "password", "session"}


def test_every_line_of_ours_has_its_net() -> None:
    """Below each line that steps over one there is the one for a module that is gone, in the same phase."""
    lines = active(BLOCK)
    for above, below in itertools.pairwise(lines):
        if "pam_tailscale.so" in above:
            assert (below[0], below[-1]) == (above[0], "accessfile=/etc/security/not-tailnet.access")


def test_the_access_list_refuses_the_tailnet_first() -> None:
    """pam_access takes the first line that fits."""
    assert [" ".join(line) for line in active(ACCESS)] == ["-:ALL:100.64.0.0/10 fd7a:115c:a1e0::/48", "+:ALL:ALL"]
