"""The header is the specification of the protocol; Python's words and numbers are the same, each and every one."""

import enum
import re
import subprocess

import cffi

from pam_tailscale import model, paths, wire
from tests.support.pamstack import NATIVE

HEADER = NATIVE / "tailscale_wire.h"
ENUMS: dict[str, type[enum.Enum]] = {"METHOD": model.Method, "PHASE": model.Phase, "MODE": model.Mode}


def header_names() -> list[str]:
    """The macros of the header that have a value."""
    command = ["cc", "-E", "-dM", str(HEADER)]
    macros = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.findall(r"^#define TSW_(\w+) .+$", macros, re.MULTILINE)


def header_values() -> dict[str, str | int]:
    """Each macro with its value, read by the C preprocessor and then by cffi's parser of C."""
    names = header_names()
    lines = [f'#include "{HEADER}"', "enum {"]
    values: dict[str, str | int] = {}
    source = "\n".join([lines[0], *(f"{name} = TSW_{name}" for name in names)])
    command = ["cc", "-E", "-P", "-x", "c", "-"]
    expanded = subprocess.run(command, check=True, capture_output=True, text=True, input=source).stdout
    numbers = []
    for name, value in re.findall(r"^(\w+) = (.+)$", expanded, re.MULTILINE):
        if value.startswith('"'):
            values[name] = value.strip('"')
        else:
            numbers.append(f"{name} = {value}")
    ffi = cffi.FFI()
    ffi.cdef(f"enum numbers {{ {', '.join(numbers)} }};")
    values.update({str(name): int(value) for name, value in ffi.typeof("enum numbers").relements.items()})
    assert sorted(values) == sorted(names)
    return values


def python_values() -> dict[str, str | int]:
    """The same from Python: wire.py's constants, the enums of model.py, and the path."""
    values: dict[str, str | int] = {
        name: value for name, value in vars(wire).items() if name.isupper() and isinstance(value, (str, int))
    }
    for prefix, members in ENUMS.items():
        values.update({f"{prefix}_{member.name}": member.value for member in members})
    values["SOCKET"] = str(paths.AGENT_SOCKET)
    return values


def test_header_and_python_say_the_same() -> None:
    """Neither side has a word or a number that the other lacks or spells otherwise."""
    assert header_values() == python_values()


def test_verdicts_of_the_model_are_those_of_the_wire() -> None:
    """What the agent decides is what the wire can say; `limited` is how an `allow` with limits is said."""
    assert {verdict.value for verdict in model.Verdict} == {
        wire.VERDICT_ALLOW,
        wire.VERDICT_CHECK,
        wire.VERDICT_DENY,
    }
    assert wire.VERDICT_LIMITED not in {verdict.value for verdict in model.Verdict}
