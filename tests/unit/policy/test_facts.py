"""What a decision is made of, where it is made of something else."""

from pam_tailscale.config import Config
from pam_tailscale.model import Mode
from pam_tailscale.policy.facts import Limits


def test_limits_of_a_configuration() -> None:
    """Every one that it sets, each as itself."""
    assert Limits.of(Config(mode=Mode.OBSERVE, allow_root=False), 500) == Limits(
        Mode.OBSERVE, allow_root=False, uid_min=500
    )
    assert Limits.of(Config(trust_operator=True), 1000) == Limits(
        Mode.ENFORCE, allow_root=True, uid_min=1000, trust_operator=True
    )
