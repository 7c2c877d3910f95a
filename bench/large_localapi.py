"""A tailscaled of a large tailnet, as a process of its own: 10,000 nodes, 1,000 rules of 20 principals each.

Everything it answers is encoded before it says "ready", so that it costs those who are measured as little as possible.
SIGUSR1 changes the netmap: there is one rule more, or that one is gone again. SIGTERM ends it. With a control URL and
its delegate the tailnet is that control plane's, and there is a rule more for each node of `CHECKED`, which asks for a
check.

    python3 -m bench.large_localapi SOCKET [CONTROL_URL DELEGATE]
"""

import gc
import ipaddress
import json
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contrib.demo.localapi import LocalAPI
from contrib.demo.tailnet import Node, Tailnet, accept, large_tailnet, nodes_rule

NODES, RULES, PRINCIPALS = 10_000, 1_000, 20
CHECKED = range(1_000, 2_000)
"""Peers that are checked: each is another person's (contrib.demo.tailnet.large_tailnet), and no other rule's."""
CLIENT = "100.64.1.0"
"""The peer that the last rule accepts, as any user but root."""
SERVER = "100.64.0.1"

SIGNALS = {signal.SIGUSR1, signal.SIGTERM}
_SWITCH_INTERVAL = 0.0005


class PreparedTailnet(Tailnet):
    """A tailnet with two netmaps, encoded beforehand, between which `changed` goes to and fro."""

    def __init__(self, own: Node, peers: Iterable[Node], rules: list[Any]) -> None:
        super().__init__(own, peers, rules)
        nobody = {"principals": [{"nodeIP": "100.127.0.1"}], "sshUsers": {"nobody": "="}, "action": accept()}
        self._netmaps = [self._encoded_netmap(rules), self._encoded_netmap([nobody, *rules])]
        self._self_change = self._notify()

    def _encoded_netmap(self, rules: list[Any]) -> bytes:
        self.rules = rules
        return json.dumps(self.netmap(), separators=(",", ":"), ensure_ascii=False).encode() + b"\n"

    def changed(self) -> None:
        """The other netmap is in force now."""
        with self._condition:
            self.generation += 1
            self._notifies[self.generation] = self._self_change
            self._condition.notify_all()

    def encoded(self, what: str) -> bytes:
        """As before, but the netmap is not made now."""
        return self._netmaps[self.generation % 2] if what == "netmap" else super().encoded(what)


def prepared(control_url: str = "", delegate: str = "") -> PreparedTailnet:
    """The tailnet, with rules that ask for a check where there is a control plane to ask."""
    plain = large_tailnet(NODES, RULES, PRINCIPALS)
    checks = [
        nodes_rule([plain.peers[number]], {"*": "=", "root": ""}, {"holdAndDelegate": delegate})
        for number in CHECKED
        if delegate
    ]
    tailnet = PreparedTailnet(plain.own, plain.peers, [*(plain.rules or []), *checks])
    if control_url:
        tailnet.prefs["ControlURL"] = control_url
    return tailnet


def checked_client(number: int) -> str:
    """The IPv4 address of a peer that is checked."""
    return str(ipaddress.IPv4Address(CLIENT) + number)


def main() -> None:
    """Serve until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    socket, *control = sys.argv[1:]
    tailnet = prepared(*control)
    for address in (CLIENT, SERVER, *(checked_client(number) for number in CHECKED if control)):
        tailnet.whois(address)
    # A collection walks through all the nodes, while a login waits.
    gc.collect()
    gc.freeze()
    with LocalAPI(Path(socket), tailnet):
        print("ready", len(tailnet.encoded("netmap")), flush=True)
        while signal.sigwait(SIGNALS) == signal.SIGUSR1:
            tailnet.changed()


if __name__ == "__main__":
    main()
