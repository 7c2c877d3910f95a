"""Who could have written it: every owner, and every mode that lets somebody else."""

import os
import stat

import pytest

from pam_tailscale.rootfile import only_root_writes


def status(mode: int, uid: int = 0) -> os.stat_result:
    """What stat(2) says of a file with this mode and owner."""
    return os.stat_result((mode, 0, 0, 1, uid, 1000, 0, 0, 0, 0))


@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFDIR])
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o644, 0o755, 0o700, 0o4755, 0o1755])
def test_roots_own(kind: int, mode: int) -> None:
    """Whoever else may read it or enter it."""
    assert only_root_writes(status(kind | mode))


@pytest.mark.parametrize("mode", [0o620, 0o664, 0o602, 0o666, 0o777, 0o1777])
def test_somebody_else_may_write(mode: int) -> None:
    """The group, or anybody; a sticky bit makes no difference to who may add files."""
    assert not only_root_writes(status(stat.S_IFREG | mode))


@pytest.mark.parametrize("uid", [1, 1000, 65534])
def test_somebody_elses(uid: int) -> None:
    """Its owner may change the mode, whatever it is."""
    assert not only_root_writes(status(stat.S_IFREG | 0o400, uid))
