"""The module alone says whether a connection is the tailnet's; where it cannot say, the tailnet is refused."""

import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from pam_tailscale import wire
from tests.support import pamstack
from tests.support.pamstack import Login, PamStack
from tests.support.scripted_agent import ALLOW, say, scripted_agent

MakeStack = Callable[..., PamStack]
Tcp = tuple[socket.socket, socket.socket]

ALL_STEPS = ("auth", "account", "setcred", "open", "close")
REFUSED = [
    pamstack.AUTH_ERR,
    pamstack.PERM_DENIED,
    pamstack.CRED_ERR,
    pamstack.SESSION_ERR,
    pamstack.SESSION_ERR,
]
LOOPBACK = "addresses=127.0.0.0/8,::1/128"

# None of these can be read as four fields; none names a tailnet address.
UNREADABLE = {
    "missing": None,
    "empty": "",
    "spaces": "   ",
    "words": "client port server port",
    "no ports": "192.0.2.7 192.0.2.1",
    "three fields": "192.0.2.7 50123 192.0.2.1",
    "five fields": "192.0.2.7 50123 192.0.2.1 22 1",
    "trailing space": "192.0.2.7 50123 192.0.2.1 22 ",
    "leading space": " 192.0.2.7 50123 192.0.2.1 22",
    "two spaces": "192.0.2.7  50123 192.0.2.1 22",
    "tab": "192.0.2.7\t50123 192.0.2.1 22",
    "newline": "192.0.2.7 50123 192.0.2.1 22\n",
    "host name": "client.example 50123 192.0.2.1 22",
    "scope": "fe80::1%lo 50123 fe80::2%lo 22",
    "scope as a number": "fe80::1%1 50123 fe80::2%1 22",
    "brackets": "[2001:db8::7] 50123 [2001:db8::1] 22",
    "short v4": "192.0.2 50123 192.0.2.1 22",
    "octal v4": "0300.0.2.7 50123 192.0.2.1 22",
    "v4 as a number": "3221225991 50123 192.0.2.1 22",
    "v4 with a mask": "192.0.2.7/32 50123 192.0.2.1 22",
    "port 0": "192.0.2.7 0 192.0.2.1 22",
    "port 65536": "192.0.2.7 65536 192.0.2.1 22",
    "huge port": "192.0.2.7 99999999999999999999 192.0.2.1 22",
    "signed port": "192.0.2.7 +50123 192.0.2.1 22",
    "negative port": "192.0.2.7 -1 192.0.2.1 22",
    "octal port": "192.0.2.7 050123 192.0.2.1 22",
    "port with letters": "192.0.2.7 50123x 192.0.2.1 22",
    "long address": "1" * 300 + " 50123 192.0.2.1 22",
    "not UTF-8": b"\xff\xfe 50123 192.0.2.1 22",
    "not TCP": "UNKNOWN 65535 UNKNOWN 65535",
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_unreadable_over_the_tailnet_is_refused(stack: MakeStack, tcp: Tcp, text: str | bytes | None) -> None:
    """The socket says it is the tailnet's, so it is refused; nobody is let in by a socket that was searched for."""
    login = Login(connection=text, descriptors=(tcp[1].fileno(),))
    with scripted_agent(say(ALLOW)) as agent:
        run = stack(agent, LOOPBACK).run(*ALL_STEPS, login=login)
    assert run.codes == REFUSED
    assert agent.connections == 0
    assert all('decision=deny reason=connection_unreadable user="alice" addr=unknown' in line for line in run.log)
    assert all(line.startswith("4 ") for line in run.log)
    assert len(run.log) == 5


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_unreadable_elsewhere_is_not_ours(stack: MakeStack, tcp: Tcp, text: str | bytes | None) -> None:
    """A link-local address has a scope, a vsock no address at all: such logins are as they were before."""
    logins = [Login(connection=text, descriptors=descriptors) for descriptors in ((), (tcp[1].fileno(),))]
    with scripted_agent(say(ALLOW)) as agent:
        runs = [stack(agent).run(*ALL_STEPS, login=login) for login in logins]
    for run in runs:
        assert run.codes == [pamstack.IGNORED] * 5
        assert run.log == ()
        assert run.shown == []
    assert agent.connections == 0


@pytest.mark.parametrize(
    "text",
    [
        "100.64.0.7 50123 100.64.0.1",
        "100.64.0.7 50123 100.64.0.1 22 more",
        "100.64.0.7",
        "100.64.0.7  50123 x y",
        "x 1 fd7a:115c:a1e0::1 22 ",
        "::ffff:100.64.0.7 0 ::ffff:100.64.0.1 22",
    ],
)
def test_unreadable_text_with_a_tailnet_address_is_refused(stack: MakeStack, text: str) -> None:
    """Half a tailnet connection is not an ordinary one, whatever the sockets say."""
    with scripted_agent(say(ALLOW)) as agent:
        run = stack(agent).run(*ALL_STEPS, login=Login(connection=text))
    assert (run.codes, agent.connections) == (REFUSED, 0)


def test_unreadable_is_told_at_the_keyboard_alone(stack: MakeStack, tcp: Tcp) -> None:
    """The text is the same as for every trouble that is not the policy's."""
    login = Login(connection=None, at_keyboard=True, descriptors=(tcp[1].fileno(),))
    run = stack(None, LOOPBACK).run("auth", login=login)
    assert run.codes == [pamstack.MAXTRIES]
    assert run.shown == [(pamstack.ERROR_MSG, wire.TEXT_TRY_AGAIN.encode())]


def test_connection_that_was_reset_is_refused(stack: MakeStack, tcp: Tcp) -> None:
    """Its socket no longer tells who it was, and it may have been the tailnet's."""
    client, server = tcp
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    run = stack(None).run("auth", login=Login(connection=None, descriptors=(server.fileno(),)))
    assert run.codes == [pamstack.AUTH_ERR]


@pytest.fixture
def strangers() -> Iterator[tuple[socket.socket, ...]]:
    """Sockets that are no TCP connection of a client."""
    left, right = socket.socketpair()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        left,
        right,
    ):
        datagrams.connect(("127.0.0.1", 9))
        yield listener, datagrams, left


def test_other_sockets_do_not_count(stack: MakeStack, strangers: tuple[socket.socket, ...]) -> None:
    """A listener, a datagram socket and a Unix socket are no sign of a login over TCP."""
    numbers = tuple(one.fileno() for one in strangers)
    run = stack(None, LOOPBACK).run("auth", login=Login(connection=None, descriptors=numbers))
    assert run.codes == [pamstack.IGNORED]


@pytest.mark.parametrize(
    ("client", "server", "is_ours"),
    [
        ("100.64.0.0", "100.127.255.255", True),
        ("100.63.255.255", "100.64.0.1", False),
        ("100.128.0.0", "100.64.0.1", False),
        ("100.64.0.7", "100.128.0.0", False),
        ("100.64.0.7", "192.0.2.1", False),
        ("192.0.2.7", "100.64.0.1", False),
        ("fd7a:115c:a1e0::", "fd7a:115c:a1e0:ffff:ffff:ffff:ffff:ffff", True),
        ("fd7a:115c:a1df:ffff::", "fd7a:115c:a1e0::1", False),
        ("fd7a:115c:a1e1::", "fd7a:115c:a1e0::1", False),
        ("fd7a:115c:a1e0::7", "100.64.0.1", True),
        ("::ffff:100.64.0.7", "::ffff:100.64.0.1", True),
        ("::ffff:192.0.2.7", "::ffff:100.64.0.1", False),
        ("::100.64.0.7", "::100.64.0.1", False),
        ("127.0.0.1", "127.0.0.1", False),
        ("::1", "::1", False),
    ],
)
def test_both_ends_decide(stack: MakeStack, client: str, server: str, *, is_ours: bool) -> None:
    """Ours are the connections that the drop-in matches: both ends inside, to the last address."""
    with scripted_agent(say(ALLOW)) as agent:
        run = stack(agent).run("auth", login=Login(connection=f"{client} 50123 {server} 22"))
    assert run.codes == [pamstack.SUCCESS if is_ours else pamstack.IGNORED]
    assert agent.connections == int(is_ours)


@pytest.mark.parametrize(
    ("text", "client", "server"),
    [
        ("::ffff:100.64.0.7 1 ::ffff:100.64.0.1 65535", "100.64.0.7", "100.64.0.1"),
        ("::FFFF:6440:7 1 100.64.0.1 65535", "100.64.0.7", "100.64.0.1"),
        ("FD7A:115C:A1E0:0:0::7 1 fd7a:115c:a1e0::0001 65535", "fd7a:115c:a1e0::7", "fd7a:115c:a1e0::1"),
    ],
    ids=["v4-mapped", "v4-mapped in hexadecimal", "v6"],
)
def test_agent_gets_addresses_in_one_form(stack: MakeStack, text: str, client: str, server: str) -> None:
    """One address has one name on the wire, and v4-mapped ones are IPv4."""
    with scripted_agent(say(ALLOW)) as agent:
        stack(agent).run("auth", login=Login(connection=text))
    pairs = agent.asked[0].pairs
    assert [pairs[key] for key in ("client", "client_port", "server", "server_port")] == [client, "1", server, "65535"]


def test_wide_ipv6_network_is_ipv6_alone(stack: MakeStack) -> None:
    """::/0 names every IPv6 address and no IPv4 one, whatever form it is written in."""
    made = stack(None, "addresses=::/0")
    connections = ["192.0.2.7 5 192.0.2.1 22", "::ffff:192.0.2.7 5 192.0.2.1 22", "2001:db8::7 5 2001:db8::1 22"]
    codes = [made.run("auth", login=Login(connection=text)).codes[0] for text in connections]
    assert codes == [pamstack.IGNORED, pamstack.IGNORED, pamstack.AUTH_ERR]


def nodelay_of(tcp: Tcp) -> bool:
    """Whether Nagle's algorithm is off on the server's end; the module had a copy of the very socket."""
    return bool(tcp[1].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


@pytest.mark.parametrize("step", ["auth", "account"])
def test_nagle_is_turned_off_for_ours(stack: MakeStack, tcp: Tcp, step: str) -> None:
    """Else every login waits for a delayed acknowledgement."""
    with scripted_agent(say(ALLOW)) as agent:
        run = stack(agent, LOOPBACK).run(step, login=Login.over(tcp[1]))
    assert run.codes == [pamstack.SUCCESS]
    assert nodelay_of(tcp)


@pytest.fixture
def dual_stack() -> Iterator[Tcp]:
    """IPv4 over an IPv6 socket, as sshd has it when it listens on both at once."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        client = socket.create_connection(("127.0.0.1", listener.getsockname()[1]))
        server, _ = listener.accept()
    with client, server:
        yield client, server


def test_nagle_is_turned_off_over_a_dual_stack_socket(stack: MakeStack, dual_stack: Tcp) -> None:
    """The socket calls the address v4-mapped and sshd does not; it is the same one."""
    with scripted_agent(say(ALLOW)) as agent:
        stack(agent, LOOPBACK).run("auth", login=Login.over(dual_stack[1]))
    assert nodelay_of(dual_stack)


@pytest.mark.parametrize("step", ["auth", "account", "open"])
def test_agent_learns_which_interface_it_came_in_by(stack: MakeStack, tcp: Tcp, step: str) -> None:
    """Nobody can be answered over the tailnet who came in by the LAN; and the socket is afterwards as it was."""
    level, option = (
        (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) if tcp[1].family == socket.AF_INET6 else (socket.IPPROTO_IP, 8)
    )
    with scripted_agent(say(ALLOW)) as agent:
        stack(agent, LOOPBACK).run(step, login=Login.over(tcp[1]))
    assert agent.asked[0].pairs["interface"] == str(socket.if_nametoindex("lo"))
    assert tcp[1].getsockopt(level, option) == 0


def test_interface_of_a_dual_stack_socket(stack: MakeStack, dual_stack: Tcp) -> None:
    """IPv4 over an IPv6 socket came in by an interface too."""
    with scripted_agent(say(ALLOW)) as agent:
        stack(agent, LOOPBACK).run("auth", login=Login.over(dual_stack[1]))
    assert agent.asked[0].pairs["interface"] == str(socket.if_nametoindex("lo"))


@pytest.mark.parametrize("arguments", [[], [LOOPBACK, "mode=observe"]], ids=["not ours", "observe"])
def test_socket_is_left_alone_otherwise(stack: MakeStack, tcp: Tcp, arguments: list[str]) -> None:
    """Neither a LAN login nor one that is only watched is changed."""
    with scripted_agent(say(ALLOW)) as agent:
        stack(agent, *arguments).run(*ALL_STEPS, login=Login.over(tcp[1]))
    assert not nodelay_of(tcp)
