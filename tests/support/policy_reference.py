"""Who may log in where, straight from the entries of a policy: slow, and obvious. The compiled rules must say the same.

It takes a policy as JSON, valid, and shares nothing with what compiles it but the records of a tailnet. What is not in
the control plane's documentation is from its recorded answers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pam_tailscale.policy.roster import Node, Person, Tailnet

Word = Literal["accept", "check", "no"]
ROLES = ("owner", "admin", "it-admin", "network-admin", "billing-admin", "auditor")


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody on one node asks for an account of another."""

    source: Node
    destination: Node
    account: str
    uid: int | None


def answer(policy: Mapping[str, Any], tailnet: Tailnet, login: Login) -> Word:
    """What the policy says; who has to pass a check by one entry is not let in without it by another."""
    actions = {entry["action"].strip() for entry in policy.get("ssh") or () if allows(policy, tailnet, entry, login)}
    if "check" in actions:
        return "check"
    return "accept" if "accept" in actions else "no"


def allows(policy: Mapping[str, Any], tailnet: Tailnet, entry: Mapping[str, Any], login: Login) -> bool:
    """Whether an entry is about this login."""
    person = _person(tailnet, login.source)
    return (
        any(_is_from(policy, source, login.source, person) for source in _texts(entry, "src"))
        and _is_to(entry, login.source, login.destination)
        and any(_is_account(user, person, login) for user in _texts(entry, "users"))
    )


def _texts(entry: Mapping[str, Any], key: str) -> list[str]:
    return [text.strip() for text in entry.get(key) or ()]


def _person(tailnet: Tailnet, node: Node) -> Person | None:
    """Whose node it is; a node with tags is nobody's, and so is one whose owner is not in the tailnet."""
    if node.tags:
        return None
    return next((person for person in tailnet.people if person.login == node.owner), None)


def _is_from(policy: Mapping[str, Any], source: str, node: Node, person: Person | None) -> bool:
    if node.tags:
        return source == "autogroup:tagged" or source in node.tags
    if person is None:
        return False
    if source.startswith("group:"):
        return person.login in [member.strip() for member in policy["groups"][source]]
    if source.startswith("user:*@"):
        return person.login.endswith(source.removeprefix("user:*"))
    if source in ("autogroup:member", "autogroup:members"):
        return True
    if source.startswith("autogroup:"):
        role = source.removeprefix("autogroup:")
        return role in ROLES and role in person.roles
    return source == person.login


def _is_to(entry: Mapping[str, Any], source: Node, destination: Node) -> bool:
    places = _texts(entry, "dst")
    same_person = not source.tags and not destination.tags and source.owner == destination.owner
    if "autogroup:self" in places and same_person:
        return True
    elsewhere = [place for place in places if place != "autogroup:self"]
    if any(_is_place(place, destination) for place in elsewhere):
        return True
    # An entry with localpart: that is about other places is also about everybody's own nodes [recorded].
    by_name = any(_domain(user) for user in _texts(entry, "users"))
    return bool(elsewhere) and by_name and (same_person or (bool(source.tags) and source == destination))


def _is_place(place: str, node: Node) -> bool:
    if node.tags:
        return place == "autogroup:tagged" or place in node.tags
    return place in ("autogroup:member", "autogroup:members", node.owner)


def _is_account(user: str, person: Person | None, login: Login) -> bool:
    if user == "autogroup:nonroot":
        return login.account != "root" and login.uid != 0
    if domain := _domain(user):
        # Nobody is root by the name of a login, and a login called * is nobody's.
        special = ("", "root", "*")
        return person is not None and login.account not in special and person.login == f"{login.account}@{domain}"
    return user == login.account


def _domain(user: str) -> str:
    """Of `localpart:*@domain`; empty of everything else."""
    return user.removeprefix("localpart:*@") if user.startswith("localpart:*@") else ""


def logins(tailnet: Tailnet, accounts: Iterable[tuple[str, int | None]]) -> Iterable[Login]:
    """Everything that could be asked."""
    known = list(accounts)
    for source in tailnet.nodes:
        for destination in tailnet.nodes:
            yield from (Login(source, destination, account, uid) for account, uid in known)
