"""The document of a run: an interface, so its keys stand here."""

from pam_tailscale.host.proving.trial import Outcome
from pam_tailscale.host.report import Report


def test_keys() -> None:
    """Programs read them."""
    document = Report(on=True, changed=False, outcomes=(Outcome("a", "in", "out", "why"),)).document
    assert document == {
        "on": True,
        "changed": False,
        "problem": "",
        "findings": [],
        "diff": "",
        "proof": [{"name": "a", "ok": False, "expected": "in", "found": "out", "detail": "why"}],
    }
