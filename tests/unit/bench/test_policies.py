"""The generated policies of the benchmark."""

from bench import policies
from bench.policies import Size
from bench.policy import growth
from pam_tailscale.policy import document
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.diff import diff
from pam_tailscale.policy.validate import validate

SMALL = Size(0.05)


def test_they_are_policies_of_their_size() -> None:
    """That the control plane would take; of another seed another, and the same ones each time."""
    tailnet = policies.tailnet(SMALL)
    data = policies.policy(SMALL, 1)
    policy = document.read(data, "policy")
    validate(policy, tailnet.domains)
    assert (len(tailnet.nodes), len(tailnet.people), len(policy.ssh), len(policy.groups)) == (500, 250, 50, 25)
    assert data == policies.policy(SMALL, 1) != policies.policy(SMALL, 2)
    assert tailnet == policies.tailnet(SMALL)


def test_they_have_everything_in_them() -> None:
    """Tags, groups, own devices, own names, checks, root."""
    text = policies.policy(Size(0.2), 1).decode()
    for word in ("tag:team", "tag:prod", "group:g", "autogroup:self", "localpart:", '"check"', '"root"', "service"):
        assert word in text


def test_an_edited_one_differs() -> None:
    """And is still one that the control plane would take."""
    tailnet = policies.tailnet(SMALL)
    data = policies.policy(SMALL, 1)
    old, new = (document.read(one, "policy") for one in (data, policies.changed(data, 3, 0.3)))
    validate(new, tailnet.domains)
    assert diff(Compiler(old, tailnet), Compiler(new, tailnet))


def test_growth_is_that_of_what_grows_most() -> None:
    """A figure that doubles does not hide one that quadruples."""
    whole = [{"all_s": 4.0, "diff_other_s": 2.0}] * 3
    half = [{"all_s": 1.0, "diff_other_s": 1.0}] * 3
    assert growth(whole, half).value == 4
