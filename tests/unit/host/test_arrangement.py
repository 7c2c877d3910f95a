"""Which files there shall be, on and off: to the byte, in an order in which no step opens a door."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale import config
from pam_tailscale.errors import ConfigError
from pam_tailscale.host import pamfiles
from pam_tailscale.host.answers import Methods
from pam_tailscale.host.arrangement import (
    PATHS,
    REFERENCE_OF,
    File,
    Part,
    Present,
    Wanted,
    applied,
    arrange,
    removed,
    without,
)
from pam_tailscale.host.version import OpenSSH
from tests.unit.host.test_pamfiles import CONTENTS, STOCK

DROP_IN = "/etc/ssh/sshd_config.d/10-pam-tailscale.conf"
DISABLED = f"{DROP_IN}.disabled"
SSHD = "/etc/pam.d/sshd"
SERVICE = "/etc/pam.d/sshd-tailscale"
ACCESS = "/etc/security/not-tailnet.access"
CONFIG = "/etc/pam-tailscale/agent.toml"
HALVES = "/var/lib/pam-tailscale/halves"

OLD = Wanted(OpenSSH(9, 2), keys_uid=990, keys_gid=991, allow_root=False)
NEW = dataclasses.replace(OLD, openssh=OpenSSH(10, 0))
BARE: Present = {SSHD: STOCK}

WANTED = st.builds(
    Wanted,
    openssh=st.sampled_from([OpenSSH(9, 2), OpenSSH(9, 6), OpenSSH(9, 8), OpenSSH(10, 0)]),
    keys_uid=st.integers(1, 1 << 31),
    keys_gid=st.integers(1, 1 << 31),
    exempt=st.sampled_from([(), ("192.0.2.0/24", "100.64.0.0/10")]),
    methods=st.sampled_from([None, *Methods]),
    allow_root=st.booleans(),
)
SETTINGS = [b"", b'mode = "enforce"\n', b"allow_root = true\r\n", b"[check]\nwaiting = 2", b"# \xc3\xa9\n\n", b"\n"]
PRESENT = st.builds(
    lambda sshd, toml: {SSHD: sshd} | ({CONFIG: toml} if toml is not None else {}),
    CONTENTS,
    st.none() | st.sampled_from(SETTINGS),
)


@given(WANTED, PRESENT)
def test_on_and_off_leaves_every_byte(wanted: Wanted, present: Present) -> None:
    """Whatever was there before is there after, and nothing else."""
    on = applied(arrange(wanted, present), present)
    assert without(on) == present
    assert applied(removed(on), on) == present


@given(WANTED, PRESENT)
def test_once_more_changes_nothing(wanted: Wanted, present: Present) -> None:
    """Whether the host is asked for as it was or as it is."""
    on = applied(arrange(wanted, present), present)
    assert arrange(wanted, on) == arrange(wanted, present)
    assert applied(arrange(wanted, on), on) == on


@given(WANTED, WANTED, PRESENT)
def test_from_one_arrangement_to_another_and_off(first: Wanted, second: Wanted, present: Present) -> None:
    """Debian 12 to 13: both arrangements are there for a while, and both go."""
    both = applied(arrange(first, present), present)
    both = applied(arrange(second, both), both)
    assert without(both) == present


@given(st.dictionaries(st.sampled_from([SSHD, CONFIG]), CONTENTS))
def test_a_host_that_is_off_is_left_alone(present: Present) -> None:
    """Nothing of ours, nothing to do."""
    assert removed(present) == ()


@given(WANTED, PRESENT)
def test_nothing_is_touched_that_is_not_known(wanted: Wanted, present: Present) -> None:
    """`PATHS` is what a journal has to keep of the host."""
    on = arrange(wanted, present)
    off = removed(applied(on, present))
    assert {file.path for file in (*on, *off)} <= set(PATHS)
    assert len({file.path for file in on}) == len(on)
    assert len({file.path for file in off}) == len(off)


def paths(files: tuple[File, ...]) -> list[str]:
    """Their paths, in order."""
    return [file.path for file in files]


def test_the_order_of_switching_on() -> None:
    """The drop-in last, and before 9.8 the access list before the lines that name it."""
    assert paths(arrange(NEW, BARE)) == [f"{HALVES}/drop-in", f"{HALVES}/sshd-tailscale", CONFIG, SERVICE, DROP_IN]
    references = [f"{HALVES}/{name}" for name in ("drop-in", "pam.d-sshd.lines", "not-tailnet.access")]
    assert paths(arrange(OLD, BARE)) == [*references, CONFIG, ACCESS, SSHD, DROP_IN]


def test_the_order_of_switching_off() -> None:
    """The drop-in first, and the access list only after the lines that name it."""
    on = applied(arrange(OLD, BARE), BARE)
    references = [f"{HALVES}/{name}" for name in ("drop-in", "pam.d-sshd.lines", "not-tailnet.access")]
    assert paths(removed(on)) == [DROP_IN, SSHD, ACCESS, CONFIG, *references]
    on = applied(arrange(NEW, BARE), BARE)
    assert paths(removed(on)) == [DROP_IN, SERVICE, CONFIG, f"{HALVES}/drop-in", f"{HALVES}/sshd-tailscale"]


@given(WANTED, PRESENT)
def test_the_order_is_that_of_the_parts(wanted: Wanted, present: Present) -> None:
    """Whoever sorts by part, as they must be able to, gets the same order."""
    order = list(Part)
    on = arrange(wanted, present)
    off = removed(applied(on, present))
    assert list(on) == sorted(on, key=lambda file: order.index(file.part))
    assert list(off) == sorted(off, key=lambda file: -order.index(file.part))


@pytest.mark.parametrize("wanted", [OLD, NEW])
def test_a_reference_is_what_was_written(wanted: Wanted) -> None:
    """check-halves compares byte for byte."""
    on = applied(arrange(wanted, BARE), BARE)
    assert on[f"{HALVES}/drop-in"] == on[DROP_IN]
    if wanted is NEW:
        assert on[f"{HALVES}/sshd-tailscale"] == on[SERVICE]
    else:
        assert on[SSHD] == on[f"{HALVES}/pam.d-sshd.lines"] + STOCK
        assert on[f"{HALVES}/not-tailnet.access"] == on[ACCESS]


@given(WANTED, PRESENT)
def test_both_halves_have_their_references(wanted: Wanted, present: Present) -> None:
    """Each file of them has one, and nothing else has."""
    on = arrange(wanted, present)
    halves = {file.path for file in on if file.part in (Part.PAM, Part.DROP_IN)}
    assert {REFERENCE_OF[path] for path in halves} == {file.path for file in on if file.part is Part.REFERENCE}


def test_a_drop_in_that_was_taken_out_of_force_goes_too() -> None:
    """check-halves has renamed it."""
    on = dict(applied(arrange(NEW, BARE), BARE))
    on[DISABLED] = on.pop(DROP_IN)
    assert without(on) == BARE


def test_a_service_file_that_a_package_has_replaced_is_left_as_it_is() -> None:
    """A package put the maintainer's file in place: the block is gone, the rest of ours is not."""
    on = {**applied(arrange(OLD, BARE), BARE), SSHD: b"# the new one\n"}
    assert without(on) == {SSHD: b"# the new one\n"}
    assert SSHD not in paths(removed(on))


def test_off_works_without_references() -> None:
    """Somebody has emptied /var/lib."""
    on = applied(arrange(OLD, BARE), BARE)
    assert without({path: content for path, content in on.items() if not path.startswith(HALVES)}) == BARE


def test_the_block_of_another_version_is_found_by_its_reference() -> None:
    """What was written is what is looked for, not what would be written today."""
    on = dict(applied(arrange(OLD, BARE), BARE))
    older = pamfiles.BLOCK.replace(b"# The same question", b"# Once more")
    on |= {SSHD: older + STOCK, f"{HALVES}/pam.d-sshd.lines": older}
    assert without(on) == BARE


@pytest.mark.parametrize("wanted", [OLD, NEW])
def test_without_sshd_in_pam_nothing_is_arranged(wanted: Wanted) -> None:
    """A file with our block alone would let everybody else's logins fail; ours goes on with that file, too."""
    with pytest.raises(ConfigError, match="reinstall openssh-server"):
        arrange(wanted, {})


# The agent's configuration


@pytest.mark.parametrize("content", [None, *SETTINGS])
def test_root_is_kept_out_where_nobody_has_said_otherwise(content: bytes | None) -> None:
    """In the agent's own reading of the file; what the administrator has set themselves stays."""
    present = BARE if content is None else {**BARE, CONFIG: content}
    before = config.parse((content or b"").decode(), CONFIG)
    own = content is not None and b"allow_root" in content
    after = config.parse(applied(arrange(NEW, present), present).get(CONFIG, b"").decode(), CONFIG)
    assert after == dataclasses.replace(before, allow_root=before.allow_root if own else False)


@pytest.mark.parametrize("content", [b"mode = ", b"\xff", b"\xef\xbb\xbfmode = 'enforce'\n", b"[" * 5000])
def test_a_damaged_configuration_is_not_made_worse(content: bytes) -> None:
    """What the file says about root cannot be told."""
    with pytest.raises(ConfigError, match=r"^/etc/pam-tailscale/agent\.toml: "):
        arrange(NEW, {**BARE, CONFIG: content})
    assert CONFIG not in paths(arrange(dataclasses.replace(NEW, allow_root=True), {**BARE, CONFIG: content}))


@pytest.mark.parametrize("before", [None, b"", b'mode = "enforce"\n'])
def test_settings_that_were_added_later_stay(before: bytes | None) -> None:
    """Only our own lines go, wherever the administrator has written."""
    present = BARE if before is None else {**BARE, CONFIG: before}
    on = dict(applied(arrange(NEW, present), present))
    on[CONFIG] = b"# mine\n" + on[CONFIG] + b"[agent]\nthreads = 8\n"
    assert without(on)[CONFIG] == b"# mine\n" + (before or b"") + b"[agent]\nthreads = 8\n"


def test_a_setting_that_was_altered_is_the_administrators() -> None:
    """They have taken over from us."""
    on = dict(applied(arrange(NEW, BARE), BARE))
    on[CONFIG] = on[CONFIG].replace(b"false", b"true")
    assert without(on)[CONFIG] == on[CONFIG]


def test_a_configuration_with_other_line_ends_is_still_known() -> None:
    """An editor has saved it in its own way."""
    on = dict(applied(arrange(NEW, BARE), BARE))
    on[CONFIG] = on[CONFIG].replace(b"\n", b"\r\n")
    assert without(on) == BARE
