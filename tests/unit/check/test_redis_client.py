"""Questions to a store that may be dead, slow, full or hostile: what becomes of each."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_tailscale.check.redis_client import REST_MAX, REST_MIN, Client, Refusal, Rest
from pam_tailscale.check.redis_socket import Place
from pam_tailscale.errors import CheckError
from tests.support.fake_redis import Command, FakeRedis, serving

SECRET = "a-token-that-must-not-be-seen"
ASK = [("GETRANGE", "key", 0, 9)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "store"


@pytest.fixture
def fake(path: Path) -> Iterator[FakeRedis]:
    """The store."""
    with serving(path) as running:
        yield running


@pytest.fixture
def clock() -> list[float]:
    """Monotonic seconds for rests, its only item."""
    return [1000.0]


@pytest.fixture
def client(path: Path) -> Iterator[Client]:
    """With much time, so that only what hangs is too slow."""
    opened = Client(Place(path=path, connect_seconds=10, command_seconds=10))
    yield opened
    opened.close()


@pytest.fixture
def hasty(path: Path) -> Iterator[Client]:
    """With little time."""
    opened = Client(Place(path=path, connect_seconds=0.05, command_seconds=0.05))
    yield opened
    opened.close()


def test_answers_come_in_their_order(fake: FakeRedis, client: Client) -> None:
    """Values, numbers, nothing, and one error among them."""
    fake.put("key", b"value")
    fake.put("list", None)
    commands = [("GETRANGE", "key", 0, 2), ("STRLEN", "key"), ("STRLEN", "list"), ("GETRANGE", "none", 0, 9)]
    value, size, refusal, nothing = client.ask(commands, 100)
    assert (value, size, nothing) == (b"val", 5, b"")
    assert isinstance(refusal, Refusal)
    assert refusal.code == "WRONGTYPE"
    assert "store.prefix" in refusal.advice
    assert client.problem() == ""


def test_one_connection_serves_many_questions(fake: FakeRedis, client: Client) -> None:
    """And is replaced where the store was restarted, without an error."""
    for _ in range(3):
        client.ask(ASK, 100)
    assert len(fake.connections) == 1
    fake.drop_connections()
    client.ask(ASK, 100)
    assert len(fake.connections) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"-NOAUTH Authentication required.", "store.password_file"),
        (b"-ERR max number of clients reached", "maxclients"),
        (b"-LOADING Redis is loading the dataset in memory", "wait a moment"),
    ],
    ids=["NOAUTH", "clients", "LOADING"],
)
def test_errors_that_are_about_the_store(fake: FakeRedis, client: Client, line: bytes, message: str) -> None:
    """It is left alone for some time."""
    fake.fault = lambda command: line + b"\r\n" if command[0] == b"GETRANGE" else None
    with pytest.raises(CheckError, match=message) as caught:
        client.ask(ASK, 100)
    assert caught.value.retry_after > 0
    assert message in client.problem()


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (b"-OOM command not allowed when used memory > 'maxmemory'.", "OOM", "maxmemory"),
        (b"-READONLY You can't write against a read only replica.", "READONLY", "primary"),
        (b"-MISCONF Redis is configured to save RDB snapshots, but", "MISCONF", "its log"),
        (b"-NOPERM this user has no permissions to run the 'set' command", "NOPERM", "ACL SETUSER"),
        (b"-MOVED 3999 192.0.2.1:6381", "MOVED", "cluster"),
        (b"-CLUSTERDOWN Hash slot not served", "CLUSTERDOWN", "cluster"),
        (b"-ERR unknown command", "ERR", "see its log"),
        (b"-", "ERR", "see its log"),
    ],
    ids=["OOM", "READONLY", "MISCONF", "NOPERM", "MOVED", "CLUSTERDOWN", "unknown", "empty"],
)
def test_errors_that_are_about_one_command(
    fake: FakeRedis, client: Client, line: bytes, code: str, message: str
) -> None:
    """The others are answered, and the store is asked again at once."""
    fake.put("key", b"value")
    fake.fault = lambda command: line + b"\r\n" if command[0] == b"SET" else None
    refusal, value = client.ask([("SET", "key", SECRET, "EX", 1), *ASK], 100)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    assert message in refusal.advice
    assert value == b"value"
    assert client.ask(ASK, 100) == [b"value"]


def test_a_server_that_repeats_what_it_was_sent(
    fake: FakeRedis, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """As Redis does for a command that it does not know: nothing of a token comes back in an error."""
    repeat = f"-ERR unknown command 'SET', with args beginning with: 'key' '{SECRET}'\r\n".encode()
    fake.fault = lambda _: repeat
    (refusal,) = client.ask([("SET", "key", SECRET, "EX", 1)], 100)
    assert SECRET not in repr(refusal)
    fake.fault = lambda _: SECRET.encode() + b"\r\n"
    with pytest.raises(CheckError) as caught:
        client.ask(ASK, 100)
    err: BaseException | None = caught.value
    while err is not None:
        assert SECRET not in str(err)
        err = err.__cause__ or (None if err.__suppress_context__ else err.__context__)
    assert SECRET not in client.problem() + caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        b"\r\n",
        b"rubbish\r\n",
        b"$x\r\n",
        b":x\r\n",
        b"*x\r\n",
        b"$-7\r\nabcdefgh\r\n",
        b"*2\r\n+a\r\n+b\r\n",
        b"%1\r\n+a\r\n+b\r\n",
        b"*1\r\n" * 50_000,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x03\x00\x02\x02\x32",
        b"$5\r\nab",
        b"$3\r\nabcdef\r\n+more\r\n",
    ],
    ids=[
        *("empty", "rubbish", "bulk", "number", "array", "negative", "list", "map", "nested"),
        *("http", "tls", "cut", "longer"),
    ],
)
def test_an_answer_that_is_none(fake: FakeRedis, path: Path, answer: bytes) -> None:
    """An error of ours, whatever the library makes of it; nothing of it is taken for an answer to another question."""
    client = Client(Place(path=path, connect_seconds=0.1, command_seconds=0.1))
    fake.fault = lambda _: answer
    try:
        answers = client.ask(ASK, 1 << 20)
    except CheckError:
        answers = []
    assert answers in ([], [b"abc"])
    client._rest.worked()
    fake.fault = lambda _: None
    fake.put("key", b"value")
    assert client.ask(ASK, 100) == [b"value"]
    client.close()


@pytest.mark.parametrize("most", [0, 100_000])
def test_an_answer_that_is_too_long(fake: FakeRedis, client: Client, most: int) -> None:
    """However much is announced or comes."""
    fake.fault = lambda _: b"$500000000\r\n" + b"x" * (most + 200_000)
    with pytest.raises(CheckError, match="more than it was asked for"):
        client.ask(ASK, most)


def test_a_store_that_hangs(fake: FakeRedis, hasty: Client) -> None:
    """The question ends, and its connection is not used again: what comes late must meet no other question."""
    fake.fault = lambda _: b""
    with pytest.raises(CheckError, match=r"does not answer within 0\.05 s"):
        hasty.ask(ASK, 100)
    assert hasty._pool._available_connections
    assert all(connection._sock is None for connection in hasty._pool._available_connections)


def test_with_one_connection_the_others_go(fake: FakeRedis, hasty: Client) -> None:
    """They lead to the same store, and each would have to be waited for."""
    hasty._bounds.begin(30.0, 10_000)
    idle = [hasty._pool.get_connection() for _ in range(3)]
    for connection in idle:
        hasty._pool.release(connection)
    fake.fault = lambda _: b""
    with pytest.raises(CheckError):
        hasty.ask(ASK, 100)
    assert [connection._sock for connection in idle] == [None] * 3


def test_a_question_is_put_once(fake: FakeRedis, client: Client) -> None:
    """The library's newer versions like to repeat, and the person waits."""

    def close(command: Command) -> bytes | None:
        if command[0] != b"GETRANGE":
            return None
        fake.drop_connections()
        return b""

    fake.fault = close
    with pytest.raises(CheckError, match="closed the connection"):
        client.ask(ASK, 100)
    assert [command[0] for command in fake.asked].count(b"GETRANGE") == 1


def test_a_store_that_answers_drop_by_drop(fake: FakeRedis, hasty: Client) -> None:
    """The answer as a whole has its time, not each part of it."""
    drops = threading.Event()

    def drip(_: Command) -> bytes:
        with contextlib.suppress(OSError):  # the other side has had enough
            while not drops.wait(0.005):
                fake.connections[-1].sendall(b"x")
        return b""

    fake.fault = drip
    with pytest.raises(CheckError, match="does not answer within"):
        hasty.ask(ASK, 100_000)
    drops.set()


def test_the_password_is_said_first(fake: FakeRedis, path: Path, tmp_path: Path) -> None:
    """Then the database; the file is read for each connection."""
    password = tmp_path / "password"
    password.touch(0o600)
    client = Client(Place(path=path, username="user", password_file=password, database=3))
    for text in ("first", "second"):
        password.write_text(text)
        client.ask(ASK, 100)
        said = [command for command in fake.asked if command[0] in {b"AUTH", b"SELECT"}]
        assert said == [(b"AUTH", b"user", text.encode()), (b"SELECT", b"3")]
        fake.asked.clear()
        fake.drop_connections()
    password.chmod(0o644)
    with pytest.raises(CheckError, match="chmod 0640"):
        client.ask(ASK, 100)
    assert not [command for command in fake.asked if command[0] == b"GETRANGE"]
    client.close()


@pytest.mark.parametrize(
    "line",
    [
        b"-WRONGPASS invalid username-password pair or user is disabled.",
        b"-ERR invalid password",
        b"-ERR AUTH <password> called without any password configured for the default user. Are you sure?",
        b"-ERR Client sent AUTH, but no password is set",
    ],
)
def test_a_password_that_does_not_fit(fake: FakeRedis, path: Path, tmp_path: Path, line: bytes) -> None:
    """In the words of each version; nothing of it is in the error."""
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_text(SECRET)
    client = Client(Place(path=path, password_file=password))
    fake.fault = lambda command: line + b"\r\n" if command[0] == b"AUTH" else None
    with pytest.raises(CheckError, match=r"store\.password_file") as caught:
        client.ask(ASK, 100)
    assert SECRET not in str(caught.value) + client.problem() + repr(client._pool)
    client.close()


def test_a_dead_store_is_left_alone(path: Path, clock: list[float]) -> None:
    """For a time that grows; then it is asked once, and all is well again when it answers."""
    client = Client(Place(path=path), monotonic=lambda: clock[0])
    rests = []
    for _ in range(9):
        with pytest.raises(CheckError, match="is it running") as caught:
            client.ask(ASK, 100)
        rests.append(caught.value.retry_after)
        with pytest.raises(CheckError, match="left alone"):
            client.ask(ASK, 100)
        clock[0] += rests[-1] + 0.001
    assert rests == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    with serving(path):
        assert client.ask(ASK, 100) == [b""]
        assert client.problem() == ""
        client.close()
    with pytest.raises(CheckError) as caught:
        client.ask(ASK, 100)
    assert caught.value.retry_after == REST_MIN


def test_while_one_tries_again_others_are_told_no() -> None:
    """A store that hangs must not hold every thread each time its rest is over."""
    rest = Rest()
    rest.begin(100.0, 1.0)
    assert rest.left(100.0) == 0
    rest.failed(100.0, 101.0)
    assert rest.left(101.0) == REST_MIN
    assert rest.left(101.5) == 0
    rest.begin(101.5, 1.0)
    assert rest.left(101.5) == 1.0
    rest.worked()
    assert rest.left(101.5) == 0


def test_a_store_that_failed_is_tried_by_one_thread(fake: FakeRedis, path: Path, clock: list[float]) -> None:
    """While it waits for the answer, the others are told no at once."""
    client = Client(Place(path=path, connect_seconds=10, command_seconds=10), monotonic=lambda: clock[0])
    fake.fault = lambda _: b"-NOAUTH x\r\n"
    with pytest.raises(CheckError):
        client.ask(ASK, 100)
    clock[0] += REST_MIN
    asked, go_on = threading.Event(), threading.Event()

    def slow(_: Command) -> None:
        asked.set()
        go_on.wait(30)

    fake.fault = slow
    first = threading.Thread(target=client.ask, args=(ASK, 100))
    first.start()
    assert asked.wait(30)
    with pytest.raises(CheckError, match="left alone"):
        client.ask(ASK, 100)
    go_on.set()
    first.join()
    assert client.problem() == ""
    client.close()


def test_failures_at_the_same_time_count_once() -> None:
    """Many threads may be waiting when a store dies."""
    rest = Rest()
    for _ in range(50):
        rest.failed(100.0, 101.0)
    assert rest.left(101.0) == REST_MIN
    rest.failed(101.6, 102.0)
    assert rest.left(102.0) == 2 * REST_MIN


def test_a_rest_has_an_end() -> None:
    """However often the store fails."""
    rest = Rest()
    for number in range(2000):
        rest.failed(100.0 * number + 1, 100.0 * number + 1)
        assert rest.left(100.0 * number + 1) <= REST_MAX


def test_many_threads(fake: FakeRedis, client: Client) -> None:
    """Each gets the answer to its own question."""
    for number in range(8):
        fake.put(f"key-{number}", b"value-%d" % number)
    wrong = []

    def ask(number: int) -> None:
        for _ in range(50):
            answers = client.ask([("GETRANGE", f"key-{number}", 0, 99)], 100)
            if answers != [b"value-%d" % number]:
                wrong.append(answers)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(fake.connections) <= 8
