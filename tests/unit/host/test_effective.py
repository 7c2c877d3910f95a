"""What `sshd -T` prints, as values."""

from ipaddress import ip_address

import pytest

from pam_tailscale.host.effective import Effective, connection_spec, differing, first_startups, offered, parse, seconds

STOCK = (
    "pubkeyauthentication yes\npasswordauthentication yes\nkbdinteractiveauthentication no\nauthenticationmethods any\n"
)
FEW = frozenset({"publickey", "password"})
PRINTED = """\
port 22
port 2222
listenaddress [::]:22
usepam yes
PermitRootLogin without-password
forcecommand none
subsystem sftp /usr/lib/openssh/sftp-server -f AUTH
authorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2
versionaddendum
"""


def test_keywords_and_values() -> None:
    """Whatever the case; the rest of a line is the value, and a keyword may come several times."""
    found = parse(PRINTED)
    assert found.all("Port") == ("22", "2222")
    assert found.one("port") == "22"
    assert found.one("permitrootlogin") == "without-password"
    assert found.one("Subsystem") == "sftp /usr/lib/openssh/sftp-server -f AUTH"
    assert found.one("versionaddendum") == ""


def test_what_is_not_printed_has_no_value() -> None:
    """No default is made up."""
    found = parse(PRINTED)
    assert (found.one("chrootdirectory"), found.all("chrootdirectory"), found.is_set("chrootdirectory")) == (
        "",
        (),
        False,
    )
    assert parse("") == Effective()


def test_yes_and_none() -> None:
    """The words that sshd has for them."""
    found = parse(PRINTED)
    assert found.says("UsePAM")
    assert not found.says("forcecommand")
    assert not found.is_set("forcecommand")
    assert found.is_set("authorizedkeysfile")


@pytest.mark.parametrize(
    ("text", "number"), [("120", 120), ("0", 0), ("", None), ("2m", None), ("-1", None), ("١٢", None)]
)
def test_seconds(text: str, number: int | None) -> None:
    """It prints nothing but numbers; what else comes is not guessed at."""
    assert seconds(text) == number


@pytest.mark.parametrize(("text", "number"), [("10:30:100", 10), ("100", 100), ("", None), (":30:100", None)])
def test_the_first_number_of_maxstartups(text: str, number: int | None) -> None:
    """From which on connections are dropped."""
    assert first_startups(text) == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (STOCK, FEW),
        (STOCK.replace("any", "publickey,password publickey,keyboard-interactive"), {"publickey"}),
        (STOCK.replace("any", "none,publickey keyboard-interactive:pam"), set()),
        (
            "pubkeyauthentication yes\ngssapiauthentication yes\nhostbasedauthentication yes\n",
            {"publickey", "gssapi-with-mic", "hostbased"},
        ),
    ],
    ids=["any", "first of each list", "with a device, and not enabled", "others"],
)
def test_offered(text: str, expected: frozenset[str]) -> None:
    """As sshd counts them after a refused none."""
    assert offered(parse(text)) == expected


def test_what_differs() -> None:
    """Whatever sshd says that is not the very word; what it was built without it does not print."""
    found = parse("usepam yes\npermitrootlogin without-password\nauthorizedkeysfile .ssh/Keys\n")
    assert differing(found, {"usepam": "yes", "kerberosauthentication": "no", "gssapiauthentication": "no"}) == []
    wanted = {"permitrootlogin": "yes", "authorizedkeysfile": ".ssh/keys", "usedns": "no", "usepam": "yes"}
    assert differing(found, wanted) == ["permitrootlogin", "authorizedkeysfile", "usedns"]


def test_a_connection() -> None:
    """In the order of the manual's example; the host's name is its address, as UseDNS=no has it."""
    spec = connection_spec("root", ip_address("fd7a:115c:a1e0::2"), ip_address("fd7a:115c:a1e0::1"), 22)
    assert spec == "user=root,host=fd7a:115c:a1e0::2,addr=fd7a:115c:a1e0::2,laddr=fd7a:115c:a1e0::1,lport=22"
