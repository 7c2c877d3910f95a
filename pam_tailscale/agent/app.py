"""The agent's program: builds every part, passes each what it needs, starts and stops them. The one place that wires.

Signals: SIGHUP reads the configuration again (a damaged file leaves the one before in force), SIGTERM and SIGINT end it
after the requests that are being answered. Both are waited for, no handler runs anywhere.
"""

import dataclasses
import functools
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click
import sdnotify

from pam_tailscale import __version__, client, config, localaccounts, paths, wire
from pam_tailscale.agent import process, report
from pam_tailscale.agent.checking import Checking
from pam_tailscale.agent.deferred import Deferred
from pam_tailscale.agent.gather import Gatherer
from pam_tailscale.agent.handlers import Access, Handlers
from pam_tailscale.agent.hearing import Hearing
from pam_tailscale.agent.hostfile import HostFile
from pam_tailscale.agent.journal import Journal
from pam_tailscale.agent.logins import Logins
from pam_tailscale.agent.memory import spared_by_the_collector
from pam_tailscale.agent.refresh import Refresher
from pam_tailscale.agent.server import Server
from pam_tailscale.agent.sources import Sources
from pam_tailscale.agent.store import KnowledgeStore
from pam_tailscale.check import qr
from pam_tailscale.check.flow import Provider
from pam_tailscale.check.local import SqliteStore
from pam_tailscale.errors import CheckError, ConfigError, PamTailscaleError, TailscaledError
from pam_tailscale.model import IPAddress, Peer, Reason
from pam_tailscale.policy import narrow
from pam_tailscale.policy.facts import Limits, Problem
from pam_tailscale.policy.narrow import Narrowing
from pam_tailscale.secret import Secret
from pam_tailscale.tailnet import bus, netmap, routes, stream
from pam_tailscale.tailnet.localapi import LocalAPI
from pam_tailscale.tailnet.machinekey import fetch_machine_key
from pam_tailscale.tailnet.records import Netmap, tailscaled_version

SWITCH_INTERVAL = 0.001
"""Seconds after which a thread that computes lets another go on: reading a policy must not make logins wait."""
SIGNALS = {signal.SIGHUP, signal.SIGTERM, signal.SIGINT}
LIFE_SIGN_TIMEOUT = 5.0
NETMAP_TIMEOUT = 25.0
"""Seconds; the reader itself gives up before."""
MACHINE_KEY_TIMEOUT = 3.0
"""Seconds: a login waits for it."""

log = logging.getLogger("pam_tailscale.agent")


class Agent:
    """The whole agent, built from its configuration file. Raises ConfigError where it cannot be."""

    def __init__(self, config_path: Path) -> None:
        self._config_path = config_path
        self._config = load_config(config_path)
        self._config_error = ""
        self._began = time.monotonic()
        self._notifier = sdnotify.SystemdNotifier()
        settings = self._config.agent
        keys_uid = process.account(settings.keys_user).pw_uid
        listener = process.listener(settings.socket)
        process.own_directory(self._config.check.store.parent, settings.user)
        process.become(settings.user)
        if not process.has_group(settings.admin_group):
            log.warning("there is no group %r: only root may ask about others", settings.admin_group)
        self._narrow = HostFile(config_path.with_name(paths.NARROW.name), narrow.read)
        self._narrow.reread()
        self._limits = limits_of(self._config, narrowing_of(self._narrow))
        self._sources = Sources(lambda: self._config, config_path.with_name(paths.POLICY_FILE.name))
        self._sources.reread()
        self._store = KnowledgeStore()
        new_api = functools.partial(LocalAPI, self._config.tailscaled.socket, self._config.tailscaled.timeout)
        self._gatherer = Gatherer(
            self._store, new_api, routes.route_to, routes.interface_of, settings.pin, self._sources.apply
        )
        self._refresher = Refresher(
            self._store,
            new_api(),
            functools.partial(bus.watch, self._config.tailscaled.socket),
            self._read_netmap,
            routes.interface_of,
            self._tailscaled_instance,
        )
        checks = self._config.check
        self._checking = self._who_checks()
        code = qr.terminal if checks.qr else lambda _: ""
        self._logins = Logins(self._gatherer, Journal(), lambda: self._limits, self._checking, checks.waiting, code)
        checking = self._checking
        refresh = self._logins.room.prepare if checking.scope is not None else lambda: None
        self._hearing = Hearing(checking.local, checking.shared, self._logins.forgotten, refresh, time.time)
        handlers = Handlers(
            self._store,
            self._gatherer,
            self._logins,
            self._checking,
            Access(keys_uid, settings.admin_group),
            lambda: self._limits,
            self._status,
        )
        # Our own uid as well: what anyone can keep busy must not make us look dead to the watchdog.
        self._server = Server(listener, handlers.handle, frozenset({0, keys_uid, os.getuid()}), settings.threads)

    def run(self) -> None:
        """Serve until SIGTERM."""
        self._logins.room.start()
        self._hearing.start()
        self._server.start()
        self._refresher.start()
        self._notifier.notify("READY=1")
        log.info("pam-tailscale-agent %s is listening", __version__)
        interval = process.watchdog_interval()
        while (received := self._wait(interval)) not in (signal.SIGTERM, signal.SIGINT):
            if received == signal.SIGHUP:
                self._reload()
            elif self._alive():
                self._notifier.notify("WATCHDOG=1")
        self._notifier.notify("STOPPING=1")
        self._server.stop()
        self._refresher.stop()
        self._hearing.stop()
        self._logins.room.stop()
        self._checking.close()

    @staticmethod
    def _wait(interval: float | None) -> int | None:
        if interval is None:
            return signal.sigwait(SIGNALS)
        received = signal.sigtimedwait(SIGNALS, interval)
        return received.si_signo if received else None

    def _alive(self) -> bool:
        """Whether the agent still answers on its own socket and hears its bus."""
        try:
            client.ask(self._config.agent.socket, {wire.KEY_REQUEST: wire.REQUEST_STATUS}, LIFE_SIGN_TIMEOUT)
        except PamTailscaleError as err:
            log.error("no sign of life: %s", err)  # noqa: TRY400 (the text is complete)
            return False
        return self._refresher.alive and self._logins.room.alive

    def _reload(self) -> None:
        self._notifier.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self._narrow.reread()  # first: no login is decided by new sources and what was taken away before
        try:
            fresh = load_config(self._config_path)
            kept = dataclasses.replace(
                self._config,
                mode=fresh.mode,
                allow_root=fresh.allow_root,
                trust_operator=fresh.trust_operator,
                sources=fresh.sources,
                capability=fresh.capability,
            )
            if fresh != kept:
                log.warning("changes in sections of the configuration take effect when the agent is restarted")
            self._limits = limits_of(kept, narrowing_of(self._narrow))
            self._config, self._config_error = kept, ""
            log.info("the configuration was read again")
        except ConfigError as err:
            self._config_error = str(err)
            log.error("the configuration before stays in force: %s", err)  # noqa: TRY400 (the text is complete)
            self._limits = limits_of(self._config, narrowing_of(self._narrow))
        self._sources.reread()
        self._refresher.again()
        self._notifier.notify("READY=1")

    def _status(self) -> dict[str, Any]:
        uptime = time.monotonic() - self._began
        agent = report.AgentState(
            __version__, self._config.mode, uptime, self._config_error, self._config.trust_operator
        )
        snapshot, problem = self._store.snapshot(time.monotonic()), self._checking.problem()
        sources = self._sources.states(snapshot.knowledge, snapshot.policy_age)
        narrowing = report.narrow_state(self._narrow)
        return report.status(agent, snapshot, self._gatherer.pin(), sources, narrowing, problem)

    def _who_checks(self) -> Checking:
        """The provider of checks and the stores, as the configuration names them."""
        settings = self._config
        local = SqliteStore(settings.check.store)
        if settings.check.by is config.CheckBy.OIDC:
            from pam_tailscale.agent.identity import oidc_checking  # noqa: PLC0415 (see there)

            return oidc_checking(settings, local)
        return Checking(Deferred(self._control_provider), local)

    def _control_provider(self) -> Provider:
        from pam_tailscale.check.control import ControlProvider  # noqa: PLC0415 (see deferred.py)

        return ControlProvider(
            control=self._control,
            machine_key=self._machine_key,
            own_node_id=self._own_node_id,
            wall=time.time,
            monotonic=time.monotonic,
        )

    def _control(self) -> tuple[str, str]:
        known = self._store.snapshot(time.monotonic()).knowledge
        return known.control_url, known.node_id

    def _machine_key(self) -> Secret:
        try:
            return fetch_machine_key(self._config.agent.reader_socket, MACHINE_KEY_TIMEOUT)
        except TailscaledError as err:
            raise CheckError(str(err)) from err

    def _own_node_id(self, address: IPAddress) -> int:
        peer = self._gatherer.whois(address, 0)
        if not isinstance(peer, Peer):
            raise CheckError(peer.detail if peer else f"tailscaled does not know this host's own address {address}")
        return peer.node_id

    def _tailscaled_instance(self) -> tuple[int, int] | None:
        """Its socket, which every run of tailscaled makes anew."""
        try:
            return stream.identity(str(self._config.tailscaled.socket))
        except OSError:
            return None

    def _read_netmap(self, version: str) -> Netmap:
        """From the root reader; from the bus with our own uid where tailscaled still shows the netmap to everyone."""
        with spared_by_the_collector():
            if netmap.choose(tailscaled_version(version)) is netmap.Way.ROOT_READER:
                found = netmap.fetch_from_reader(self._config.agent.reader_socket, NETMAP_TIMEOUT)
            else:
                found = netmap.fetch_as_self(self._config.tailscaled.socket, NETMAP_TIMEOUT)
        if found.policy is not None and found.policy.asks_for_checks:
            self._logins.room.prepare()
        return found


def load_config(path: Path) -> config.Config:
    """The configuration of a file; all defaults where there is none. Raises ConfigError."""
    try:
        return config.parse(path.read_text(), str(path))
    except FileNotFoundError:
        return config.Config()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: cannot be read: {err}") from err


def limits_of(settings: config.Config, narrowing: Narrowing | Problem | None = None) -> Limits:
    """The host's own limits under this configuration."""
    return Limits.of(settings, localaccounts.uid_min(), narrowing)


def narrowing_of(file: HostFile[Narrowing]) -> Narrowing | Problem | None:
    """What the file takes away. One that is damaged, with none before it that was not, lets nobody in."""
    if file.value is not None or file.absent:
        return file.value
    return Problem(Reason.NARROW_DAMAGED, f"what root of this host takes away cannot be told: {file.problem}")


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=paths.CONFIG,
    show_default=True,
    help="The configuration file.",
)
@click.version_option(__version__)
def main(config_path: Path) -> None:
    """Decide who may log in over the tailnet. Started by systemd, or by root; runs as an account of its own."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    sys.setswitchinterval(SWITCH_INTERVAL)
    # Blocked before any thread begins, so that all of them inherit it and run() alone receives the signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        Agent(config_path).run()
    except ConfigError as err:
        log.error("%s", err)  # noqa: TRY400 (the text is complete)
        sys.exit(1)


if __name__ == "__main__":
    main()
