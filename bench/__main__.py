"""Measures, prints a table, and writes build/bench.json: `python3 -m bench [--quick] [--only NAME]...`, as root."""

import functools
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench import checks, install, large, logins, module, pending, policy, tokens
from bench.checked import Checked
from bench.figures import Figure
from bench.large import Large
from bench.pending import Pending
from bench.real import KEX, Real
from tests.support.roots import PROJECT

RESULT = PROJECT / "build/bench.json"


@dataclass(frozen=True, slots=True)
class Part:
    """Some figures that are measured together, on one scene."""

    names: tuple[str, ...]
    measure: Callable[..., list[Figure]]
    scene: Callable[[], Any] | None

    def wanted(self, only: Sequence[str]) -> bool:
        """Whether any of its figures was asked for."""
        return not only or bool({*self.names} & {*only})


_CHECKED = functools.partial(Checked, "bookworm")
_CHECKED_DEBIAN13 = functools.partial(Checked, "trixie")
_WAYS = ("floor", "publickey", "tailscale_ssh")
PARTS = (
    Part(("module_ignore_us", "module_load_us"), module.ignore, None),
    Part(("decision_p50_ms", "decision_p99_ms", "localapi_whois_ms"), large.one_at_a_time, Large),
    Part(("decision_cpu_ms",), large.agent_cpu, Large),
    Part(("decisions_per_s",), large.many_at_once, Large),
    Part(
        ("decision_stall_ms", "localapi_stall_ms", "agent_rss_mib", "large_policy_effect_s"),
        large.while_it_changes,
        Large,
    ),
    Part(("reader_peak_mib", "reader_cpu_s"), large.reader, Large),
    Part(tuple(f"login_vs_{way}" for way in _WAYS), logins.logins, Real),
    Part(tuple(f"debian13_login_vs_{way}" for way in _WAYS), logins.logins_debian13, Real),
    Part(("quickack_login_vs_tailscale_ssh", "quickack_login_ms"), logins.logins_quickack, Real),
    Part(("policy_effect_s", "policy_ours_s"), logins.policy_effect, Real),
    Part(("idle_cpu_percent",), logins.idle, Real),
    Part(("approval_to_shell_s", "approval_command_to_shell_s"), checks.approval, Real),
    Part(("checked_login_vs_accept",), checks.oidc_logins, _CHECKED),
    Part(("control_login_vs_accept",), checks.control_logins, _CHECKED),
    Part(("oidc_approval_to_shell_s",), checks.oidc_approval, _CHECKED),
    Part(("debian13_checked_login_vs_accept",), checks.oidc_logins, _CHECKED_DEBIAN13),
    Part(("debian13_control_login_vs_accept",), checks.control_logins, _CHECKED_DEBIAN13),
    Part(("pending_mib", "pending_idle_cpu_percent", "pending_decisions_slower"), pending.pending, Pending),
    Part(("enable_s", "debian13_enable_s"), install.enabling, install.Installed),
    Part(("deb_kib",), install.sizes, None),
    Part(("token_verify_ms", "token_verify_cached_us"), tokens.verify, None),
    Part(
        (
            "policy_compile_node_ms",
            "policy_compile_all_s",
            "policy_diff_s",
            "policy_evaluate_us",
            "policy_peak_mib",
            "policy_growth",
        ),
        policy.policy,
        None,
    ),
)
NAMES = [name for part in PARTS for name in part.names]


def measure(parts: Iterable[Part], *, quick: bool) -> Iterator[Figure]:
    """Measures one part after the other; a scene is closed before the next one is made, so that it is quiet."""
    with ExitStack() as stack:
        kind, scene = None, None
        for part in parts:
            if part.scene is not kind:
                stack.close()
                kind = part.scene
                scene = stack.enter_context(kind()) if kind is not None else None
            yield from part.measure(scene, quick=quick)


def table(figures: Sequence[Figure]) -> Table:
    """What was measured, in a form to read."""
    result = Table("figure", "value", "±", "target", "", "what", title="pam_tailscale, measured")
    result.columns[1].justify = result.columns[2].justify = "right"
    for figure in figures:
        target = figure.target
        verdict = "" if target is None else "[green]ok[/]" if target.met(figure.value) else "[red]missed[/]"
        numbers = (f"{figure.value:.4g}", f"{figure.spread:.2g}")
        result.add_row(figure.name, *numbers, "" if target is None else str(target), verdict, figure.note)
    result.caption = (
        f"±: half the interquartile range. All logins with KexAlgorithms={KEX}, as Tailscale SSH has no post-quantum "
        f"exchange. {os.cpu_count()} cores, Python {platform.python_version()}, Linux {platform.release()}"
    )
    return result


@contextmanager
def progress(console: Console) -> Iterator[Callable[[Figure], None]]:
    """Says what was measured as soon as it was."""
    began = time.monotonic()
    yield lambda figure: console.print(f"{time.monotonic() - began:5.0f} s  {figure.name} = {figure.value:.4g}")


@click.command()
@click.option("--only", multiple=True, type=click.Choice(NAMES), metavar="NAME", help="Measure what gives this figure.")
@click.option("--quick", is_flag=True, help="Fewer runs: to see that it works, not what it reaches.")
def main(only: tuple[str, ...], *, quick: bool) -> None:
    """Measure how fast pam_tailscale is, and what it takes. Needs root and a quiet machine.

    A missed target is shown, and is no failure: a busy machine misses most of them.
    """
    if os.geteuid() != 0:
        sys.exit("run this as root: it makes hosts out of namespaces")
    figures = []
    with progress(Console(stderr=True)) as say:
        for figure in measure((part for part in PARTS if part.wanted(only)), quick=quick):
            figures.append(figure)
            say(figure)
    Console(width=None if sys.stdout.isatty() else 160).print(table(figures))
    flat = {key: value for one in figures for key, value in ((one.name, one.value), (f"{one.name}_spread", one.spread))}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({key: round(value, 4) for key, value in flat.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
