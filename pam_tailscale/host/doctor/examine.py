"""Looks at the whole host and has it judged, section by section. The one place that puts both together.

What goes wrong in one section is that section's finding: a doctor that falls ill helps nobody.
"""

import functools
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from pam_tailscale import localaccounts, paths, wire
from pam_tailscale.client import ask_document, ask_explanation
from pam_tailscale.errors import HostError, PamTailscaleError
from pam_tailscale.host import dropin, marker, preconditions
from pam_tailscale.host.accounts import Entry, empty_passwords, parse_passwd
from pam_tailscale.host.answers import Answers
from pam_tailscale.host.doctor import (
    accounts,
    ask,
    effects,
    halves,
    look,
    pamhalf,
    peers,
    rows,
    running,
    services,
    sharing,
)
from pam_tailscale.host.doctor import login as logins
from pam_tailscale.host.doctor.check import Check, State, unknown
from pam_tailscale.host.doctor.halves import Halves, Switched
from pam_tailscale.host.doctor.login import Login
from pam_tailscale.host.doctor.walk import walk
from pam_tailscale.host.doctor.walking import Question, Walked
from pam_tailscale.host.facts import Facts
from pam_tailscale.host.looking import gather
from pam_tailscale.host.unitnames import SSH
from pam_tailscale.host.units import booted
from pam_tailscale.model import IPAddress, in_tailnet
from pam_tailscale.policy.facts import Limits
from pam_tailscale.tailnet.localapi import LocalAPI

WALKS_MAX = 8
"""Accounts with an empty password for which PAM is asked."""
USERS_MAX = 6
"""People's accounts for which sshd is asked what its files come to."""
START_SECONDS = 5.0
"""For which an agent may say that it has not heard of the tailnet yet."""
_PAUSE = 0.1
_NOBODYS_PORTS = (9, 7, 13, 17)
"""Ports on which no sshd listens, of which the first that really has none is taken (RFC 863 and its like)."""
_PAM_SERVICE, _PAM_SSHD = "sshd-tailscale", "sshd"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """The login that somebody asks about."""

    account: str
    client: IPAddress
    port: int
    """0: any."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found."""

    switched: Switched | None
    """None: it was not looked at, because this is not root."""
    checks: tuple[Check, ...]
    login: Login | None = None


def examine(wish: Wish | None = None) -> Report:
    """Look at everything. Raises nothing that is expected."""
    if os.geteuid() != 0:
        seen = "this is not run as root, and most of what there is to look at only root may see"
        return Report(None, (unknown("root", seen, "sudo pam-tailscale doctor"),))
    return Examiner().run(wish)


class Examiner:
    """Looks at this host once; what several sections need is found out when the first needs it."""

    @functools.cached_property
    def facts(self) -> Facts:
        """What `enable` would find out."""
        config, _ = gather.read_config(paths.CONFIG)
        _let_start(config.agent.socket)
        return gather.look()

    @functools.cached_property
    def halves(self) -> Halves:
        """What lies where `enable` writes."""
        return look.halves(self.facts.sshd.openssh)

    @functools.cached_property
    def answers(self) -> Answers:
        """What the administrator answered when the host was switched on; nothing where the marker does not say."""
        content = self.halves.contents.get(halves.MARKER)
        try:
            return marker.decode(content) if content is not None else Answers()
        except HostError:
            return Answers()

    @functools.cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The local accounts."""
        text = look.text_of(look.PASSWD)
        if text is None:
            raise HostError(f"{look.PASSWD} cannot be read")
        return parse_passwd(text)

    @functools.cached_property
    def uid_min(self) -> int:
        """From which uid on accounts are people's."""
        return localaccounts.uid_min()

    @functools.cached_property
    def pam(self) -> list[Check]:
        """The checks of PAM."""
        return self._pam()

    def run(self, wish: Wish | None) -> Report:
        """All sections that concern a host in this state."""
        switched = self._switched()
        sections: list[tuple[str, Callable[[], list[Check]]]] = [
            ("halves", lambda: halves.judge(self.halves)),
            ("preconditions", lambda: self._rows(switched)),
        ]
        if switched is Switched.ON:
            sections += [("effective", self._effects), ("sshd-running", self._running), ("pam", lambda: self.pam)]
        if switched is not Switched.OFF:
            sections += [("services", self._services)]
        sections += [
            ("accounts", lambda: self._accounts(switched)),
            ("tailnet", self._tailnet),
        ]
        checks = _once([check for name, section in sections for check in _guarded(name, section)])
        if wish is None:
            return Report(switched, tuple(checks))
        login = self._login(wish, switched)
        return Report(switched, (*checks, logins.judge(login)), login)

    def _switched(self) -> Switched:
        try:
            return self.halves.switched
        except Exception:  # the section that needs it says what is wrong
            log.debug("the halves could not be looked at", exc_info=True)
            return Switched.ON if look.place(paths.DROP_IN).exists else Switched.OFF

    def _rows(self, switched: Switched) -> list[Check]:
        findings = preconditions.judge(self.facts, self.answers)
        if switched is Switched.OFF:
            return rows.when_off(findings)
        return rows.when_on(findings, root_allowed=self.facts.config.allow_root)

    # sshd

    @functools.cached_property
    def effective(self) -> tuple[effects.Asked, ...]:
        """What sshd's files come to for some connections from the tailnet."""
        people = [one.name for one in self.entries if one.uid >= self.uid_min and one.name != "nobody"]
        options, ports = self.facts.sshd.options, self.facts.sshd.ports
        users = dict.fromkeys(["root", "nobody", *people[:USERS_MAX]])
        return ask.effects(users, self.own, ports[0] if ports else 22, options)

    @property
    def own(self) -> tuple[IPAddress, ...]:
        """The node's addresses; where tailscaled does not say them, those of the host that look like it."""
        seen = self.facts.tailscaled.addresses
        return seen or tuple(one.address for one in self.facts.host.addresses if in_tailnet(one.address))

    def _effects(self) -> list[Check]:
        try:
            settings = dropin.settings(preconditions.wanted(self.facts, self.answers))
        except ValueError:
            return [unknown("effective", "what the drop-in should say is not known", "pam-tailscale enable --dry-run")]
        try:
            asked, why_not = self.effective, ""
        except HostError as err:
            asked, why_not = (), str(err)
        return effects.judge(asked, settings, self.facts.sshd.config, why_not)

    def _running(self) -> list[Check]:
        sshd = self.facts.sshd
        pid, unasked = sshd.listener.pid if sshd.listener else None, ""
        offers: tuple[running.Offer, ...] = ()
        if pid is not None:
            try:
                offers = ask.offers(self.facts.config.agent.user, self.own, sshd.sockets)
            except HostError as err:
                unasked = str(err)
        found = running.Running(
            pid=pid,
            by_systemd=sshd.unit.socket_active,
            offers=offers,
            unasked=unasked,
            read_at=look.read_at(sshd.effective, pid) if pid is not None else None,
            changed=look.changed(sshd.config),
        )
        return [running.judge(found, self.effective[0].found, sshd.effective)]

    # PAM and accounts

    @property
    def service(self) -> str:
        """The PAM service that sshd asks on the tailnet."""
        openssh = self.facts.sshd.openssh
        return _PAM_SERVICE if openssh is None or openssh.has_service_names else _PAM_SSHD

    def _pam(self) -> list[Check]:
        pam = pamhalf.Pam(
            service=self.service,
            stack=look.service(self.service),
            other=look.service("other"),
            module_error=self.facts.pam.module_error,
        )
        return pamhalf.judge(pam, self.taken, self.facts.agent.mode)

    @property
    def taken(self) -> tuple[str, ...]:
        """What the drop-in takes for the tailnet."""
        return halves.addresses(self.halves.text(halves.DROP_IN) or "")

    def _walk(self, questions: Sequence[Question]) -> tuple[Walked, ...]:
        """PAM's answers. Raises HostError, also where a question could end elsewhere than with our module."""
        networks = [ip_network(text) for text in self.taken]
        ends = [ip_address(text) for one in questions for text in (one.client, one.server)]
        ours = all(any(end in network for network in networks) for end in ends)
        if not ours or not pamhalf.whole(self.pam):
            raise HostError(
                "the lines of PAM are not what they should be: the question could be counted as a failed login"
            )
        return walk(questions)

    def _accounts(self, switched: Switched) -> list[Check]:
        shadow = look.text_of(look.SHADOW) or ""
        empty = empty_passwords(self.entries, shadow)
        walked, why_not = self._refused(("root", *empty)) if switched is Switched.ON else ((), "")
        checks = [accounts.judge_empty(empty, walked, switched_on=switched is Switched.ON)]
        if switched is Switched.ON:
            checks.append(accounts.judge_root(walked, why_not))
        group = self.facts.config.agent.admin_group
        return [*checks, *accounts.judge_uids(self.entries), services.judge_group(group, look.members(group))]

    def _refused(self, users: Sequence[str]) -> tuple[tuple[Walked, ...], str]:
        """What PAM says of these from the host's own address, from which nobody may come in; or why it was not asked.

        That address is the node's, so that for PAM it is a login over the tailnet.
        """
        own = next(iter(self.own), None)
        if own is None:
            return (), "this host has no tailnet address from which PAM could be asked"
        port = self._nobodys_port
        questions = [Question(self.service, user, str(own), port, str(own), port) for user in users[:WALKS_MAX]]
        try:
            return self._walk(questions), ""
        except HostError as err:
            return (), str(err)

    @property
    def _nobodys_port(self) -> int:
        return next(port for port in _NOBODYS_PORTS if port not in self.facts.sshd.ports)

    # What runs

    def _services(self) -> list[Check]:
        agent = self.facts.config.agent
        user = self.facts.host.agent_user
        directory, socket, reader = (
            look.place(path) for path in (agent.socket.parent, agent.socket, agent.reader_socket)
        )
        uid = user.uid if user else None
        checks = services.judge_sockets(directory, socket, reader, uid)
        checks += self._kept(uid)
        units = ask.units() if booted() else ()
        ssh = next((unit for unit in units if unit.name == SSH), None)
        return [*checks, *services.judge_units(units, booted=booted()), services.judge_guard(ssh, booted=booted())]

    def _kept(self, uid: int | None) -> list[Check]:
        """What the agent remembers, and the secrets it is given."""
        config = self.facts.config
        secrets = filter(None, (config.oidc.client_secret_file, config.store.password_file))
        state = look.place(config.check.store.parent)
        return [services.judge_state(state, uid), services.judge_secrets([look.place(path) for path in secrets])]

    # The tailnet

    def _tailnet(self) -> list[Check]:
        settings = self.facts.config.tailscaled
        try:
            with closing(LocalAPI(settings.socket, settings.timeout)) as api:
                raw = api.status_document()
            tailnet = peers.read(raw)
        except PamTailscaleError as err:
            return [*peers.not_seen(str(err)), *sharing.not_seen(str(err), "tailscale status")]
        try:
            policy = ask.policy(settings.socket, str(raw.get("Version", "")))
        except PamTailscaleError as err:
            return [*peers.judge(tailnet), *sharing.not_seen(str(err), "pam-tailscale status")]
        config = self.facts.config
        limits = Limits.of(config, self.uid_min)
        policies, rest = sharing.of_sources(policy, config.sources)
        accounts = look.local_accounts(self.entries)
        found = sharing.access(tailnet.nodes, accounts, policies, limits, time.time(), rest)
        keys = look.restricted(self.entries, self.facts.sshd.effective)
        return [*peers.judge(tailnet), *sharing.judge(found, keys.options, keys.unread)]

    # One login

    def _login(self, wish: Wish, switched: Switched) -> Login:
        try:
            explanation = self._explanation(wish)
        except Exception as err:  # a host of which nothing is known, above all
            log.debug("the login was not explained", exc_info=True)
            return Login(None, str(err), None, "the agent does not explain it")
        why_not = logins.why_not_walk(explanation)
        if switched is not Switched.ON:
            why_not = f"this host is {switched.value}: sshd does not ask the tailnet's policy"
        if why_not:
            return Login(explanation, "", None, why_not)
        try:
            (walked,) = self._walk([self._question(wish)])
        except HostError as err:
            return Login(explanation, "", None, str(err))
        return Login(explanation, "", walked, "")

    def _explanation(self, wish: Wish) -> dict[str, Any]:
        return ask_explanation(self.facts.config.agent.socket, wish.account, wish.client, wish.port)

    def _question(self, wish: Wish) -> Question:
        """The connection that the login would come by. Raises HostError where there is none like it."""
        interface = self.facts.tailscaled.interface
        own = [address for address in self.own if address.version == wish.client.version]
        if interface is None or not own:
            raise HostError("tailscaled's interface, or its address of this family, is not known")
        return Question(
            service=self.service,
            user=wish.account,
            client=str(wish.client),
            client_port=wish.port,
            server=str(own[0]),
            server_port=self._nobodys_port,
            interface=interface.name,
            index=interface.index,
        )


def _let_start(socket: Path) -> None:
    """Give an agent a moment that has only just begun: it may be our question that systemd has started it for."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            status = ask_document(socket, {wire.KEY_REQUEST: wire.REQUEST_STATUS})
        except PamTailscaleError:
            return  # how that is is said elsewhere
        if status.get("ready") or status.get("agent", {}).get("uptime_s", START_SECONDS) >= START_SECONDS:
            return
        time.sleep(_PAUSE)


def _once(checks: Sequence[Check]) -> list[Check]:
    """Without what the table of preconditions says of a line that sshd itself was seen to follow."""
    followed = any(check.name == "effective" and check.state is State.PROBLEM for check in checks)
    return [check for check in checks if not (followed and check.name in rows.ABOUT_LINES)]


def _guarded(name: str, section: Callable[[], list[Check]]) -> list[Check]:
    """A section's checks. Whatever is not known to go wrong there is said, and the others go on."""
    try:
        return section()
    except PamTailscaleError as err:
        return [unknown(name, str(err), "pam-tailscale status")]
    except Exception as err:
        log.debug("section %s failed", name, exc_info=True)
        return [unknown(name, f"looking at it failed ({type(err).__name__}: {err})", "report this")]


def states(report: Report) -> dict[State, int]:
    """How many checks came out how."""
    return {state: sum(check.state is state for check in report.checks) for state in State}
