"""The drop-in in sshd's own eyes: in force on tailnet connections whatever sshd_config says, and on no others."""

from collections.abc import Iterator

import pytest

from pam_tailscale import paths
from pam_tailscale.host import dropin, effective
from pam_tailscale.host.answers import Methods
from pam_tailscale.host.dropin import Wanted
from tests.support.host import DROP_IN, LOCAL_CONF, Host
from tests.support.roots import Suite, debian_root
from tests.support.sandbox import Sandbox
from tests.support.shims import build_shims

EARLIER = "/etc/ssh/sshd_config.d/05-earlier.conf"
_TAILNET = "user=root,host=device,addr=100.64.0.7,laddr=100.64.0.1,lport=22"
_TAILNET_6 = "user=root,host=device,addr=fd7a:115c:a1e0::7,laddr=fd7a:115c:a1e0::1,lport=22"
_LAN = "user=root,host=device,addr=192.0.2.7,laddr=192.0.2.1,lport=22"
_ROUTED = "user=root,host=device,addr=192.0.2.7,laddr=100.64.0.1,lport=22"

CONTRARY = """\
UsePAM no
PermitRootLogin no
PubkeyAuthentication no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitEmptyPasswords no
KerberosAuthentication yes
GSSAPIAuthentication yes
HostbasedAuthentication yes
AuthorizedKeysFile /etc/ssh/keys/%u
AuthorizedKeysCommand /usr/bin/false
AuthorizedKeysCommandUser nobody
TrustedUserCAKeys /etc/ssh/ca.pub
PermitUserRC yes
MaxAuthTries 2
"""
"""The opposite of all that the drop-in says."""
NEWER = """\
PAMServiceName login
PerSourcePenaltyExemptList 192.0.2.0/24
"""


@pytest.fixture(scope="module")
def host(suite: Suite) -> Iterator[Host]:
    """A host on which nothing runs."""
    with Sandbox(debian_root(suite), "host") as box, Host(box, build_shims(suite)) as made:
        yield made


@pytest.fixture(params=[None, *Methods])
def wanted(request: pytest.FixtureRequest, host: Host) -> Wanted:
    """What the drop-in is made from."""
    keys = host.box.account("pam-tailscale-keys")
    methods: Methods | None = request.param
    return Wanted(host.openssh, keys_uid=keys.uid, keys_gid=keys.gid, exempt=("198.51.100.0/24",), methods=methods)


def asked(host: Host, connection: str) -> effective.Effective:
    """What sshd would go by."""
    return effective.parse(host.box.run(["/usr/sbin/sshd", "-T", "-C", connection]).stdout)


def overridden(found: effective.Effective, wanted: Wanted) -> list[str]:
    """The keywords that are not as the drop-in has them."""
    return [keyword for keyword, value in dropin.settings(wanted).items() if found.one(keyword) != value]


def contrary(host: Host) -> str:
    """The opposite of the drop-in, as far as this sshd knows it."""
    return CONTRARY + (NEWER if host.has_service_names else "")


def test_every_line_is_in_force_whatever_the_rest_says(host: Host, wanted: Wanted) -> None:
    """Also against a Match block for everybody."""
    host.box.write(DROP_IN, dropin.text(wanted))
    inside = "".join(line for line in contrary(host).splitlines(keepends=True) if not line.startswith(("Use", "PerS")))
    host.box.write(LOCAL_CONF, f"{contrary(host)}\nMatch all\n{inside}")
    for connection in (_TAILNET, _TAILNET_6):
        assert overridden(asked(host, connection), wanted) == []


def test_elsewhere_the_rest_is_in_force(host: Host, wanted: Wanted) -> None:
    """For the LAN, and for a LAN host that has a route to the tailnet address."""
    host.box.write(DROP_IN, dropin.text(wanted))
    host.box.write(LOCAL_CONF, contrary(host))
    everywhere = {"usepam", "persourcepenaltyexemptlist"}
    values = dict(line.lower().split(" ", 1) for line in contrary(host).splitlines())
    for connection in (_LAN, _ROUTED):
        found = asked(host, connection)
        assert {keyword: found.one(keyword).lower() for keyword in values if keyword not in everywhere} == {
            keyword: value for keyword, value in values.items() if keyword not in everywhere
        }


def test_what_comes_earlier_is_found(host: Host, wanted: Wanted) -> None:
    """A file before the drop-in wins, which `settings` shows for every line of it."""
    host.box.write(DROP_IN, dropin.text(wanted))
    host.box.write(LOCAL_CONF, "")
    inside = "".join(line for line in contrary(host).splitlines(keepends=True) if not line.startswith(("Use", "PerS")))
    host.box.write(EARLIER, f"{contrary(host)}\nMatch all\n{inside}")
    try:
        found = overridden(asked(host, _TAILNET), wanted)
    finally:
        host.box.run(["rm", EARLIER])
    # Not this one: of two lists sshd 9.2 takes none, and ends.
    assert {*found, "authenticationmethods"} == {*dropin.settings(wanted), "authenticationmethods"}


def test_with_a_key_the_administrators_own_keys_are_looked_for(host: Host, wanted: Wanted) -> None:
    """Where sshd_config says, and by nothing of ours."""
    host.box.write(DROP_IN, dropin.text(wanted))
    host.box.write(LOCAL_CONF, contrary(host))
    found = asked(host, _TAILNET)
    places = ("authorizedkeysfile", "authorizedkeyscommand", "authorizedkeyscommanduser", "trustedusercakeys")
    if wanted.methods is Methods.WITH_KEY:
        expected = ["/etc/ssh/keys/%u", "/usr/bin/false", "nobody", "/etc/ssh/ca.pub"]
        assert [found.one(place) for place in places] == expected
    else:
        assert str(paths.KEY_HELPER) in found.one("authorizedkeyscommand")
