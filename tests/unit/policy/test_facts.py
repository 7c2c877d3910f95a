"""What a decision is made of, where it is made of something else."""

from pam_tailscale.config import CheckBy, CheckConfig, Config, Period
from pam_tailscale.model import Mode
from pam_tailscale.policy.facts import Limits
from pam_tailscale.policy.narrow import Narrowing


def test_limits_of_a_configuration() -> None:
    """Every one that it sets, each as itself."""
    assert Limits.of(Config(mode=Mode.OBSERVE, allow_root=False), 500) == Limits(
        Mode.OBSERVE, allow_root=False, uid_min=500
    )
    assert Limits.of(Config(trust_operator=True), 1000) == Limits(
        Mode.ENFORCE, allow_root=True, uid_min=1000, trust_operator=True
    )
    narrowing = Narrowing(routing_nodes=False)
    assert Limits.of(Config(), 1000, narrowing) == Limits(
        Mode.ENFORCE, allow_root=True, uid_min=1000, narrowing=narrowing
    )


def test_only_the_identity_provider_has_a_period_of_ours() -> None:
    """What the control plane remembers, and for how long, is its own."""
    for by, period in ((CheckBy.CONTROL, None), (CheckBy.OIDC, 1800.0)):
        settings = Config(check=CheckConfig(by=by, period=Period(1800)))
        assert Limits.of(settings, 1000).check_period == period
