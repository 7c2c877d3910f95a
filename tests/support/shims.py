"""Building the C shims with the compiler of the Debian release they will run on, once per source and root."""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.roots import CACHE, PROJECT, Suite, debian_root
from tests.support.sandbox import Sandbox

NATIVE = PROJECT / "pam_tailscale/native"
_INSIDE = "/opt/pam-tailscale"
_HEADERS = f"{_INSIDE}/build/libpam-dev/usr"
"""Where tests/lab/prepare unpacks libpam's headers for a machine that has none."""


@dataclass(frozen=True, slots=True)
class Shims:
    """The built files, on the machine's side."""

    module: Path
    helper: Path


def build_shims(suite: Suite) -> Shims:
    """The PAM module and the key helper for a release; a second call with the same source finds them in the cache."""
    return build_shims_on(debian_root(suite))


def build_shims_on(root: Path) -> Shims:
    """As `build_shims`, for any root that has a compiler."""
    directory = CACHE / f"shims-{_digest(root)}"
    if not directory.exists():
        _build(root, directory)
    return Shims(directory / "pam_tailscale.so", directory / "authorized-keys")


def _digest(root: Path) -> str:
    digest = hashlib.sha256(str(root).encode())
    for source in sorted(NATIVE.iterdir()):
        if source.is_file():
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def _build(root: Path, directory: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary, Sandbox(root, hostname="builder") as box:
        # The source is read-only inside; whatever make writes goes to OUT.
        unpacked = not box.exists("/usr/include/security/pam_modules.h")
        multiarch = box.run(["gcc", "-print-multiarch"]).stdout.strip()
        env = {"CPATH": f"{_HEADERS}/include", "LIBRARY_PATH": f"{_HEADERS}/lib/{multiarch}"} if unpacked else {}
        box.run(["make", "-s", "-C", f"{_INSIDE}/pam_tailscale/native", "OUT=/run/out"], env=env, timeout=300)
        staged = Path(temporary, "staged")
        staged.mkdir()
        for name in ("pam_tailscale.so", "authorized-keys"):
            shutil.copy2(box.path(f"/run/out/{name}"), staged / name)
        try:
            staged.rename(directory)
        except OSError:
            # Another test process was faster; its result is the same.
            if not directory.exists():
                raise


def compile_module(box: Sandbox, source: str) -> bytes:
    """A shared object made of C source with the compiler of a sandbox."""
    box.write("/run/module.c", source)
    box.run(["gcc", "-shared", "-fPIC", "-o", "/run/module.so", "/run/module.c"])
    return box.path("/run/module.so").read_bytes()
