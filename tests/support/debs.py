"""The Debian packages of this checkout, built by the release they are for, once for each state of its files."""

import functools
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.roots import CACHE, PROJECT, Suite
from tests.support.sandbox import Sandbox

_BUILDER = PROJECT / "tests/lab/build-debs"


def directory(suite: Suite, version: str | None = None) -> Path:
    """Where the packages are, with their source and what dpkg-buildpackage wrote about them.

    `version` replaces the checkout's own, for trying upgrades. Within one test process it stays the same build, also
    when a file is edited meanwhile. Raises CalledProcessError when it cannot be built.
    """
    return _built(suite, version)


@functools.cache
def _built(suite: Suite, version: str | None) -> Path:
    command = [str(_BUILDER), str(CACHE), suite, *(["--version", version] if version else [])]
    return Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


def build(suite: Suite, version: str | None = None) -> tuple[Path, ...]:
    """The packages, in the order of their names; see `directory`."""
    return tuple(sorted(directory(suite, version).glob("*.deb")))


def build_again(suite: Suite, source: Path, into: Path) -> tuple[Path, ...]:
    """Builds a source package (a .tar.xz) into a directory: as another user, elsewhere, with other settings."""
    command = [str(_BUILDER), str(CACHE), suite, "--again", str(source), str(into)]
    subprocess.run(command, check=True, capture_output=True)
    return tuple(sorted(into.glob("*.deb")))


@functools.cache
def checks_root() -> Path:
    """A Debian root with what looks at the packages of every release: the newest lintian, piuparts and autopkgtest."""
    command = [str(PROJECT / "tests/lab/build-root"), str(CACHE), "trixie", "checks"]
    return Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


def install(box: Sandbox, packages: Sequence[Path]) -> None:
    """Installs packages in a sandbox, without a network: their dependencies must be there."""
    for package in packages:
        box.write(f"/root/{package.name}", package.read_bytes())
    names = [f"/root/{package.name}" for package in packages]
    box.run(["apt-get", "install", "--yes", *names], env={"DEBIAN_FRONTEND": "noninteractive"})
    box.run(["rm", *names])
