"""What authorized_keys restricts."""

import pytest

from pam_tailscale.host.doctor.keysfile import restrictions

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK alice@example.com"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", set()),
        (f'command="rsync --server",from="192.0.2.1" {KEY}', {"command", "from"}),
        (KEY, set()),
        (f'# command="x" {KEY}', set()),
        (f'command="rsync --server" {KEY}', {"command"}),
        (f'restrict,pty,command="echo \\"hi, restrict\\"" {KEY}', {"restrict", "command"}),
        (f'environment="FROM=from=x",tunnel="0" {KEY}', set()),
        (f'FROM="10.0.0.0/8,!10.1.1.1" {KEY}', {"from"}),
        (
            f'no-pty,no-port-forwarding {KEY}\n{KEY}\nexpiry-time="20300101" {KEY}',
            {"no-pty", "no-port-forwarding", "expiry-time"},
        ),
        (f'cert-authority,principals="a b" {KEY}', {"principals"}),
        ("sk-ssh-ed25519@openssh.com AAAA\necdsa-sha2-nistp256 AAAA\nssh-rsa AAAA restrict", set()),
        ('command="unended', {"command"}),
        ('command="a b",', {"command"}),
        ("\0\xff restrict", set()),
    ],
)
def test_restrictions(text: str, expected: set[str]) -> None:
    """Names in front of a key, outside of quotes."""
    assert restrictions(text) == expected
