"""Every recorded answer of the control plane is also ours."""

from pathlib import Path

from tests.conformance import recordings


def test_answer(recording: Path) -> None:
    """Every node's rules, or the refusal."""
    assert recording.is_file(), f"{recording} has no recordings, *.json"
    assert recordings.disagreement(recordings.read(recording.read_text())) == ""
