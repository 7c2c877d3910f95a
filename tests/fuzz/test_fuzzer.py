"""Some seconds of fuzzing find nothing, and would find a defect."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, seeds

ROOT = Path(__file__).parents[2]
SECONDS = 3


def fuzz(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the fuzzer for some seconds."""
    options = [str(directory), f"-max_total_time={SECONDS}", "-seed=1"]
    return subprocess.run(
        [sys.executable, *command, *options], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("name", TARGETS)
def test_some_seconds_of_fuzzing(name: str, tmp_path: Path) -> None:
    """`make fuzz` takes ten minutes."""
    done = fuzz(tmp_path, "-m", "tests.fuzz", name)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
    assert len(list((tmp_path / "corpus").iterdir())) > len(set(seeds())), "nothing new was found: no code was watched"


DEFECT = """
import sys
from pathlib import Path
from tests.fuzz import __main__ as fuzz

def target(data):
    fuzz.TARGETS["hujson"](data)
    if data.startswith(b"[") and data.endswith(b"]"):
        raise KeyError("planted")

fuzz.TARGETS["planted"] = target
fuzz.main("planted", Path(sys.argv[1]), sys.argv[2:])
"""


def test_the_fuzzer_finds_a_defect(tmp_path: Path) -> None:
    """And leaves the input that shows it."""
    done = fuzz(tmp_path, "-c", DEFECT)
    assert done.returncode != 0
    assert "KeyError: 'planted'" in done.stdout + done.stderr
    assert [path for path in tmp_path.iterdir() if path.name.startswith("crash-")]
