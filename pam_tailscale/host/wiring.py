"""The one place that puts `enable` and `disable` together for this host."""

import pwd
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from pam_tailscale import paths, wire
from pam_tailscale.client import ask_document, ask_explanation
from pam_tailscale.errors import HostError, PamTailscaleError, TailscaledError
from pam_tailscale.host import asking
from pam_tailscale.host.accounts import empty_passwords, parse_passwd
from pam_tailscale.host.answers import Methods
from pam_tailscale.host.arrangement import Wanted
from pam_tailscale.host.asking import Asked
from pam_tailscale.host.disable import Disabler
from pam_tailscale.host.enable import Enabler, Looking
from pam_tailscale.host.facts import Facts
from pam_tailscale.host.files import Files
from pam_tailscale.host.journal import Contents
from pam_tailscale.host.looking import gather, gather_people, gather_tailnet
from pam_tailscale.host.proving import candidates, proof
from pam_tailscale.host.proving.trial import Plan
from pam_tailscale.host.report import Person
from pam_tailscale.host.sshd import Sshd
from pam_tailscale.host.switch import Switch
from pam_tailscale.model import IPAddress, in_tailnet
from pam_tailscale.tailnet.localapi import LocalAPI

_PASSWD, _SHADOW = Path("/etc/passwd"), Path("/etc/shadow")
_EMPTY_MAX = 3
_QUESTIONS_MAX = 400


def enabler(person: Person) -> Enabler:
    """`enable` for this host."""
    files, sshd = Files(), Sshd()
    looking = Looking(gather.look, _agent_ready, _plan, lambda plan: proof.prove(plan, person.say))
    return Enabler(files, sshd, _switch(files, sshd, person), looking, person)


def disabler(person: Person) -> Disabler:
    """`disable` for this host."""
    files, sshd = Files(), Sshd()
    return Disabler(files, _switch(files, sshd, person), person)


def _switch(files: Files, sshd: Sshd, person: Person) -> Switch:
    asked = Asked(_own_tailnet_addresses(), ("root", *_with_empty_password()))

    def ask() -> list[str]:
        is_on = files.read(str(paths.DROP_IN)) is not None
        return asking.ask(sshd.running(), asked, sshd.effective, is_on=is_on)

    return Switch(files, sshd, ask, person.say)


def _own_tailnet_addresses() -> tuple[IPAddress, ...]:
    try:
        return tuple(one.address for one in gather_tailnet.addresses() if in_tailnet(one.address))
    except TailscaledError:
        return ()


def _with_empty_password(passwd: Path = _PASSWD, shadow: Path = _SHADOW) -> tuple[str, ...]:
    """A few accounts that an open door would let in."""
    try:
        listed, passwords = passwd.read_text(errors="replace"), shadow.read_text(errors="replace")
    except OSError:
        return ()
    return empty_passwords(parse_passwd(listed), passwords)[:_EMPTY_MAX]


def _agent_ready() -> bool:
    socket = gather.read_config(paths.CONFIG)[0].agent.socket
    try:
        status = ask_document(socket, {wire.KEY_REQUEST: wire.REQUEST_STATUS})
        return bool(status["tailscaled"]["state"] and status["sources"])
    except (PamTailscaleError, KeyError, TypeError):
        return False


def _plan(facts: Facts, wanted: Wanted, before: Contents, after: Contents) -> Plan:
    """Raises HostError and TailscaledError."""
    interface = facts.tailscaled.interface
    if interface is None:
        raise HostError("no interface carries this node's tailnet addresses: see 'tailscale status'")
    with closing(LocalAPI(facts.config.tailscaled.socket, facts.config.tailscaled.timeout)) as api:
        peers = candidates.peer_addresses(api)
    accounts = filter(lambda name: _sshd_takes(name, facts), candidates.local_accounts())
    accept, deny = candidates.candidates(_explain(facts), peers, accounts, _QUESTIONS_MAX)
    return Plan(
        before=before,
        after=after,
        interface=interface.name,
        ifindex=interface.index,
        own=tuple(
            one.address for one in facts.host.addresses if one.interface == interface and in_tailnet(one.address)
        ),
        accept=accept,
        deny=deny,
        ports=facts.sshd.ports,
        key_in_addition=wanted.methods is Methods.WITH_KEY,
        options=facts.sshd.options,
    )


def _sshd_takes(name: str, facts: Facts) -> bool:
    """Whether sshd asks PAM about an account at all (AllowUsers and the like): with another nothing can be proved."""
    try:
        return gather_people.may_log_in(pwd.getpwnam(name), facts.sshd.effective)
    except KeyError:
        return False


def _explain(facts: Facts) -> "candidates.Ask":
    def ask(account: str, address: IPAddress) -> Mapping[str, Any]:
        return ask_explanation(facts.config.agent.socket, account, address, 0)

    return ask
