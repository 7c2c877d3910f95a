"""The fuzz targets hold for what is known and for damage to it, and they can fail."""

import dataclasses
import random
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy import hujson
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.reading import Reader
from pam_tailscale.policy.roster import Node
from pam_tailscale.policy.rules import Action, Rule
from tests.fuzz.targets import TARGETS, seeds

SEEDS = list(seeds())
PARTS = (*(byte.encode() for byte in '"\\{}[],:\n'), b"//", b"/*", b"*/", b"\xff", b"\xc3", b"1e999", b"NaN")

targets = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())


@targets
def test_files_to_begin_with(target: Callable[[bytes], None]) -> None:
    """The recorded policies among them."""
    for seed in SEEDS:
        target(seed)


@targets
def test_files_that_end_too_soon(target: Callable[[bytes], None]) -> None:
    """At each of their bytes."""
    for seed in SEEDS[:5]:
        for length in range(len(seed)):
            target(seed[:length])


@targets
def test_files_that_were_damaged(target: Callable[[bytes], None]) -> None:
    """A piece is lost, is there twice, or something else is there."""
    choices = random.Random(1)  # noqa: S311 (the same damage in every run)
    for _ in range(3000):
        data = choices.choice(SEEDS)
        for _ in range(choices.randint(1, 4)):
            start, end = sorted(choices.choices(range(len(data) + 1), k=2))
            piece = choices.choice([b"", data[start:end] * 2, choices.choice(PARTS), choices.choice(PARTS) * 3])
            data = data[:start] + piece + data[min(end, start + 40) :]
        target(data)


def raising(error: Exception) -> Callable[..., NoReturn]:
    """A function with a defect."""

    def raise_it(*_: object, **__: object) -> NoReturn:
        raise error

    return raise_it


def test_another_exception_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it comes from."""
    for owner, name, target in (
        (hujson, "parse", "hujson"),
        (hujson, "parse", "compile"),
        (Reader, "list_of", "compile"),
        (Compiler, "rules_for", "compile"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, raising(KeyError("planted")))
            with pytest.raises(KeyError, match="planted"):
                TARGETS[target](SEEDS[2])


@targets
@pytest.mark.parametrize(
    "error",
    [
        PolicyFileError("wrong", "policy"),
        PolicyFileError("wrong", "policy", 2, 1),
        PolicyFileError("wrong", "policy", 1, 10),
        PolicyFileError("x" * 2000, "policy", 1, 1),
    ],
    ids=["no place", "a line too far", "a column too far", "a page"],
)
def test_an_error_that_does_not_help_is_a_finding(
    target: Callable[[bytes], None], error: PolicyFileError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has to name a place in the file, in words that fit on a page."""
    monkeypatch.setattr(hujson, "parse", raising(error))
    with pytest.raises(AssertionError):
        target(b"{      }")


@pytest.mark.parametrize(
    "change",
    [{"users": {"root": "root", "*": "="}}, {"principals": ()}, {"action": None}, {"action": Action(reject=True)}],
    ids=["root", "nobody", "no action", "another action"],
)
def test_a_rule_that_no_entry_says_is_a_finding(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """For root, about nobody, without the entry's action."""
    seed = next(seed for seed in SEEDS if b'"users": ["autogroup:nonroot"]' in seed)
    TARGETS["compile"](seed)
    compiled = Compiler.rules_for

    def changed(compiler: Compiler, node: Node) -> list[Rule]:
        return [dataclasses.replace(rule, **change) for rule in compiled(compiler, node)]

    monkeypatch.setattr(Compiler, "rules_for", changed)
    with pytest.raises(AssertionError):
        TARGETS["compile"](seed)
