"""The attacks that must fail, each as one function that says whether it succeeded.

test_never.py shows that they fail; test_defences.py takes one defence away and shows that they then succeed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from contrib.demo.tailnet import nodes_rule
from tests.integration.paramiko import paramiko
from tests.support.client import Client
from tests.support.host import ROOT_PASSWORD, Host
from tests.support.impostor import impostor as listening_impostor
from tests.support.scene import FAMILIES, LAN, LAN_DEVICE, TAILSCALED_SOCKET, Family, Scene, tailnet_address

OTHER_CONTROL_PLANE = "https://control.attacker.example"
SECRET = "correct-horse-battery-staple"

# A user database that is generous with names, as some directory services are: case, a domain in front, blanks and dots
# behind, and a number for a name. It sends nobody to shadow, so that pam_unix has nothing against its accounts.
_GENEROUS = r"""
#define _GNU_SOURCE
#include <ctype.h>
#include <nss.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum nss_status _nss_generous_getpwnam_r(const char *, struct passwd *, char *, size_t, int *);
enum nss_status _nss_generous_getpwnam_r(const char *name, struct passwd *out, char *buffer, size_t size, int *error)
{
    char plain[256]; size_t n = 0; struct passwd *found;
    const char *start = strrchr(name, '\\') != NULL ? strrchr(name, '\\') + 1 : name;
    for (; start[n] != '\0' && n < sizeof(plain) - 1; n++) plain[n] = (char)tolower((unsigned char)start[n]);
    while (n > 0 && strchr(" .\n\t", plain[n - 1]) != NULL) n--;
    plain[n] = '\0';
    FILE *file = fopen("/etc/passwd", "re");
    while (fgetpwent_r(file, out, buffer, size, &found) == 0)
        if (strcmp(out->pw_name, plain) == 0 || (isdigit(plain[0]) && out->pw_uid == (uid_t)atoi(plain)))
            { fclose(file); out->pw_passwd = (char *)"*"; return NSS_STATUS_SUCCESS; }
    fclose(file); *error = 0;
    return NSS_STATUS_NOTFOUND;
}
"""


def empty_password_gets_in(scene: Scene) -> bool:
    """A stranger of the tailnet logs in to the account that has an empty password."""
    return scene.login("decoy", scene.nodes.stranger).returncode == 0


def root_password_gets_in(scene: Scene) -> bool:
    """A stranger of the tailnet who knows root's password logs in with it."""
    methods = ("keyboard-interactive", "password")
    logins = [
        scene.login("root", scene.nodes.stranger, "-o", f"PreferredAuthentications={method}", password=ROOT_PASSWORD)
        for method in methods
    ]
    return any(login.returncode == 0 for login in logins)


def host_itself_gets_in(scene: Scene, *, source: str | None = None) -> bool:
    """A local user of the host goes through its tailnet address, for which tailscaled names the node's owner."""
    done = Client(scene.host.box).ssh("alice", tailnet_address(1, 4), source=source)
    return done.returncode == 0


@contextmanager
def everybody_may_be_alice(scene: Scene) -> Iterator[None]:
    """A policy that accepts as alice whoever the tailnet knows, the owner of the host included."""
    nodes = scene.nodes
    with scene.rules(nodes_rule([nodes.server, nodes.alice, nodes.bob, nodes.ci], {"alice": "="})):
        yield


@contextmanager
def generous_names(scene: Scene) -> Iterator[None]:
    """On the host, names lead to accounts in more ways than one; the policy lets alice be anybody but bob and root."""
    box = scene.host.box
    switch = box.read("/etc/nsswitch.conf")
    box.write("/run/generous.c", _GENEROUS)
    library = box.run(
        ["sh", "-c", "dirname /usr/lib/*/libnss_files.so.2 /usr/lib/*/libc.so.6 2> /dev/null | tail -n 1"]
    )
    path = f"{library.stdout.strip()}/libnss_generous.so.2"
    box.run(["gcc", "-shared", "-fPIC", "-o", path, "/run/generous.c"])
    box.write("/etc/nsswitch.conf", "passwd: files generous\ngroup: files\nshadow: files\nhosts: files dns\n")
    try:
        scene.host.restart_sshd()
        with scene.rules(nodes_rule([scene.nodes.alice], {"*": "=", "bob": "", "root": ""})):
            scene.restart_agent()
            yield
    finally:
        box.write("/etc/nsswitch.conf", switch)
        box.run(["rm", path])
        scene.host.restart_sshd()
        scene.restart_agent()


def other_name_gets_in(scene: Scene, name: str) -> bool:
    """Alice asks for an account by a name that the policy does not forbid, because it is spelt in another way."""
    return bool(paramiko(scene, name, "none")["in"])


@contextmanager
def logged_in_elsewhere(scene: Scene) -> Iterator[None]:
    """Tailscale's operator, who is not root, has logged the node in to a control plane of their own."""
    tailnet, url = scene.tailnet, scene.tailnet.prefs["ControlURL"]
    node_id, stable_id = tailnet.own.stable_id, tailnet.stable_id
    tailnet.prefs["ControlURL"] = OTHER_CONTROL_PLANE
    tailnet.own.stable_id = "nAttackerCNTRL"
    tailnet.stable_id = "tAttackerCNTRL"
    tailnet.changed()
    try:
        yield
    finally:
        tailnet.prefs["ControlURL"], tailnet.own.stable_id, tailnet.stable_id = url, node_id, stable_id
        tailnet.changed()
        scene.wait_until_ready()


@contextmanager
def required_methods(host: Host, methods: str) -> Iterator[None]:
    """The administrator's sshd asks for several methods, one after the other."""
    path = "/etc/ssh/sshd_config.d/60-methods.conf"
    # A method that is asked for must be on everywhere, or sshd does not start.
    host.box.write(path, f"KbdInteractiveAuthentication yes\nAuthenticationMethods {methods}\n")
    try:
        host.restart_sshd()
        yield
    finally:
        host.box.run(["rm", path])
        host.restart_sshd()


def one_identity_is_enough(scene: Scene) -> bool:
    """Alice, whom the policy accepts, satisfies every method that is asked for, with keys made on the spot."""
    client = scene.client
    keys = [client.make_key("throw-away-1"), client.make_key("throw-away-2")]
    more = [part for key in keys for part in ("-o", f"IdentityFile={key}")]
    done = scene.login("alice", None, *more, "-o", "PubkeyAuthentication=yes", key=keys[0], password="")
    return done.returncode == 0


def secrets_in_logs(scene: Scene, known: str) -> bool:
    """Whether a text stands in any log of the host, or in a file of ours that everybody may read."""
    box = scene.host.box
    places = ["/run/pam-tailscale", "/var/lib/pam-tailscale", "/etc/pam-tailscale", "/var/log"]
    found = box.run(["grep", "-rlF", "--devices=skip", "-e", known, *places], check=False)
    return any(known in text for text in scene.host.logs().values()) or bool(found.stdout)


def anybody_rule(scene: Scene) -> dict[str, Any]:
    """A rule that lets alice be anybody, as `autogroup:nonroot` does."""
    return nodes_rule([scene.nodes.alice], {"*": "="})


def named_rule(scene: Scene, users: dict[str, str]) -> dict[str, Any]:
    """A rule about alice's node with these names."""
    return nodes_rule([scene.nodes.alice], users)


@contextmanager
def impostor(scene: Scene) -> Iterator[None]:
    """A program that is not root's listens where tailscaled should."""
    place = scene.host.box.path(TAILSCALED_SOCKET)
    away = place.with_name("away.sock")
    place.rename(away)
    try:
        with listening_impostor(place, 65534):
            place.chmod(0o666)
            scene.localapi.drop()
            yield
    finally:
        away.replace(place)
        scene.wait_until_ready()


@contextmanager
def answers_by_where_it_was_asked(scene: Scene) -> Iterator[None]:
    """A host with several uplinks that answers a connection by the interface it came in by, as with CONNMARK.

    The device on its LAN sends what it says to the host's tailnet addresses over the LAN, and the tailnet's own way
    back to it leads nowhere.
    """
    undo: list[tuple[Any, list[str]]] = []
    try:
        for family in FAMILIES:
            for tool, do, back in _over_the_lan(scene, family):
                tool(do)
                undo.append((tool, back))
        yield
    finally:
        for tool, command in reversed(undo):
            tool(command)


def _over_the_lan(scene: Scene, family: Family) -> list[tuple[Any, list[str], list[str]]]:
    """Who runs which command, and which one takes it back."""
    server, device = scene.host.box.host_tool, scene.client.box.host_tool
    ip, tables, bits = (["ip", "-4"], "iptables", 32) if family == 4 else (["ip", "-6"], "ip6tables", 128)
    alice = scene.nodes.alice.addresses[0 if family == 4 else 1]
    route = [f"{tailnet_address(1, family)}/{bits}", "via", LAN[family], "dev", "lan0", "src", alice]
    answer = ["default", "via", LAN_DEVICE[family], "dev", "lan0", "table", "107"]
    marked = ["fwmark", "7", "lookup", "107", "pref", "10"]
    nowhere = [alice, "dev", "tailscale0"]
    mangle = [tables, "-t", "mangle"]
    rules = (
        ["PREROUTING", "-i", "lan0", "-j", "CONNMARK", "--set-mark", "7"],
        ["OUTPUT", "-j", "CONNMARK", "--restore-mark"],
    )
    return [
        (device, [*ip, "route", "add", *route], [*ip, "route", "del", *route]),
        (
            server,
            [*ip, "neigh", "replace", *nowhere, "lladdr", "02:00:00:00:00:99"],
            [*ip, "neigh", "del", *nowhere],
        ),
        *((server, [*mangle, "-A", *rule], [*mangle, "-D", *rule]) for rule in rules),
        (server, [*ip, "rule", "add", *marked], [*ip, "rule", "del", *marked]),
        (server, [*ip, "route", "add", *answer], [*ip, "route", "del", *answer]),
    ]


def comes_over_the_lan_as_alice(scene: Scene, family: Family) -> bool:
    """The device on the LAN, with alice's tailnet address as its own."""
    return scene.login("alice", None, family=family).returncode == 0
