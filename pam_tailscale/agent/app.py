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

from pam_tailscale import __version__, client, config, paths, wire
from pam_tailscale.agent import accounts, process, report
from pam_tailscale.agent.gather import Gatherer
from pam_tailscale.agent.handlers import Access, Handlers
from pam_tailscale.agent.journal import Journal
from pam_tailscale.agent.memory import spared_by_the_collector
from pam_tailscale.agent.refresh import Refresher
from pam_tailscale.agent.server import Server
from pam_tailscale.agent.store import KnowledgeStore
from pam_tailscale.errors import ConfigError, PamTailscaleError
from pam_tailscale.policy.facts import Limits
from pam_tailscale.tailnet import bus, netmap, routes, stream
from pam_tailscale.tailnet.localapi import LocalAPI
from pam_tailscale.tailnet.records import Netmap, tailscaled_version

SWITCH_INTERVAL = 0.001
"""Seconds after which a thread that computes lets another go on: reading a policy must not make logins wait."""
SIGNALS = {signal.SIGHUP, signal.SIGTERM, signal.SIGINT}
LIFE_SIGN_TIMEOUT = 5.0
NETMAP_TIMEOUT = 25.0
"""Seconds; the reader itself gives up before."""

log = logging.getLogger("pam_tailscale.agent")


class Agent:
    """The whole agent, built from its configuration file. Raises ConfigError where it cannot be."""

    def __init__(self, config_path: Path) -> None:
        self._config_path = config_path
        self._config = load_config(config_path)
        self._limits = limits_of(self._config)
        self._config_error = ""
        self._began = time.monotonic()
        self._notifier = sdnotify.SystemdNotifier()
        settings = self._config.agent
        keys_uid = process.account(settings.keys_user).pw_uid
        listener = process.listener(settings.socket)
        process.become(settings.user)
        if not process.has_group(settings.admin_group):
            log.warning("there is no group %r: only root may ask about others", settings.admin_group)
        self._store = KnowledgeStore()
        new_api = functools.partial(LocalAPI, self._config.tailscaled.socket, self._config.tailscaled.timeout)
        self._gatherer = Gatherer(self._store, new_api, routes.route_to, routes.interface_of, settings.pin)
        self._refresher = Refresher(
            self._store,
            new_api(),
            functools.partial(bus.watch, self._config.tailscaled.socket),
            self._read_netmap,
            routes.interface_of,
            self._tailscaled_instance,
        )
        handlers = Handlers(
            self._store,
            self._gatherer,
            Journal(),
            Access(keys_uid, settings.admin_group),
            lambda: self._limits,
            self._status,
        )
        # Our own uid as well: what anyone can keep busy must not make us look dead to the watchdog.
        self._server = Server(listener, handlers.handle, frozenset({0, keys_uid, os.getuid()}), settings.threads)

    def run(self) -> None:
        """Serve until SIGTERM."""
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
        return self._refresher.alive

    def _reload(self) -> None:
        self._notifier.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            fresh = load_config(self._config_path)
            kept = dataclasses.replace(fresh, agent=self._config.agent, tailscaled=self._config.tailscaled)
            if fresh != kept:
                log.warning("changes in [agent] and [tailscaled] take effect when the agent is restarted")
            self._config, self._limits, self._config_error = kept, limits_of(kept), ""
            log.info("the configuration was read again")
        except ConfigError as err:
            self._config_error = str(err)
            log.error("the configuration before stays in force: %s", err)  # noqa: TRY400 (the text is complete)
        self._refresher.again()
        self._notifier.notify("READY=1")

    def _status(self) -> dict[str, Any]:
        uptime = time.monotonic() - self._began
        agent = report.AgentState(
            __version__, self._config.mode, uptime, self._config_error, self._config.trust_operator
        )
        return report.status(agent, self._store.snapshot(time.monotonic()), self._gatherer.pin())

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
                return netmap.fetch_from_reader(self._config.agent.reader_socket, NETMAP_TIMEOUT)
            return netmap.fetch_as_self(self._config.tailscaled.socket, NETMAP_TIMEOUT)


def load_config(path: Path) -> config.Config:
    """The configuration of a file; all defaults where there is none. Raises ConfigError."""
    try:
        return config.parse(path.read_text(), str(path))
    except FileNotFoundError:
        return config.Config()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: cannot be read: {err}") from err


def limits_of(settings: config.Config) -> Limits:
    """The host's own limits under this configuration."""
    return Limits(
        settings.mode, settings.allow_root, accounts.uid_min(paths.LOGIN_DEFS), trust_operator=settings.trust_operator
    )


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
