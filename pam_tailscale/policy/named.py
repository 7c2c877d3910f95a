"""The nodes of a tailnet that a selector names in a test of a policy file. Pure."""

from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.roster import Node
from pam_tailscale.policy.selectors import MEMBER, TAGGED, Kind, Selector, address_of


def nodes_of(compiler: Compiler, place: Selector) -> tuple[Node, ...]:
    """Each once, and none of a range, of `*`, and of `autogroup:self`, which depends on who asks."""
    tailnet = compiler.tailnet
    if place.kind is Kind.TAG:
        return tailnet.tagged.get(place.text, ())
    if place.text in (MEMBER, TAGGED):
        return tuple(node for node in tailnet.nodes if bool(node.tags) is (place.text == TAGGED))
    if place.kind in (Kind.ADDRESS, Kind.NAME):
        address = address_of(place, compiler.policy.hosts)
        node = None if address is None else tailnet.at.get(address)
        return () if node is None else (node,)
    logins = dict.fromkeys(compiler.logins_of(place))
    return tuple(node for login in logins for node in tailnet.owned.get(login, ()))
