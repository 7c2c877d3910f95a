"""Who could log in from elsewhere than the tailnet."""

import os
import pwd
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_tailscale.host.effective import Effective, parse
from pam_tailscale.host.facts import Way
from pam_tailscale.host.looking import gather_people
from pam_tailscale.host.looking.gather_people import is_password, ways_in

HASH = "$y$j9T$salt$hash"
STOCK = """\
permitrootlogin without-password
pubkeyauthentication yes
passwordauthentication yes
kbdinteractiveauthentication no
usepam yes
strictmodes yes
authorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2
authorizedkeyscommand none
trustedusercakeys none
"""


def values(text: str = "") -> Effective:
    """What sshd prints; lines of `text` come first."""
    return parse(text + STOCK)


class People:
    """Accounts with homes and passwords."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.accounts: list[pwd.struct_passwd] = []
        self.shadow = directory / "shadow"
        self.shadow.write_text("")

    def add(self, name: str, *, uid: int = 0, field: str = "*", shell: str = "/bin/sh", expires: str = "") -> Path:
        """An account of this name, with root's groups; answers its home directory."""
        home = self.directory / name
        (home / ".ssh").mkdir(parents=True)
        os.chown(home, uid, 0)
        self.accounts.append(pwd.struct_passwd((name, "x", uid, 0, "", str(home), shell)))
        self.shadow.write_text(self.shadow.read_text() + f"{name}:{field}:20000:0:99999:7::{expires}:\n")
        return home

    def ways(self, found: Effective) -> tuple[Way, ...]:
        """Who could log in."""
        return ways_in(found, self.accounts, self.shadow, self.directory / "nsswitch.conf")


@pytest.fixture
def people() -> Iterator[People]:
    """Nobody yet, in a directory that everybody can look into."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield People(Path(directory))


def test_nobody_without_key_and_password(people: People) -> None:
    """A locked password is none, the empty one does not count, and a file of comments is no key."""
    for number, field in enumerate(["*", "!", "!!", f"!{HASH}", "", "x"]):
        people.add(f"u{number}", uid=1000, field=field)
    (people.add("u9", uid=1000) / ".ssh/authorized_keys").write_text("# none\n\n")
    assert people.ways(values()) == ()


def test_a_password_where_passwords_are_taken(people: People) -> None:
    """By the method of that name, or by PAM's questions."""
    people.add("alice", uid=1000, field=HASH)
    assert people.ways(values()) == (Way("alice", "password"),)
    assert people.ways(values("passwordauthentication no\n")) == ()
    asked = "passwordauthentication no\nkbdinteractiveauthentication yes\n"
    assert people.ways(values(asked)) == (Way("alice", "password"),)
    assert people.ways(values(asked + "usepam no\n")) == ()


def test_a_key_where_keys_are_taken(people: People) -> None:
    """In one of the files that sshd looks at."""
    home = people.add("alice", uid=1000)
    (home / ".ssh/authorized_keys2").write_text("# mine\nssh-ed25519 AAAA alice\n")
    assert people.ways(values()) == (Way("alice", "key"),)
    assert people.ways(values("pubkeyauthentication no\n")) == ()
    assert people.ways(values("authorizedkeysfile .ssh/authorized_keys\n")) == ()
    assert people.ways(values("authorizedkeysfile none\n")) == ()


@pytest.mark.parametrize("pattern", ["%h/.ssh/k%%", "{base}/%u/.ssh/k%%", "{base}/alice/.ssh/k%%", ".ssh/k%%"])
def test_tokens_of_the_files_name(people: People, pattern: str) -> None:
    """Home, name, and a percent sign."""
    home = people.add("alice", uid=1000)
    (home / ".ssh/k%").write_text("ssh-ed25519 AAAA\n")
    text = pattern.replace("{base}", str(people.directory))
    assert people.ways(values(f"authorizedkeysfile {text}\n")) == (Way("alice", "key"),)


def test_a_uid_in_the_files_name(people: People) -> None:
    """Keys that the administrator keeps by number."""
    people.add("alice", uid=1234)
    (people.directory / "1234").write_text("ssh-ed25519 AAAA\n")
    found = values(f"strictmodes no\nauthorizedkeysfile {people.directory}/%U\n")
    assert people.ways(found) == (Way("alice", "key"),)


@pytest.mark.parametrize(
    ("said", "ways"),
    [
        ("no", ()),
        ("forced-commands-only", ()),
        ("without-password", ("key",)),
        ("prohibit-password", ("key",)),
        ("yes", ("password",)),
    ],
)
def test_root(people: People, said: str, ways: tuple[str, ...]) -> None:
    """As PermitRootLogin says."""
    (people.add("root", field=HASH) / ".ssh/authorized_keys").write_text("ssh-ed25519 AAAA\n")
    assert tuple(way.by for way in people.ways(values(f"permitrootlogin {said}\n"))) == ways


def test_a_password_of_roots_counts_where_it_is_taken(people: People) -> None:
    """That is not Debian's default."""
    people.add("root", field=HASH)
    assert people.ways(values()) == ()
    assert people.ways(values("permitrootlogin yes\n")) == (Way("root", "password"),)


def test_one_key_is_enough_and_none_is_looked_for_where_there_is_another_way(people: People) -> None:
    """Other people's files are read no more than needed."""
    for number, name in enumerate(["dave", "alice", "bob"]):
        home = people.add(name, uid=1000 + number)
        if name != "dave":
            (home / ".ssh/authorized_keys").write_text("ssh-ed25519 AAAA\n")
    assert people.ways(values()) == (Way("alice", "key"),)
    people.add("carol", uid=1005, field=HASH)
    assert people.ways(values()) == (Way("carol", "password"),)


def test_what_lies_in_the_place_of_keys_holds_nobody_up(people: People) -> None:
    """A pipe is not waited for, and a device not read; the next one's key is found."""
    os.mkfifo(people.add("bob", uid=1000) / ".ssh/authorized_keys")
    (people.add("carol", uid=1001) / ".ssh/authorized_keys").symlink_to("/dev/zero")
    assert people.ways(values()) == ()
    (people.add("alice", uid=1002) / ".ssh/authorized_keys").write_text("ssh-ed25519 AAAA\n")
    assert people.ways(values()) == (Way("alice", "key"),)


def test_a_file_system_that_hangs_is_not_waited_for(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be looked at in time is no way in."""
    (people.add("alice", uid=1000) / ".ssh/authorized_keys").write_text("ssh-ed25519 AAAA\n")
    hangs = people.directory / "hangs.py"
    hangs.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(gather_people, "_FIRST_KEY", hangs)
    monkeypatch.setattr(gather_people, "_SECONDS", 0.2)
    began = time.monotonic()
    assert people.ways(values()) == ()
    assert time.monotonic() - began < 10


def test_so_many_accounts_are_looked_at(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may list everybody of a university."""
    monkeypatch.setattr(gather_people, "_LOOKED_AT_MAX", 1)
    people.add("bob", uid=1000)
    (people.add("alice", uid=1001) / ".ssh/authorized_keys").write_text("ssh-ed25519 AAAA\n")
    assert people.ways(values()) == ()


@pytest.mark.parametrize("keyword", ["authorizedkeyscommand", "trustedusercakeys"])
def test_keys_that_are_not_in_files(people: People, keyword: str) -> None:
    """Whom they let in is not known here; that they are there is a way."""
    people.add("alice", uid=1000)
    assert people.ways(values(f"{keyword} /etc/some\n")) == (Way("alice", keyword),)
    people.accounts.clear()
    assert people.ways(values(f"{keyword} /etc/some\n")) == ()


@pytest.mark.parametrize("keyword", ["gssapiauthentication", "hostbasedauthentication"])
def test_ways_without_a_key(people: People, keyword: str) -> None:
    """An administrator has switched them on; they are off in Debian."""
    people.add("alice", uid=1000)
    assert people.ways(values(f"{keyword} yes\n")) == (Way("alice", keyword),)
    assert people.ways(values(f"{keyword} no\n")) == ()


@pytest.mark.parametrize(
    ("line", "ways"),
    [
        ("passwd: files systemd", ()),
        ("passwd:files sss", ("accounts of sss",)),
        ("passwd: files [NOTFOUND=continue] ldap # sss", ("accounts of ldap",)),
        ("# passwd: sss", ()),
        ("group: sss", ()),
    ],
)
def test_directories_of_accounts(people: People, line: str, ways: tuple[str, ...]) -> None:
    """Theirs are not all listed, so a directory counts where passwords are taken."""
    (people.directory / "nsswitch.conf").write_text(f"{line}\n")
    assert tuple(way.account for way in people.ways(values())) == ways
    assert people.ways(values("passwordauthentication no\n")) == ()


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false", "/bin/sync", "/no/such/shell"])
def test_an_account_for_nobody(people: People, shell: str) -> None:
    """Its password does not help."""
    people.add("www", uid=1000, field=HASH, shell=shell)
    assert people.ways(values()) == ()


def test_an_account_without_a_shell_has_the_usual_one(people: People) -> None:
    """As sshd takes it."""
    people.add("alice", uid=1000, field=HASH, shell="")
    assert people.ways(values()) == (Way("alice", "password"),)


def test_an_account_that_has_expired(people: People) -> None:
    """Yesterday; tomorrow it may still log in."""
    today = int(time.time() // 86400)
    people.add("bob", uid=1000, field=HASH, expires=str(today - 1))
    people.add("alice", uid=1001, field=HASH, expires=str(today + 2))
    assert people.ways(values()) == (Way("alice", "password"),)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("allowusers alice\n", ["alice"]),
        ("allowusers a* b?b\n", ["alice", "bob"]),
        ("allowusers alice@192.0.2.0/24\nallowusers carol\n", ["alice"]),
        ("denyusers alice\n", ["bob"]),
        ("denyusers alice\nallowusers alice bob\n", ["bob"]),
        ("allowgroups root\n", ["alice", "bob"]),
        ("allowgroups wheel\n", []),
        ("denygroups root\n", []),
    ],
)
def test_lists_of_names(people: People, text: str, names: list[str]) -> None:
    """Whom they keep out has no way in."""
    for name in ("alice", "bob"):
        people.add(name, uid=1000, field=HASH)
    assert [way.account for way in people.ways(values(text))] == names


def test_without_root_nothing_is_known_of_passwords(people: People) -> None:
    """A shadow file that cannot be read holds none."""
    people.add("alice", uid=1000, field=HASH)
    assert ways_in(values(), people.accounts, people.directory / "gone", people.directory / "gone") == ()


@pytest.mark.parametrize(
    ("field", "fits"), [(HASH, True), ("abcdefghijklm", True), ("", False), ("*", False), ("!", False), ("x", False)]
)
def test_a_password_field(field: str, fits: bool) -> None:  # noqa: FBT001
    """Crypt(5): what begins with a star or an exclamation mark fits nothing."""
    assert is_password(field) is fits
