"""Whose a place is."""

import stat

import pytest

from pam_tailscale.host.doctor.places import Place


@pytest.mark.parametrize(
    ("place", "others"),
    [
        (Place("/x", stat.S_IFREG | 0o644), False),
        (Place("/x", stat.S_IFREG | 0o664), True),
        (Place("/x", stat.S_IFREG | 0o646), True),
        (Place("/x", stat.S_IFREG | 0o600, 1000), True),
    ],
    ids=["root's", "group", "others", "owner"],
)
def test_who_may_write(place: Place, others: bool) -> None:  # noqa: FBT001
    """Root alone, or somebody else."""
    assert place.others_write is others


def test_what_is_not_there() -> None:
    """Has no mode."""
    assert not Place("/x").exists
    assert Place("/x", stat.S_IFSOCK | 0o600, 999).permissions == "mode 0600, owner 999"
