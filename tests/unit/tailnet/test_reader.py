"""The root reader as a program: what it answers on its descriptor, and what it is given to do so."""

import json
import re
import socket as sockets
import subprocess
from pathlib import Path

import pytest

from contrib.demo import faults
from contrib.demo.localapi import Fault
from contrib.demo.localapi import LocalAPI as Server
from contrib.demo.reader_listener import WITHOUT_CAPABILITIES
from pam_tailscale.tailnet import reader
from pam_tailscale.tailnet.netmap import reader_command
from tests.support.impostor import impostor
from tests.unit.tailnet.test_state import KEY, SEALED, state_of, written

Lines = list[dict[str, object]]


def run(path: Path, *arguments: str, request: bytes = b"netmap\n", prefix: tuple[str, ...] = ()) -> tuple[Lines, int]:
    """The answer's lines, decoded, and the exit status."""
    ours, theirs = sockets.socketpair()
    with ours, theirs:
        command = [*prefix, *reader_command("--socket", str(path), *arguments)]
        with subprocess.Popen(command, stdin=theirs.fileno(), stderr=subprocess.PIPE) as process:
            theirs.close()
            ours.settimeout(30)
            ours.sendall(request)
            ours.shutdown(sockets.SHUT_WR)
            answer = b""
            while part := ours.recv(65536):
                answer += part
            assert process.stderr is not None
            assert process.stderr.read() == b""
    assert answer.endswith(b"\n")
    return [json.loads(line) for line in answer.splitlines()], process.returncode


def test_the_netmap_is_reduced(server: Server) -> None:
    """A header, each rule, an end, and nothing else of the netmap."""
    lines, status = run(server.path)
    tailnet = server.tailnet
    assert tailnet.rules is not None
    assert lines == [
        {
            "format": 1,
            "cached": False,
            "self": {"stable_id": tailnet.own.stable_id, "addresses": ["100.64.0.1/32", "fd7a:115c:a1e0::1/128"]},
            "rules": 1,
            "bytes": len(tailnet.encoded("netmap")),
        },
        *tailnet.rules,
        {"end": True},
    ]
    assert status == 0


def test_no_capability_is_needed(server: Server) -> None:
    """Of root, tailscaled looks at the uid alone: all else is taken away."""
    lines, status = run(server.path, prefix=WITHOUT_CAPABILITIES)
    assert (len(lines), status) == (3, 0)


def test_the_bus_of_an_older_tailscaled_is_enough(server: Server) -> None:
    """Up to 1.102 the netmap is on the bus, which every user may read."""
    server.tailnet.version, server.tailnet.debug = "1.102.5", False
    server.tailnet.changed()
    lines, status = run(server.path, "--bus", prefix=WITHOUT_CAPABILITIES)
    assert lines[1:-1] == server.tailnet.rules
    assert status == 0
    assert server.asked == {"watch-ipn-bus": 1}


def test_a_newer_tailscaled_refuses_its_bus(server: Server) -> None:
    """The message is tailscaled's own."""
    lines, status = run(server.path, "--bus")
    assert status == 1
    assert "no longer supported" in str(lines[0]["error"])


def test_debug_built_out_is_said(server: Server) -> None:
    """Some distributions build tailscaled small; then the policy cannot be read, and that is the message."""
    server.tailnet.debug = False
    lines, status = run(server.path)
    assert status == 1
    assert "built without debug" in str(lines[0]["error"])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (faults.status(403, "debug access denied"), "debug access denied"),
        (faults.status(404, "404 page not found"), "built without debug"),
        (faults.status(500), "journalctl"),
        (faults.status(503), "still starting"),
        (faults.half, "not complete JSON"),
        (faults.cut, "not complete JSON"),
        (faults.closed, "without an answer"),
        (faults.body(b""), "not complete JSON"),
        (faults.body(b"[]"), "not complete JSON"),
        (faults.body(b"{}"), "no node of its own"),
    ],
    ids=["403", "404", "500", "503", "half", "cut", "closed", "empty", "list", "nothing"],
)
def test_a_bad_answer_is_an_error(server: Server, fault: Fault, message: str) -> None:
    """One line that says what to do; nothing that could be taken for a policy."""
    server.faults["debug"] = fault
    lines, status = run(server.path)
    assert len(lines) == 1
    assert re.search(message, str(lines[0]["error"]))
    assert lines[0]["policy_shape"] is False
    assert status == 1


def test_an_unknown_policy_is_told_apart(server: Server) -> None:
    """It is not tailscaled that is wrong but us who are too old."""
    server.tailnet.policy = {"ruleset": []}
    server.tailnet.changed()
    lines, _ = run(server.path)
    assert lines[0]["policy_shape"] is True


def test_a_netmap_beyond_the_cap_is_refused(server: Server) -> None:
    """More than 48 MiB are not read, and the memory limit is not reached."""
    server.faults["debug"] = faults.huge(reader.BODY_MAX)
    lines, status = run(server.path)
    assert status == 1
    assert "larger than 48 MiB" in str(lines[0]["error"])


def test_a_netmap_just_below_the_cap_fits_into_memory(server: Server) -> None:
    """The memory limit is above what the size limit lets in, also where the text has every kind of character."""
    netmap = json.dumps(server.tailnet.netmap(), ensure_ascii=False).encode()
    filling = "\U0001f511".encode() * ((reader.BODY_MAX - len(netmap) - 100) // 4)
    server.faults["debug"] = faults.body(b'{"Filling":["' + filling + b'"],' + netmap[1:])
    lines, status = run(server.path)
    assert status == 0, lines
    assert lines[-1] == {"end": True}


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"netmap",
        b"state\n",
        b"netmap \n",
        b"x" * 64,
        b"netmap\nnetmap\n",
        b"machine-key",
        b"machine-key \n",
        b"netmap\nmachine-key\n",
        b"machine_key\n",
    ],
)
def test_any_other_request_is_refused(server: Server, request_: bytes) -> None:
    """There are two things it does."""
    lines, status = run(server.path, request=request_)
    assert len(lines) == 1
    assert "upgrade agent and reader" in str(lines[0]["error"])
    assert status == 1
    assert not server.asked


def test_the_machine_key_is_given(server: Server, tmp_path: Path) -> None:
    """It alone of all that the state holds, without a capability, and without asking tailscaled."""
    path = written(tmp_path, state_of())
    lines, status = run(server.path, "--state", path, request=b"machine-key\n", prefix=WITHOUT_CAPABILITIES)
    assert lines == [{"format": 1, "machine_key": KEY}]
    assert status == 0
    assert not server.asked


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (SEALED, "sealed by the TPM"), ({}, "no machine key in it"), (b"\xff", "not understood")],
    ids=["none", "sealed", "not logged in", "garbage"],
)
def test_without_a_machine_key_the_reader_says_why(
    server: Server, tmp_path: Path, content: object, message: str
) -> None:
    """One line, as with the netmap."""
    path = str(tmp_path / "tailscaled.state") if content is None else written(tmp_path, content)
    lines, status = run(server.path, "--state", path, request=b"machine-key\n")
    assert len(lines) == 1
    assert message in str(lines[0]["error"])
    assert status == 1


def test_only_root_is_believed(socket_path: Path) -> None:
    """A policy from another user's program would be that user's policy."""
    with impostor(socket_path, uid=65534):
        lines, status = run(socket_path)
    assert "uid 65534" in str(lines[0]["error"])
    assert status == 1


def test_no_tailscaled(socket_path: Path) -> None:
    """The message names the socket."""
    lines, _ = run(socket_path)
    assert str(socket_path) in str(lines[0]["error"])


def test_little_is_imported() -> None:
    """Starting is most of what a read costs: what is slow to import is not."""
    program = reader_command()[4].replace("sys.exit(main())", "print(*sorted(sys.modules))")
    output = subprocess.run([*reader_command()[:4], program], capture_output=True, text=True, check=True).stdout
    loaded = set(output.split())
    assert "pam_tailscale.tailnet.scan" in loaded
    assert not loaded & {
        "http.client",
        "email",
        "ipaddress",
        "pathlib",
        "subprocess",
        "argparse",
        "datetime",
        "typing_extensions",
    }
