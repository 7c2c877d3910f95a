"""The lines of passwd and shadow."""

from pam_tailscale.host.accounts import Entry, empty_passwords, parse_passwd

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
alice:x:1001:1001::/home/alice:/bin/bash
decoy:x:1002:1002::/home/decoy:
old::1003:1003::/home/old:/bin/sh
half:x:1004
:x:1005:1005::/:/bin/sh
bad:x:no:1::/:/bin/sh
"""
SHADOW = "root:$y$hash:1::::::\nalice:*:1::::::\ndecoy::1::::::\nold:$y$hash:1::::::\n"
ENTRIES = parse_passwd(PASSWD)


def test_passwd() -> None:
    """Lines that are none are passed over."""
    assert [entry.name for entry in ENTRIES] == ["root", "alice", "decoy", "old"]
    assert ENTRIES[1] == Entry("alice", "x", 1001, 1001, "/home/alice", "/bin/bash")


def test_empty_passwords() -> None:
    """In shadow, or in passwd where it says no x; who is not in shadow has none."""
    assert empty_passwords(ENTRIES, SHADOW) == ("decoy", "old")
    assert empty_passwords(ENTRIES, "") == ("old",)
