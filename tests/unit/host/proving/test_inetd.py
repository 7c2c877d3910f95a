"""sshd's side of the proof, with a program in sshd's place that says how it was started and what it sees."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.host.proving import on_stage

_SERVE = """
import os, select, socket
from pathlib import Path
from pam_tailscale.host.proving import cables, inetd, namespaces, stage
from pam_tailscale.host.proving.trial import ELSEWHERE, Variant, attempts
from tests.unit.host.proving.plans import plan
MARK = "/etc/pam-tailscale-test"
given = plan(before={MARK: b"before"}, after={MARK: b"after"})
stage.build(given, (), {})
fake = stage.ROOM / "sshd"
fake.write_text('#!/bin/sh\\\\nprintf "%s\\\\\\\\n" "$(cat /etc/pam-tailscale-test)" "$PATH" "$HOME" "$@"\\\\n'
    'while [ "$1" != -E ]; do shift; done; echo "Failed none for alice" > "$2"; echo "of another" >> "$2"\\\\n')
fake.chmod(0o755)
inetd.PROGRAM = str(fake)
tried = attempts(given, any_key=True)
network = cables.lay(given, tried)
log, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
server = inetd.Inetd(tried, ("PermitRootLogin=no",), log)
def connect(source, target, port):
    reading, writing = os.pipe()
    if os.fork() == 0:
        namespaces.enter(network, namespaces.CLONE_NEWNET)
        with socket.create_connection((str(target), port), 5, (str(source), 0)) as connection:
            data = b""
            while part := connection.recv(65536):
                data += part
        os.write(writing, data)
        os._exit(0)
    os.close(writing)
    while not select.select([reading], [], [], 0)[0]:
        for ready in select.select(server.sockets, [], [], 0.005)[0]:
            server.serve(ready)
    return os.read(reading, 65536).decode().splitlines()
"""
_EACH = """
found["started"] = [[attempt.variant.value, attempt.without_none, str(attempt.source), attempt.port,
    connect(attempt.source, attempt.target, attempt.port)] for attempt in tried]
alice = next(attempt for attempt in tried if attempt.account == "alice")
found["logged"] = server.logged(alice)
sender.send(b"<86>sshd[1]: pam_tailscale(sshd:auth): user=alice")
sender.send(b"<86>sshd[1]: pam_tailscale(sshd:auth): user=bob")
while select.select([log], [], [], 0)[0]:
    server.serve(log)
found["said"] = server.said(alice)
found["without none"] = Path(stage.ROOM / "without-none.conf").read_text()
"""
_UNKNOWN = """
missing = [attempt for attempt in tried if attempt.target != ELSEWHERE][0]
server._attempts = {}
found["lines"] = connect(missing.source, missing.target, missing.port)
"""
_EFFECTIVE = """
script = sys.argv[1]
fake.write_text(script)
attempt = next(attempt for attempt in tried if attempt.variant is Variant.AFTER)
try:
    found["values"] = {name: list(values) for name, values in inetd.effective(attempt, ("UseDNS=no",)).values.items()}
except OSError as err:
    found["error"] = str(err)
"""
_CONNECTION = "user=pam-tailscale-probe,host=192.0.2.10,addr=192.0.2.10,laddr=192.0.2.1,lport=22"


def _script(rest: str) -> str:
    return _SERVE.replace("\\\\", "\\") + rest


@pytest.fixture(scope="module")
def each() -> dict[str, Any]:
    """What came of every attempt's connection."""
    return on_stage.run(_script(_EACH))


def test_each_connection_gets_a_sshd_with_its_files(each: dict[str, Any]) -> None:
    """As inetd would start it, with the host's own settings, and without `none` where that is to be tried."""
    assert len(each["started"]) > 20
    for variant, without_none, source, port, lines in each["started"]:
        mark, path, home, *arguments = lines
        assert mark == ("before" if variant == "before" else "after")
        assert "/usr/sbin" in path.split(":")
        assert home == ""
        config = "/tmp/pam-tailscale-proof/without-none.conf" if without_none else "/etc/ssh/sshd_config"  # noqa: S108
        assert arguments[:3] == ["-i", "-f", config]
        assert f"/{source}-{port}.log" in arguments[4]
        assert arguments[5:] == ["-o", "PermitRootLogin=no", "-o", "LogLevel=VERBOSE"]


def test_what_is_told_of_a_login_is_about_it(each: dict[str, Any]) -> None:
    """Logins of several accounts may come from one address."""
    assert each["logged"] == ["Failed none for alice"]
    assert each["said"] == ["sshd[1]: pam_tailscale(sshd:auth): user=alice"]


def test_what_refuses_none_comes_first(each: dict[str, Any]) -> None:
    """Of several Match blocks that fit the first one counts; everything else is the host's."""
    refusing, rest = each["without none"].splitlines()
    assert refusing.startswith("Include /")
    assert rest == "Include /etc/ssh/sshd_config"


def test_whoever_was_not_expected_is_turned_away() -> None:
    """No sshd is started for a connection whose files are not known."""
    assert on_stage.run(_script(_UNKNOWN)) == {"lines": []}


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("#!/bin/sh\necho usepam yes\necho port 22\n", {"values": {"usepam": ["yes"], "port": ["22"]}}),
        ("#!/bin/sh\necho line 3: Bad >&2\nexit 255\n", {"error": "line 3: Bad"}),
        (
            '#!/bin/sh\necho "args $*"; echo "mark $(cat /etc/pam-tailscale-test)"\n',
            {
                "values": {
                    "args": [f"-T -f /etc/ssh/sshd_config -C {_CONNECTION} -o UseDNS=no"],
                    "mark": ["after"],
                }
            },
        ),
    ],
    ids=["settings", "complaint", "arguments"],
)
def test_what_sshd_goes_by_on_a_connection(script: str, found: dict[str, object]) -> None:
    """By its own word, with the files of the variant."""
    assert on_stage.run(_script(_EFFECTIVE), script) == found


def test_nothing_is_left_on_the_machine(each: dict[str, Any]) -> None:
    """What was written lies in mounts that are gone."""
    assert each["started"]
    assert not Path("/tmp/pam-tailscale-proof").exists()  # noqa: S108
