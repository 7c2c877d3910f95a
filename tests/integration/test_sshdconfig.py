"""How sshd_config is read here, held against what `sshd -T` says of the same files, on both releases."""

import fnmatch
import ipaddress
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from pam_tailscale.host import effective
from pam_tailscale.host.sshdconfig import MAIN, Connections, Reader, SshdConfig, who_set
from tests.support.roots import Suite, debian_root
from tests.support.sandbox import Sandbox

DIRECTORY = "/etc/ssh/sshd_config.d"
DROP_IN = f"{DIRECTORY}/10-pam-tailscale.conf"
KEYWORDS = {
    "banner": ("/a", "/b", "/c"),
    "maxauthtries": ("3", "4", "5"),
    "permitrootlogin": ("yes", "no"),
    "permittty": ("yes", "no"),
}
CRITERIA = (
    "all",
    "User alice",
    "User root,bob",
    "User *,!root",
    "Group root",
    "Address 100.64.0.0/10",
    "Address=100.64.0.2",
    "Address 192.0.2.*",
    "Address *,!100.64.0.0/10",
    "LocalAddress 100.64.0.1",
    "localport 2222",
    "User alice Address 100.64.0.0/10",
    "Host *.example.com",
)


@dataclass(frozen=True, slots=True)
class One:
    """One connection."""

    user: str
    client: str
    server: str
    port: int

    @property
    def spec(self) -> str:
        return f"user={self.user},host=h.example.com,addr={self.client},laddr={self.server},lport={self.port}"

    @property
    def connections(self) -> Connections:
        client, server = (ipaddress.ip_network(text) for text in (self.client, self.server))
        return Connections((client,), (server,), (self.port,), self.user)


PEOPLE = (
    One("alice", "100.64.0.2", "100.64.0.1", 22),
    One("root", "100.64.0.3", "100.64.0.1", 2222),
    One("alice", "192.0.2.2", "192.0.2.1", 22),
)


@pytest.fixture(
    scope="module",
    params=[pytest.param(suite, marks=pytest.mark.xdist_group(suite)) for suite in ("bookworm", "trixie")],
)
def box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A host with stock sshd, which does not run."""
    suite: Suite = request.param
    with Sandbox(debian_root(suite)) as box:
        box.run(["mkdir", "-p", "/run/sshd"])
        yield box


def read(files: Mapping[str, str]) -> SshdConfig:
    """The same files as they are read here."""
    return Reader(
        files.get, lambda pattern: [path for path in files if fnmatch.fnmatchcase(path, pattern)], DROP_IN
    ).read()


def install(box: Sandbox, files: Mapping[str, str]) -> None:
    """Puts files in place of all that are there."""
    box.run(["sh", "-c", f"rm -f {DIRECTORY}/*"])
    for path, text in files.items():
        box.write(path, text)


def asked(box: Sandbox, one: One) -> effective.Effective:
    """What sshd says."""
    return effective.parse(box.run(["/usr/sbin/sshd", "-T", "-C", one.spec]).stdout)


def possible(config: SshdConfig, keyword: str, one: One, default: str) -> list[str]:
    """What is said here."""
    found = who_set(config, keyword, one.connections)
    values = [" ".join(setting.arguments) for setting in found]
    return values if found and not found[-1].inside else [*values, default]


def generated(seed: int) -> dict[str, str]:
    """Files of settings, Match blocks and Includes, one in another."""
    chance = random.Random(seed)  # noqa: S311 (the same files each time)

    def lines(number: int, *, includes: bool) -> Iterator[str]:
        for _ in range(number):
            kind = chance.random()
            if kind < 0.3:
                yield f"Match {chance.choice(CRITERIA)}"
            elif kind < 0.4 and includes:
                yield f"Include {chance.choice(['sshd_config.d/*.conf', '/etc/ssh/more', 'sshd_config.d/2*'])}"
            else:
                keyword = chance.choice(list(KEYWORDS))
                yield f"  {keyword.upper()}{chance.choice([' ', '=', ' = '])}{chance.choice(KEYWORDS[keyword])} # why"

    names = [MAIN, f"{DIRECTORY}/05-a.conf", f"{DIRECTORY}/20-b.conf", f"{DIRECTORY}/B.conf", "/etc/ssh/more"]
    return {name: "\n".join(lines(8 if name == MAIN else 4, includes=name == MAIN)) + "\n" for name in names}


@pytest.mark.parametrize("seed", range(25))
def test_what_is_in_force(box: Sandbox, seed: int) -> None:
    """Sshd's value is among those that are possible here; where nothing depends on groups or names it is the first."""
    install(box, {MAIN: ""})
    defaults = asked(box, PEOPLE[0])
    files = generated(seed)
    install(box, files)
    config = read(files)
    assert config.problems == ()
    for one in PEOPLE:
        said = asked(box, one)
        for keyword in KEYWORDS:
            here = possible(config, keyword, one, defaults.one(keyword))
            assert said.one(keyword) in here, (keyword, one, files)
            if not any(name in "".join(files.values()) for name in ("Match Group", "Match Host")):
                assert said.one(keyword) == here[0], (keyword, one, files)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('Banner "/a b"', "/a b"),
        ("Banner '/a b'", "/a b"),
        (r"Banner /a\ b", "/a b"),
        ('BANNER="/a"', "/a"),
        ('"Banner" /a', "/a"),
        ("Banner\t=\t/a#b # c", "/a#b"),
        ("Match all\nBanner /a", "/a"),
        ("Banner /a\nMatch all\nBanner /b", "/b"),
        ("Include sshd_config.d/x.conf\nBanner /a", "/a"),
        ("Match User bob\nInclude more\nMatch all\nBanner /a", "/a"),
    ],
)
def test_lines_of_all_kinds(box: Sandbox, text: str, value: str) -> None:
    """Quotes, escapes, comments, blocks: read as sshd reads them."""
    files = {MAIN: text + "\n", f"{DIRECTORY}/x.conf": "Match User bob\nBanner /x\n", "/etc/ssh/more": "Banner /m\n"}
    install(box, files)
    assert asked(box, PEOPLE[0]).one("banner") == value
    assert possible(read(files), "banner", PEOPLE[0], "none")[0] == value


@pytest.mark.parametrize("text", ['Banner "/a', "Banner 'a", 'Banner a"b'])
def test_what_sshd_refuses_is_a_problem(box: Sandbox, text: str) -> None:
    """Quotes that are left open."""
    install(box, {MAIN: text + "\n"})
    assert box.run(["/usr/sbin/sshd", "-t"], check=False).returncode != 0
    assert read({MAIN: text + "\n"}).problems


def test_the_place_of_the_drop_in(box: Sandbox) -> None:
    """What comes before it wins, what comes after it does not: by the order in which sshd reads files."""
    files = {
        MAIN: "Include sshd_config.d/*.conf\nMatch all\nBanner /main\n",
        f"{DIRECTORY}/05-a.conf": "Match User alice\nBanner /5\n",
        DROP_IN: "Match Address 100.64.0.0/10\nBanner /ours\nMaxAuthTries 20\n",
        f"{DIRECTORY}/1-b.conf": "Match User root\nBanner /1\n",
        f"{DIRECTORY}/9-c.conf": "Match all\nMaxAuthTries 3\nBanner /9\n",
    }
    install(box, files)
    assert [" ".join(setting.arguments) for setting in read(files).before_drop_in()] == ["/5", "/1"]
    assert asked(box, PEOPLE[0]).one("banner") == "/5"
    assert asked(box, PEOPLE[1]).one("banner") == "/1"
    assert asked(box, PEOPLE[0]).one("maxauthtries") == "20"
