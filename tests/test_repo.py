"""Promises about the repository itself: layers, sizes, a test for every module, nothing unfinished, nothing unused."""

import ast
import itertools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_tailscale.model import Reason

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pam_tailscale"
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

PURE_CHECKS = ("desk", "evidence", "flow", "idtoken", "keyset", "noise", "passes", "qr", "retry", "strict", "trouble")
"""The part of check mode that decides and does no I/O."""
PURE_HOST = (
    "accounts",
    "answers",
    "arrangement",
    "changes",
    "command_line",
    "dropin",
    "effective",
    "facts",
    "pamfiles",
    "preconditions",
    "sshdconfig",
    "proving.trial",
    "unitnames",
    "version",
)
"""The part of switching on and off that decides and does no I/O."""
PURE_DOCTOR = (
    "accounts",
    "check",
    "effects",
    "halves",
    "keysfile",
    "login",
    "pamhalf",
    "pamstack",
    "peers",
    "places",
    "rows",
    "running",
    "services",
    "sharing",
    "walking",
)
"""The part of looking for what is wrong that judges and does no I/O."""
# The first prefix that fits gives a module's layer; it may import from its own layer and from lower ones.
LAYERS = [
    ("pam_tailscale.agent.app", 4),
    ("pam_tailscale.cli", 4),
    *((f"pam_tailscale.host.{name}", 1) for name in PURE_HOST),
    *((f"pam_tailscale.host.doctor.{name}", 1) for name in PURE_DOCTOR),
    ("pam_tailscale.host", 3),
    ("pam_tailscale.agent", 3),
    ("pam_tailscale.client", 2),
    ("pam_tailscale.pin", 2),
    ("pam_tailscale.localaccounts", 2),
    ("pam_tailscale.tailnet", 2),
    *((f"pam_tailscale.check.{name}", 1) for name in PURE_CHECKS),
    ("pam_tailscale.check", 2),
    ("pam_tailscale.policypage.template", 2),
    ("pam_tailscale.policypage", 1),
    ("pam_tailscale.policy", 1),
    ("pam_tailscale.wire", 1),
    ("pam_tailscale.config", 1),
    ("pam_tailscale.model", 0),
    ("pam_tailscale.errors", 0),
    ("pam_tailscale.rootfile", 0),
    ("pam_tailscale.secret", 0),
    ("pam_tailscale.paths", 0),
    ("pam_tailscale", 0),
]
# What stands beside the layers: importer, imported, what is allowed all the same.
APART = [
    ("pam_tailscale.cli", "pam_tailscale.agent", ()),
    ("pam_tailscale.host", "pam_tailscale.agent", ()),
    ("pam_tailscale.agent", "pam_tailscale.host", ()),
    ("pam_tailscale.tailnet", "pam_tailscale.policy", ("pam_tailscale.policy.rules", "pam_tailscale.policy.roster")),
    ("pam_tailscale.tailnet", "pam_tailscale.client", ()),
    ("pam_tailscale.client", "pam_tailscale.tailnet", ()),
    ("pam_tailscale.check", "pam_tailscale.tailnet", ()),
    ("pam_tailscale.check", "pam_tailscale.client", ()),
    ("pam_tailscale.check", "pam_tailscale.pin", ()),
]
IO_MODULES = {
    "http",
    "io",
    "logging",
    "os",
    "pathlib",
    "requests",
    "select",
    "socket",
    "subprocess",
    "threading",
    "time",
}
# Pure, but for inet_pton, which is a function of its argument alone.
PURE_BUT = {"pam_tailscale.policy.rules": {"socket"}, "pam_tailscale.config": {"pathlib"}}


def sources(*folders: str) -> list[Path]:
    """The Python files that the repository keeps."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *folders]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [ROOT / name for name in sorted(set(names)) if name.endswith(".py") and (ROOT / name).exists()]


MODULES = sources("pam_tailscale")


def name_of(path: Path) -> str:
    """A module's dotted name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """What a module imports, as `module` or `module.name`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(name: str) -> int:
    """A module's layer."""
    return next(number for prefix, number in LAYERS if within(name, prefix))


def within(name: str, prefix: str) -> bool:
    """Whether a module is this one or below it."""
    return f"{name}.".startswith(f"{prefix}.")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_imports_from_a_higher_layer(path: Path) -> None:
    """Decisions know nothing of sockets, adapters nothing of the agent, and only app.py wires."""
    own = name_of(path)
    for name in imports(path):
        if not within(name, "pam_tailscale"):
            continue
        assert layer(name) <= layer(own), f"{own} imports {name}"
        for importer, imported, allowed in APART:
            apart = within(own, importer) and within(name, imported)
            assert not apart or any(within(name, one) for one in allowed), f"{own} imports {name}"


@pytest.mark.parametrize("path", [path for path in MODULES if layer(name_of(path)) == 1], ids=name_of)
def test_what_decides_is_pure(path: Path) -> None:
    """No socket, file, clock or log in policy, wire and config."""
    found = {name.partition(".")[0] for name in imports(path)} & IO_MODULES
    assert found <= PURE_BUT.get(name_of(path), set())


def test_rules_use_one_function_of_socket() -> None:
    """The exception stays as small as it is."""
    tree = ast.parse((PACKAGE / "policy" / "rules.py").read_text())
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "socket"
    }
    assert used == {"AF_INET", "AF_INET6", "inet_pton"}


def has_code(path: Path) -> bool:
    """Whether there is something to test: a function with a body of its own."""
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(ast.parse(path.read_text()))
    )


@pytest.mark.parametrize("path", [path for path in MODULES if has_code(path)], ids=name_of)
def test_every_module_has_its_tests(path: Path) -> None:
    """Where one looks for them."""
    place = path.relative_to(PACKAGE)
    assert (ROOT / "tests" / "unit" / place.parent / f"test_{place.name}").is_file()


EVERYWHERE = sources("pam_tailscale", "contrib", "bench", "setup.py")


@pytest.mark.parametrize("path", EVERYWHERE, ids=name_of)
def test_sizes(path: Path) -> None:
    """A module that nobody reads to its end, and a function that does three things, are not kept."""
    text = path.read_text()
    assert len(text.splitlines()) <= MODULE_LINES_MAX
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES_MAX, node.name


def test_every_reason_is_used() -> None:
    """A reason that nothing gives is a promise that nobody keeps."""
    used = "\n".join(path.read_text() for path in MODULES if path.name != "model.py")
    assert [reason.name for reason in Reason if f"Reason.{reason.name}" not in used] == []


def test_every_error_is_raised() -> None:
    """The same for errors."""
    text = "\n".join(path.read_text() for path in MODULES if path.name != "errors.py")
    defined = re.findall(r"^class (\w+)\(", (PACKAGE / "errors.py").read_text(), re.MULTILINE)
    assert [name for name in defined if not re.search(rf"\b{name}\b", text)] == []


# Written in two parts, so that this file is not found by itself.
FORBIDDEN = [
    "/" + "work/",
    "/home/" + "user",
    "TO" + "DO",
    "FIX" + "ME",
    "XX" + "X",
    "Co-Authored" + "-By",
    "pytest.mark." + "skip",
    "pytest." + "skip(",
    "pytest.mark." + "xfail",
]
TEXT = {".py", ".c", ".h", ".md", ".toml", ".yml", ".service", ".socket", ".path", ".conf", ".map", ""}


def test_nothing_unfinished_and_nothing_of_one_machine() -> None:
    """The repository speaks of the product alone, and no test is left out."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    paths = [ROOT / name for name in names.split("\0") if name]
    found = []
    for path, word in itertools.product(paths, FORBIDDEN):
        if path.is_file() and path.suffix in TEXT and word in path.read_text(errors="replace"):
            found.append(f"{path.relative_to(ROOT)}: {word}")
    assert found == []


@pytest.mark.parametrize(
    "name",
    ["model", "errors", "paths", "config", "wire", "client", "tailnet", "policy", "check", "agent", "cli", "native"],
)
def test_the_parts_of_the_layout_are_where_they_belong(name: str) -> None:
    """A contributor finds them by the design's names."""
    assert (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()
