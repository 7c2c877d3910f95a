"""A TCP connection that looks to whoever holds it as if it had come from a peer: for asking PAM, not for anything else.

It is made between two network namespaces that have nothing but a cable, whose one end is called and numbered as
tailscaled's interface. Nothing of the host's network is touched, and all of it is gone with the connection. Needs root,
iproute2, and a kernel that has veth.
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pam_tailscale.errors import HostError
from pam_tailscale.host.doctor.walking import Question
from pam_tailscale.host.proving import namespaces

_OTHER_END = "peer"
_SECONDS = 5.0


@contextmanager
def forged(question: Question) -> Iterator[tuple[socket.socket, int]]:
    """The server's end of the connection that a question is about, and the client's port: any, where it asks for 0.

    The calling thread is in the host's network again when this yields. Raises HostError.
    """
    with ExitStack() as stack:
        home = _own_network(stack)
        try:
            ends = _connect(question, stack)
        except OSError as err:
            raise HostError(f"a connection in a network of its own could not be made ({err}): is this root?") from err
        finally:
            namespaces.enter(home, namespaces.CLONE_NEWNET)
        yield ends


def _connect(question: Question, stack: ExitStack) -> tuple[socket.socket, int]:
    namespaces.unshare(namespaces.CLONE_NEWNET)
    clients = _own_network(stack)
    namespaces.unshare(namespaces.CLONE_NEWNET)
    other_end = f"/proc/self/fd/{clients}"
    _ip("link", "add", question.interface, "index", str(question.index), "type", "veth",
        "peer", "name", _OTHER_END, "netns", other_end, keep=clients)  # fmt: skip
    _give_address(question.interface, question.server, question.client)
    listener = stack.enter_context(_tcp(question.server, question.server_port))
    listener.listen(1)
    namespaces.enter(clients, namespaces.CLONE_NEWNET)
    _give_address(_OTHER_END, question.client, question.server)
    client = stack.enter_context(_tcp(question.client, question.client_port))
    client.connect((question.server, question.server_port))
    server, _ = listener.accept()
    return stack.enter_context(server), int(client.getsockname()[1])


def _tcp(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.settimeout(_SECONDS)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


def _give_address(device: str, own: str, other: str) -> None:
    # Looking for the address elsewhere first would take a second.
    once = ("nodad",) if ":" in own else ()
    _ip("address", "add", own, "dev", device, *once)
    _ip("link", "set", device, "up")
    _ip("route", "add", other, "dev", device)


def _ip(*arguments: str, keep: int | None = None) -> None:
    done = subprocess.run(
        ["ip", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=False,
        pass_fds=() if keep is None else (keep,),
    )
    if done.returncode != 0:
        raise OSError(f"'ip {' '.join(arguments[:2])}': {done.stderr.strip()[:200]}")


def _own_network(stack: ExitStack) -> int:
    """A descriptor of the network namespace that this thread is in."""
    descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor
