"""The shared store against a real Redis (Debian 12) and Valkey (Debian 13), asked with each Debian's own redis library.

Hosts lose the store, or meet one that somebody has filled; nothing of that is more than an error or an absent entry.
"""

import time
from collections.abc import Callable, Iterator

import pytest

from pam_tailscale.check.evidence import NOT_BEFORE_KEEP, NOT_BEFORES_MAX, TOKEN_MAX, person_key
from pam_tailscale.errors import CheckError
from tests.support.certificates import Authority
from tests.support.redis_server import PORT, SOCKET, TLS_PORT, RedisServer
from tests.support.roots import Suite, debian_root
from tests.support.sandbox import Sandbox
from tests.support.store_host import StoreHost, StoreHosts
from tests.support.waiting import wait_until

ALICE, BOB = person_key("scope", "alice@example.com"), person_key("scope", "bob@example.com")
PREFIX = "pam-tailscale"
PASSWORD = "a-password-of-the-tests"
PASSWORD_FILE = "/etc/pam-tailscale/store-password"
RIGHTS = ["-@all", "+getrange", "+strlen", "+set", "+append", "+expire", "+unlink", "+select", "+client"]
"""What the user of store.username needs, on keys that begin with store.prefix; the documentation says so."""
MIB = 1 << 20


@pytest.fixture(scope="module")
def hosts(suite: Suite) -> Iterator[StoreHosts]:
    """Hosts of one release."""
    with Sandbox(debian_root(suite), "store") as box:
        yield StoreHosts(box)


@pytest.fixture
def server(hosts: StoreHosts) -> Iterator[RedisServer]:
    """An empty store."""
    with RedisServer(hosts.box) as running:
        yield running


@pytest.fixture
def alpha(hosts: StoreHosts, server: RedisServer) -> Iterator[StoreHost]:
    """A host of that store."""
    assert server.socket
    with hosts.host(path=SOCKET) as host:
        yield host


@pytest.fixture
def beta(hosts: StoreHosts, server: RedisServer) -> Iterator[StoreHost]:
    """Another one."""
    assert server.socket
    with hosts.host(path=SOCKET) as host:
        yield host


def slot(number: int, key: str = ALICE) -> str:
    """The name of a token."""
    return f"{PREFIX}:token:{key}:{number}"


def day(ago: int = 0) -> str:
    """The name of a day's announcements."""
    return f"{PREFIX}:not-before:{int(time.time()) // 86400 - ago}"


def works_again(host: StoreHost) -> None:
    """The store is left alone for some time after it has failed."""

    def answers() -> bool:
        try:
            host.tokens(ALICE)
        except CheckError:
            return False
        return True

    wait_until(answers, 60, "the store is used again")


def test_hosts_see_what_others_have_kept(alpha: StoreHost, beta: StoreHost) -> None:
    """The newest first, of one person alone; the oldest goes where there are too many."""
    now = time.time()
    assert beta.tokens(ALICE) == []
    for number in (1, 3, 2, 5, 4):
        alpha.keep(ALICE, f"token-{number}", now + number - 100, now + 3600)
    alpha.keep(ALICE, "token-5", now + 5 - 100, now + 3600)
    assert beta.tokens(ALICE) == ["token-5", "token-4", "token-3", "token-2"]
    assert beta.tokens(BOB) == []
    assert alpha.problem() == beta.problem() == ""


def test_hosts_hear_what_was_forgotten(alpha: StoreHost, beta: StoreHost) -> None:
    """To the last digit, and what it voids is gone from the store."""
    now = time.time()
    alpha.keep(ALICE, "before", now - 100, now + 3600)
    alpha.keep(BOB, "of-bob", now - 100, now + 3600)
    alpha.announce_not_before(ALICE, now - 50.25)
    alpha.keep(ALICE, "after", now - 50, now + 3600)
    assert beta.not_befores() == {ALICE: now - 50.25}
    assert beta.tokens(ALICE) == ["after"]
    assert beta.tokens(BOB) == ["of-bob"]
    beta.announce_not_before(BOB, now)
    beta.announce_not_before(ALICE, now - 60)
    assert alpha.not_befores() == {ALICE: now - 50.25, BOB: now}


def test_entries_go_by_themselves(alpha: StoreHost, server: RedisServer) -> None:
    """A token with its use, a not-before when no period reaches back to it; nothing is kept that is over."""
    now = time.time()
    alpha.keep(ALICE, "token", now, now + 3600)
    alpha.keep(BOB, "over", now - 7200, now - 3600)
    alpha.announce_not_before(BOB, now)
    assert 3500 < int(server.cli("TTL", slot(0))) <= 3600
    assert 0 < int(server.cli("TTL", day())) <= NOT_BEFORE_KEEP
    assert server.cli("DBSIZE") == "2"


def test_no_store(hosts: StoreHosts, server: RedisServer) -> None:
    """An error that names the place; the next question is not even asked."""
    server.kill()
    with hosts.host(path=SOCKET) as host:
        first = host.error("tokens", ALICE)
        assert "is it running?" in str(first)
        assert SOCKET in str(first)
        assert first.retry_after > 0
        second = host.error("keep", ALICE, "token", time.time(), time.time() + 60)
        assert "left alone" in str(second)
        assert "is it running?" in host.problem()
        server.start()
        works_again(host)
        assert host.problem() == ""


def test_a_restart_is_not_noticed(alpha: StoreHost, server: RedisServer) -> None:
    """Connections of before are replaced; all that was in it is lost, which voids nothing and lets nobody in."""
    now = time.time()
    alpha.keep(ALICE, "token", now, now + 3600)
    alpha.announce_not_before(BOB, now)
    server.kill()
    server.start()
    assert alpha.tokens(ALICE) == []
    assert alpha.not_befores() == {}


def test_a_store_that_says_nothing(alpha: StoreHost, server: RedisServer) -> None:
    """It accepts connections and hangs, as a host does that has lost its disk: each question ends."""
    alpha.tokens(ALICE)
    server.stop()
    assert "does not answer within 0.5 s" in str(alpha.error("tokens", ALICE))
    server.resume()
    works_again(alpha)


def test_killed_in_the_middle_of_a_question(alpha: StoreHost, server: RedisServer) -> None:
    """An error, and the connection is not used again."""
    now = time.time()
    alpha.keep(ALICE, "token", now, now + 3600)
    server.stop()
    alpha.begin("tokens", ALICE)
    server.kill()
    with pytest.raises(CheckError):
        alpha.finish()
    server.start()
    works_again(alpha)
    assert alpha.tokens(ALICE) == []


def full(server: RedisServer) -> None:
    """Nothing more fits in."""
    server.cli("CONFIG", "SET", "maxmemory", "1")


def not_full(server: RedisServer) -> None:
    """As it was."""
    server.cli("CONFIG", "SET", "maxmemory", "0")


def replica(server: RedisServer) -> None:
    """Of a primary that is not there; it goes on to answer."""
    server.cli("REPLICAOF", "127.0.0.1", "1")


def primary(server: RedisServer) -> None:
    """As it was."""
    server.cli("REPLICAOF", "NO", "ONE")


def broken_disk(server: RedisServer) -> None:
    """It has to save its data, and cannot."""
    server.box.run(["mkdir", "-p", "/run/store/dump.rdb/in-the-way"])
    server.cli("CONFIG", "SET", "save", "3600 1")
    server.cli("BGSAVE")
    wait_until(lambda: "rdb_last_bgsave_status:err" in server.cli("INFO", "persistence"), 20, "it could not save")


def whole_disk(server: RedisServer) -> None:
    """As it was."""
    server.cli("CONFIG", "SET", "save", "")
    server.box.run(["rm", "-r", "/run/store/dump.rdb"])


@pytest.mark.parametrize(
    ("break_it", "repair_it", "message"),
    [(full, not_full, "maxmemory"), (replica, primary, "is a replica"), (broken_disk, whole_disk, "its own disk")],
    ids=["full", "read-only", "cannot save"],
)
def test_a_store_that_takes_nothing(
    alpha: StoreHost,
    server: RedisServer,
    break_it: Callable[[RedisServer], None],
    repair_it: Callable[[RedisServer], None],
    message: str,
) -> None:
    """What it has is still read, without a rest; writing is an error that says what to do."""
    now = time.time()
    alpha.keep(ALICE, "token", now, now + 3600)
    break_it(server)
    assert message in str(alpha.error("keep", BOB, "token", now, now + 3600))
    assert message in str(alpha.error("announce_not_before", BOB, now))
    assert alpha.tokens(ALICE) == ["token"]
    assert message in alpha.problem()
    repair_it(server)
    alpha.keep(BOB, "token", now, now + 3600)
    assert alpha.problem() == ""


def test_a_replica_that_answers_nothing(alpha: StoreHost, server: RedisServer) -> None:
    """Without its primary, where it is told not to serve old data."""
    server.cli("CONFIG", "SET", "replica-serve-stale-data", "no")
    replica(server)
    assert "lost its primary" in str(alpha.error("tokens", ALICE))


def write_password(hosts: StoreHosts, password: str, mode: int = 0o640) -> None:
    """What the hosts take for the password."""
    hosts.box.write(PASSWORD_FILE, password + "\n", mode)


@pytest.mark.parametrize("username", ["", "default"])
def test_the_password_is_from_its_file(hosts: StoreHosts, username: str) -> None:
    """With a user's name or without; it is read anew, so that a new password needs no restart."""
    with (
        RedisServer(hosts.box, password=PASSWORD) as server,
        hosts.host(path=SOCKET, password_file=PASSWORD_FILE, username=username) as host,
    ):
        write_password(hosts, PASSWORD)
        assert host.tokens(ALICE) == []
        write_password(hosts, "another-" + PASSWORD)
        assert host.tokens(ALICE) == []
        server.cli("CONFIG", "SET", "requirepass", "another-" + PASSWORD)
        server.password = "another-" + PASSWORD
        server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert host.tokens(ALICE) == []


@pytest.mark.parametrize("wrong", ["not-" + PASSWORD, None], ids=["wrong", "none"])
def test_a_wrong_password(hosts: StoreHosts, wrong: str | None) -> None:
    """Both sides' mistakes are named; neither password is."""
    place = {"path": SOCKET} | ({} if wrong is None else {"password_file": PASSWORD_FILE})
    with RedisServer(hosts.box, password=PASSWORD), hosts.host(**place) as host:
        write_password(hosts, wrong or "")
        text = str(host.error("tokens", ALICE)) + host.problem()
        assert "store.password_file" in text
        assert PASSWORD not in text + hosts.log()


def test_a_password_where_none_is_wanted(hosts: StoreHosts, server: RedisServer) -> None:
    """The store may have lost its configuration, and with it who may write."""
    assert server.socket
    write_password(hosts, PASSWORD)
    with hosts.host(path=SOCKET, password_file=PASSWORD_FILE) as host:
        assert "store.password_file" in str(host.error("tokens", ALICE))


@pytest.mark.parametrize(
    ("password", "mode", "message"),
    [(PASSWORD, 0o644, "chmod 0640"), ("", 0o640, "write it anew"), (PASSWORD * 500, 0o640, "write it anew")],
    ids=["others may read it", "empty", "huge"],
)
def test_a_password_file_that_cannot_be_used(hosts: StoreHosts, password: str, mode: int, message: str) -> None:
    """The store is not asked without a password instead."""
    write_password(hosts, password, mode)
    with hosts.host(path=SOCKET, password_file=PASSWORD_FILE) as host:
        text = str(host.error("tokens", ALICE))
        assert message in text
        assert PASSWORD_FILE in text
        assert PASSWORD not in text


def test_few_rights_are_enough(hosts: StoreHosts, server: RedisServer) -> None:
    """A user of ours in the store can do what we do, and no more; one right less is named."""
    now = time.time()
    write_password(hosts, PASSWORD)
    server.cli("ACL", "SETUSER", "hosts", "on", f">{PASSWORD}", f"~{PREFIX}:*", *RIGHTS)
    with hosts.host(path=SOCKET, username="hosts", password_file=PASSWORD_FILE, database=1) as host:
        host.keep(ALICE, "token", now - 10, now + 3600)
        assert host.tokens(ALICE) == ["token"]
        host.announce_not_before(ALICE, now)
        assert host.not_befores() == {ALICE: now}
        assert host.tokens(ALICE) == []
        server.cli("ACL", "SETUSER", "hosts", "-set")
        assert "ACL SETUSER" in str(host.error("keep", ALICE, "token", now, now + 3600))
        server.cli("ACL", "SETUSER", "hosts", "-getrange")
        assert "ACL SETUSER" in str(host.error("tokens", ALICE))


def test_a_database_that_is_not_there(hosts: StoreHosts, server: RedisServer) -> None:
    """Redis has 16 of them."""
    assert server.socket
    with hosts.host(path=SOCKET, database=99) as host:
        assert "store.database" in str(host.error("tokens", ALICE))


@pytest.mark.parametrize(
    ("certificate_of", "trusted", "message"),
    [
        ("127.0.0.1", True, ""),
        ("127.0.0.1", False, "store.ca_file"),
        ("127.0.0.2", True, "certificate"),
    ],
    ids=["right", "another authority", "another name"],
)
def test_tls(hosts: StoreHosts, certificate_of: str, trusted: bool, message: str) -> None:  # noqa: FBT001
    """The authority and the name count; with another one not a byte of the password is sent."""
    authority = Authority()
    hosts.box.write("/etc/pam-tailscale/ca.pem", (authority if trusted else Authority()).pem)
    write_password(hosts, PASSWORD)
    place = {
        "host": "127.0.0.1",
        "port": TLS_PORT,
        "ca_file": "/etc/pam-tailscale/ca.pem",
        "password_file": PASSWORD_FILE,
    }
    certificate = authority.issue(certificate_of)
    with RedisServer(hosts.box, password=PASSWORD, certificate=certificate), hosts.host(**place) as host:
        if not message:
            host.keep(ALICE, "token", time.time(), time.time() + 3600)
            assert host.tokens(ALICE) == ["token"]
            return
        text = str(host.error("tokens", ALICE))
        assert message in text
        assert PASSWORD not in text


def test_tls_on_one_side_only(hosts: StoreHosts) -> None:
    """Either mistake is named."""
    certificate = Authority().issue("127.0.0.1")
    with (
        RedisServer(hosts.box, certificate=certificate),
        hosts.host(host="127.0.0.1", port=PORT) as wants_tls,
        hosts.host(host="127.0.0.1", port=TLS_PORT, tls=False) as wants_none,
    ):
        assert "store.tls" in str(wants_tls.error("tokens", ALICE))
        assert "store.tls" in str(wants_none.error("tokens", ALICE))


def test_over_tcp(hosts: StoreHosts, server: RedisServer) -> None:
    """By a name that has several addresses, of which one answers."""
    assert server.socket
    hosts.box.write("/etc/hosts", "::1 localhost store.example.com\n127.0.0.1 localhost store.example.com\n")
    with hosts.host(host="store.example.com", port=PORT, tls=False) as host:
        assert host.tokens(ALICE) == []
    with hosts.host(host="nowhere.example.com", port=PORT, tls=False) as host:
        assert "nowhere.example.com" in str(host.error("tokens", ALICE))


def at(moment: float, token: bytes) -> bytes:
    """A token as it stands in the store."""
    return b"%018.7f %s" % (moment, token)


@pytest.mark.parametrize(
    "value",
    [
        b" ",
        b"rubbish",
        at(1e9, b""),
        at(1e9, b"two words"),
        at(1e9, b"token\n"),
        at(1e9, "tok\u00e9n".encode()),
        at(1e9, b"\xff\x00"),
        b"inf" + b" " * 16 + b"token",
        b"1e99999999.0000000 token",
        at(1e9, b"x" * (TOKEN_MAX + 1)),
    ],
    ids=["blank", "rubbish", "no token", "words", "newline", "not ASCII", "binary", "inf", "exponent", "oversize"],
)
def test_what_cannot_be_a_token_is_passed_over(alpha: StoreHost, server: RedisServer, value: bytes) -> None:
    """Beside it the true ones are found, and a new one takes its place first."""
    now = time.time()
    for number in range(4):
        alpha.keep(ALICE, f"true-{number}", now - 100 + number, now + 3600)
    server.put(slot(3), value)
    assert alpha.tokens(ALICE) == ["true-2", "true-1", "true-0"]
    alpha.keep(ALICE, "another", now, now + 3600)
    assert alpha.tokens(ALICE) == ["another", "true-2", "true-1", "true-0"]


def test_the_longest_token_fits(alpha: StoreHost, beta: StoreHost) -> None:
    """Four of them at once; one byte more is an error of whoever keeps it."""
    now = time.time()
    tokens = [f"{number}" + "x" * (TOKEN_MAX - 1) for number in range(4)]
    for number, token in enumerate(tokens):
        alpha.keep(ALICE, token, now - number, now + 3600)
    assert beta.tokens(ALICE) == tokens
    assert str(TOKEN_MAX) in str(alpha.error("keep", ALICE, "x" * (TOKEN_MAX + 1), now, now + 3600))


def test_nothing_large_is_read(alpha: StoreHost, server: RedisServer) -> None:
    """Values of 64 MiB in every place: the beginning of one is enough to see that it is none of ours."""
    before = alpha.peak_kib()
    for number in range(4):
        server.cli("SETRANGE", slot(number), str(64 * MIB), "x")
    server.cli("SETRANGE", day(), str(64 * MIB), "x")
    assert alpha.tokens(ALICE) == []
    assert alpha.not_befores() == {}
    assert alpha.peak_kib() - before < 16 * 1024
    now = time.time()
    alpha.keep(ALICE, "token", now, now + 3600)
    alpha.announce_not_before(BOB, now)
    assert alpha.tokens(ALICE) == ["token"]
    assert alpha.not_befores() == {BOB: now}


def test_an_announcement_where_nothing_more_fits(alpha: StoreHost, server: RedisServer) -> None:
    """A string has at most 512 MiB; proto-max-bulk-len makes that less, for the test."""
    server.cli("CONFIG", "SET", "proto-max-bulk-len", "1mb")
    server.cli("SETRANGE", day(), str(MIB - 1), "x")
    now = time.time()
    alpha.announce_not_before(BOB, now)
    assert alpha.not_befores() == {BOB: now}


@pytest.mark.parametrize(
    "command",
    [("RPUSH", "x"), ("SADD", "x"), ("ZADD", "1", "x"), ("HSET", "x", "y"), ("XADD", "*", "x", "y")],
    ids=["list", "set", "sorted set", "hash", "stream"],
)
def test_other_types_are_passed_over(alpha: StoreHost, server: RedisServer, command: tuple[str, ...]) -> None:
    """And overwritten."""
    verb, *rest = command
    server.cli(verb, slot(0), *rest)
    server.cli(verb, day(), *rest)
    now = time.time()
    assert alpha.tokens(ALICE) == []
    assert alpha.not_befores() == {}
    alpha.keep(ALICE, "token", now, now + 3600)
    alpha.announce_not_before(BOB, now)
    assert alpha.tokens(ALICE) == ["token"]
    assert alpha.not_befores() == {BOB: now}
    assert alpha.problem() == ""


def test_tokens_from_the_future_stand_behind_true_ones(alpha: StoreHost, server: RedisServer) -> None:
    """Whatever they claim; and the next token takes their place, not that of a true one."""
    now = time.time()
    alpha.keep(ALICE, "true", now - 100, now + 3600)
    for number in range(1, 4):
        server.put(slot(number), at(now + 86400, b"future-%d" % number))
    assert alpha.tokens(ALICE)[0] == "true"
    for number in range(3):
        alpha.keep(ALICE, f"new-{number}", now + number - 50, now + 3600)
    assert alpha.tokens(ALICE) == ["new-2", "new-1", "new-0", "true"]


def test_only_announcements_that_can_be_meant_are_heard(alpha: StoreHost, server: RedisServer) -> None:
    """Nobody who can write there shuts people out for ever."""
    now = time.time()
    lines = [
        f"{ALICE} {now + 3600:018.7f}",
        f"{ALICE} {now - NOT_BEFORE_KEEP - 3600:018.7f}",
        f"{ALICE} nan",
        f"{ALICE} inf",
        f"{ALICE} 1e9",
        f"{ALICE}",
        f"{ALICE.upper()} {now:018.7f}",
        f" {now:018.7f}",
        f"{ALICE} {now:018.7f} {now:018.7f}",
        "\0" * 200,
        "no newline behind this",
    ]
    server.put(day(), "\n".join(lines).encode())
    assert alpha.not_befores() == {}
    alpha.announce_not_before(BOB, now)
    assert alpha.not_befores() == {BOB: now}


def test_announcements_of_earlier_days_are_heard(alpha: StoreHost, server: RedisServer) -> None:
    """As long as a period may reach back to them; the latest one of a person counts."""
    now = time.time()
    for ago in range(10):
        moment = f"{now + 60 - ago * 86400:018.7f}"
        server.put(day(ago), f"\n{person_key('scope', str(ago))} {moment}\n{ALICE} {moment}\n".encode())
    heard = alpha.not_befores()
    assert heard.pop(ALICE) == now + 60
    assert set(heard) == {person_key("scope", str(ago)) for ago in range(9)}


def test_a_million_announcements(alpha: StoreHost, server: RedisServer) -> None:
    """The newest ones are read, which are at the end, and of other days none."""
    now, number = time.time(), 1_000_000
    before = alpha.peak_kib()
    server.put(day(), b"".join(b"\n%064x %018.7f\n" % (one, now) for one in range(number)))
    server.put(day(1), b"\n%064x %018.7f\n" % (number, now))
    alpha.announce_not_before(ALICE, now)
    heard = alpha.not_befores()
    assert len(heard) == NOT_BEFORES_MAX
    assert heard[ALICE] == now
    assert f"{number - 1:064x}" in heard
    assert alpha.peak_kib() - before < 24 * 1024


def test_a_million_members_of_another_type(alpha: StoreHost, server: RedisServer) -> None:
    """Not read; they are removed beside the store's own work, and what is announced then is heard."""
    fill = "for i = 1, 1000000, 1000 do local m = {} for j = i, i + 999 do m[#m+1] = j m[#m+1] = 'm' .. j end "
    server.cli("EVAL", fill + "redis.call('ZADD', KEYS[1], unpack(m)) end", "1", day())
    assert server.cli("ZCARD", day()) == "1000000"
    now = time.time()
    assert alpha.not_befores() == {}
    alpha.announce_not_before(ALICE, now)
    assert alpha.not_befores() == {ALICE: now}


def test_what_was_passed_over_is_logged_seldom(hosts: StoreHosts, alpha: StoreHost, server: RedisServer) -> None:
    """A line for many, without anything of what stood there."""
    server.put(slot(0), b"rubbish-of-a-stranger")
    before = hosts.log().count("passed over")
    for _ in range(100):
        alpha.tokens(ALICE)
    assert hosts.log().count("passed over") == before + 1
    assert "rubbish-of-a-stranger" not in hosts.log()
