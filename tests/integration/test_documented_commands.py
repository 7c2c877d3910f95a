"""The README's commands of a checkout. Those of a host are typed in tests/distro/test_documented_commands.py."""

import os
import subprocess

import pytest

from tests.support.documented import commands
from tests.support.roots import PROJECT

_OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}


def recipe(line: str) -> list[str]:
    """The commands that `make TARGET` would run."""
    argv = line.partition("#")[0].split()
    # These tests may be run by make themselves.
    env = {name: value for name, value in os.environ.items() if name not in _OF_MAKE}
    done = subprocess.run([*argv, "--dry-run"], cwd=PROJECT, env=env, capture_output=True, text=True, check=True)
    return [one.removeprefix("@") for one in done.stdout.splitlines()]


@pytest.mark.timeout(600)
def test_demo_and_test() -> None:
    """The demo ends as it should. What sets it up has run before these tests, which are what `make test` runs."""
    demo, test = commands("README.md", "pam_tailscale", 2).splitlines()
    prepare, show = recipe(demo)
    assert prepare == "tests/lab/prepare demo"
    shown = subprocess.run(["bash", "-c", show], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert recipe(test)[-1].endswith("pytest -n 2 --dist loadgroup tests")
