"""What only the built files show: what they export, what they keep, and how they are hardened."""

import platform
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.pamstack import NATIVE, Built


def tool(*command: str | Path) -> str:
    """The output of a program that reads object files."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(params=["module", "helper"])
def shim(request: pytest.FixtureRequest, shipped: Built) -> Path:
    """Each of the built files in turn."""
    path: Path = getattr(shipped, request.param)
    return path


def test_module_exports_its_entry_points_alone(shipped: Built) -> None:
    """A name more could collide with sshd's own; one less and libpam falls silent."""
    exported = {line.split()[-1] for line in tool("nm", "-D", "--defined-only", shipped.module).splitlines()}
    mapped = set(re.findall(r"^\t\t(pam_\w+);$", (NATIVE / "pam_tailscale.map").read_text(), re.MULTILINE))
    assert exported == mapped
    assert len(mapped) == 5


def test_nothing_is_kept_between_calls(shipped: Built) -> None:
    """The module has no variable of its own, so sshd's children cannot inherit one's value."""
    rows = [line.split() for line in tool("nm", shipped.module).splitlines()]
    variables = {row[-1] for row in rows if row[-2] in "dDbBcC"}
    # The linker's and the compiler's own.
    own = {name for name in variables if not re.match(r"_|completed\.|frame_dummy|__", name)}
    assert own == set()


def test_only_system_libraries_are_needed(shipped: Built) -> None:
    """Nothing that a broken installation could take away."""
    needed = {
        path: re.findall(r"NEEDED.*\[(.*)\]", tool("readelf", "-dW", path)) for path in (shipped.module, shipped.helper)
    }
    assert needed == {shipped.module: ["libpam.so.0", "libc.so.6"], shipped.helper: ["libc.so.6"]}


def test_shims_are_hardened(shim: Path) -> None:
    """Read-only relocations bound at start, no executable stack, position independent, checked buffers."""
    headers, dynamic = tool("readelf", "-hlW", shim), tool("readelf", "-dW", shim)
    assert "Type:                              DYN" in headers
    assert "GNU_RELRO" in headers
    assert re.search(r"GNU_STACK .* RW +0x", headers)
    assert re.search(r"\(FLAGS_1\).*NOW", dynamic)
    assert "TEXTREL" not in dynamic
    assert "RPATH" not in dynamic
    assert "RUNPATH" not in dynamic
    undefined = tool("nm", "-D", "--undefined-only", shim)
    assert "__stack_chk_fail" in undefined
    assert re.search(r"__\w+_chk\b", undefined.replace("__stack_chk_fail", ""))


def test_helper_is_position_independent_program(shipped: Built) -> None:
    """Its addresses cannot be guessed."""
    assert re.search(r"\(FLAGS_1\).*PIE", tool("readelf", "-dW", shipped.helper))


def test_control_flow_is_protected(shipped: Built) -> None:
    """On x86-64 each entry point is a place that indirect branches may go to; other machines have no such marks."""
    code = tool("objdump", "-d", "--no-show-raw-insn", shipped.module)
    entry = code.partition("<pam_sm_authenticate>:\n")[2].partition("\n")[0]
    assert ("endbr64" in entry) == (platform.machine() == "x86_64")


def test_no_shim_starts_threads_or_takes_signals(shipped: Built) -> None:
    """Inside sshd neither may happen; the helper, a process of its own, only ignores SIGPIPE."""
    undefined = tool("nm", "-D", "--undefined-only", shipped.module)
    assert not re.search(
        r"\b(pthread_\w+|signal|sigaction|fork|system|popen|getpw\w+|getgr\w+|putenv|setenv)\b", undefined
    )
