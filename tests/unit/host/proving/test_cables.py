"""The network of the proof: what is laid out, and that it carries what it should."""

from pam_tailscale.agent.methods import KEEP
from pam_tailscale.host.proving.cables import client_commands, client_ports, server_commands
from pam_tailscale.host.proving.trial import attempts
from tests.unit.host.proving import on_stage
from tests.unit.host.proving.plans import ALICE_V6, PLAN, plan

_CONNECT = """
import dataclasses, os, socket
from ipaddress import ip_address
from pam_tailscale.host.proving import cables
from pam_tailscale.host.proving.trial import Attempt, Variant, attempts
from tests.unit.host.proving.plans import plan
namespaces.own_read_only_mounts()
namespaces.mount("proc", "/proc")
given = plan(ifindex=41, deny=("bob", ip_address("fd7a:115c:a1e0::2")))
tried = attempts(given, any_key=True)
clients = cables.lay(given, tried)
found["index"] = socket.if_nametoindex(given.interface)
found["reached"], found["ports"] = 0, []
for attempt in tried:
    family = socket.AF_INET if attempt.target.version == 4 else socket.AF_INET6
    with socket.create_server((str(attempt.target), attempt.port), family=family) as listener:
        reading, writing = os.pipe()
        client = os.fork()
        if client == 0:
            namespaces.enter(clients, namespaces.CLONE_NEWNET)
            end = socket.create_connection((str(attempt.target), attempt.port), 5, (str(attempt.source), 0))
            os.write(writing, b"x")
            end.recv(1)
            os._exit(0)
        connection, peer = listener.accept()
        with connection:
            os.read(reading, 1)
            found["reached"] += peer[0] == str(attempt.source)
            found["ports"].append(peer[1])
        os.close(reading), os.close(writing)
        os.waitpid(client, 0)
found["attempts"] = len(tried)
"""


def test_every_client_reaches_its_target_from_its_own_address() -> None:
    """Over both cables and both families; and tailscaled's device has the index it has on the host."""
    found = on_stage.run(_CONNECT)
    assert found["reached"] == found["attempts"]
    assert found["index"] == 41
    first, last = client_ports(0.0)
    assert max(found["ports"]) - min(found["ports"]) <= last - first


def test_no_proof_has_a_port_of_one_that_the_agent_may_remember() -> None:
    """What an earlier one was granted and did not use. A proof takes longer than the second that tells two apart."""
    for began in (0.0, 799.0, 1_790_000_000.5):
        first, last = client_ports(began)
        assert 1024 < first < last < 65536
        for later in range(1, int(KEEP) + 60):
            other_first, other_last = client_ports(began + later)
            assert other_last < first or last < other_first


def test_the_tailnets_cable_has_the_devices_name_and_index() -> None:
    """The module tells the agent the index, and the agent compares."""
    lines = server_commands(PLAN, attempts(PLAN, any_key=True), "/proc/1/fd/7").splitlines()
    assert "link add tailscale0 index 7 type veth peer name tailscale0 netns /proc/1/fd/7" in lines
    assert "address add 100.64.0.1/32 dev tailscale0" in lines
    assert "route add 100.64.0.0/10 dev tailscale0" in lines
    assert "address add 192.0.2.1/24 dev proof0" in lines


def test_a_family_that_nobody_uses_is_left_alone() -> None:
    """A kernel without IPv6 would refuse."""
    tried = attempts(PLAN, any_key=True)
    assert "fd7a" not in server_commands(PLAN, tried, "") + client_commands(PLAN, tried)
    six = plan(deny=("bob", ALICE_V6))
    tried = attempts(six, any_key=True)
    assert "address add fd7a:115c:a1e0::1/128 dev tailscale0 nodad" in server_commands(six, tried, "")
    assert "address add fd7a:115c:a1e0::2/128 dev tailscale0 nodad" in client_commands(six, tried)
    assert "route add fd7a:115c:a1e0::1/128 dev tailscale0" in client_commands(six, tried)


def test_a_peer_that_makes_several_attempts_has_its_address_once() -> None:
    """A second time would be an error of ip's."""
    lines = client_commands(PLAN, attempts(PLAN, any_key=True)).splitlines()
    assert lines.count("address add 100.64.0.2/32 dev tailscale0") == 1
    assert len(set(lines)) == len(lines)
