"""Adds a command for the C parts, which `pip install` leaves alone: `python setup.py build_shims --out DIR`.

Metadata and the settings of tools are in pyproject.toml.
"""

import subprocess
from pathlib import Path
from typing import ClassVar

from setuptools import Command, setup  # type: ignore[import-untyped, unused-ignore]  # newer ones are typed

NATIVE = Path(__file__).resolve().parent / "pam_tailscale" / "native"


class BuildShims(Command):  # type: ignore[misc, unused-ignore]  # as above
    """Runs the Makefile in pam_tailscale/native; the package, the tests and the demo all build this way."""

    description = "build the PAM module and the key helper"
    user_options: ClassVar = [
        ("out=", None, "folder for pam_tailscale.so and authorized-keys"),
        ("sanitize", None, "with AddressSanitizer and UndefinedBehaviorSanitizer, for tests"),
    ]
    boolean_options: ClassVar = ["sanitize"]

    def initialize_options(self) -> None:
        """Sets the defaults, as setuptools asks."""
        self.out = "build/native"
        self.sanitize = False

    def finalize_options(self) -> None:
        """Makes the folder absolute: make runs elsewhere."""
        self.out = str(Path(self.out).resolve())

    def run(self) -> None:
        """Builds both shims."""
        command = ["make", "-C", str(NATIVE), f"OUT={self.out}"]
        if self.sanitize:
            command.append("SANITIZE=1")
        subprocess.run(command, check=True)


setup(cmdclass={"build_shims": BuildShims})
