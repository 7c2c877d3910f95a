"""The manual pages say what the programs do: every option, argument, key, default, return value and check, no more."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import click
import pytest

from pam_tailscale.agent import app, journal
from pam_tailscale.cli.main import cli
from pam_tailscale.config import Config, Period
from pam_tailscale.host.preconditions import ROWS, Action
from pam_tailscale.model import Connection, Decision, Method, Phase, Reason, Request, Verdict, parse_address
from tests.support.roots import PROJECT

MAN = PROJECT / "man"
PAGES = sorted(MAN.iterdir())
NATIVE = PROJECT / "pam_tailscale/native"
COMMANDS = sorted(cli.commands)
_HELP = {"--help"}
"""Every command has it; pam-tailscale(8) says so."""
_OPTIONS = re.compile(r"\bFl (-?[\w-]+)|[|,] (-[\w-]+)")
"""Behind the macro, or behind another one and a comma or a bar."""


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of a tagged list."""

    head: str
    """As it is written, macros included."""
    body: str
    """Plain text."""


def source(name: str) -> str:
    """A page's source."""
    return (MAN / name).read_text()


def section(name: str, title: str, macro: str = "Sh") -> str:
    """The source of a section, or of a subsection, without its title."""
    pattern = rf"^\.{macro} {re.escape(title)}\n(.*?)(?=^\.(?:Sh|{macro}) |\Z)"
    match = re.search(pattern, source(name), re.MULTILINE | re.DOTALL)
    assert match, f"{name} has no section {title}"
    return match[1]


def items(text: str) -> list[Item]:
    """The entries of all lists in a piece of source."""
    found = re.findall(r"^\.It (.+)\n((?:(?!\.It |\.El$|\.Bl ).*\n)*)", text, re.MULTILINE)
    return [Item(head, plain(body)) for head, body in found]


def plain(text: str) -> str:
    """Source without its macros, as one line."""
    text = re.sub(r"^\.(?:[A-Z][a-z]) ?", "", text, flags=re.MULTILINE).replace(r"\(dq", '"').replace(r"\&", "")
    return re.sub(r" (?=[.,;:])", "", " ".join(text.split()))


def options_in(text: str) -> set[str]:
    """The options that a piece of source marks up."""
    return {f"-{name}" for names in _OPTIONS.findall(text) for name in names if name}


def synopsis_options(name: str) -> set[str]:
    """The options of a page's synopsis."""
    return options_in(section(name, "SYNOPSIS"))


def described_options(name: str) -> set[str]:
    """The options that have an entry in a page."""
    return options_in("\n".join(item.head for item in items(source(name))))


# The pages as such


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_has_its_parts(path: Path) -> None:
    """The title is the file's name, and the parts are those that a reader looks for."""
    text, (name, number) = path.read_text(), path.name.rsplit(".", 1)
    assert f"\n.Dt {name.upper()} {number}\n" in text
    assert f"\n.Nm {name}\n.Nd " in section(path.name, "NAME").join("\n\n")
    titles = re.findall(r"^\.Sh (.+)$", text, re.MULTILINE)
    wanted = {"NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"}
    if number == "8" and name != "pam_tailscale":
        wanted |= {"EXIT STATUS"}
    assert wanted <= set(titles)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_refers_to_pages_that_are_there(path: Path) -> None:
    """And never to itself."""
    own = {page.name for page in PAGES}
    for name, number in re.findall(r"^\.Xr (\S+) (\d)", path.read_text(), re.MULTILINE):
        page = f"{name}.{number}"
        assert page != path.name
        if "tailscale" in name and name != "tailscaled":
            assert page in own


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_page_is_found_from_the_first(path: Path) -> None:
    """pam-tailscale(8) names all others."""
    name, number = path.name.rsplit(".", 1)
    assert path.name == "pam-tailscale.8" or f"\n.Xr {name} {number}" in section("pam-tailscale.8", "SEE ALSO").join(
        "\n\n"
    )


# Commands


def parameters(command: click.Command) -> tuple[set[str], set[str]]:
    """A command's options and arguments as it takes them; of a group those of its commands."""
    options, arguments = set[str](), set[str]()
    for parameter in all_parameters(command):
        if isinstance(parameter, click.Option):
            options |= set(parameter.opts) | set(parameter.secondary_opts)
        else:
            arguments.add(parameter.name or "")
    return options - _HELP - {"-h"}, arguments


def all_parameters(command: click.Command) -> list[click.Parameter]:
    """Of a command, and of those that belong to it."""
    own = command.get_params(click.Context(command, help_option_names=["-h", "--help"]))
    members = command.commands.values() if isinstance(command, click.Group) else ()
    return [*own, *(parameter for member in members for parameter in all_parameters(member))]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_its_page(name: str) -> None:
    """Every option and argument is in the synopsis, every option has an entry, and none is there that is none."""
    page = f"pam-tailscale-{name}.8"
    options, arguments = parameters(cli.commands[name])
    assert synopsis_options(page) == options
    assert described_options(page) == options
    words = set(re.findall(r"\bAr ([a-z]\w*)", re.sub(r"Fl -\S+ Ar .*", "", section(page, "SYNOPSIS"))))
    assert words - {"port"} == arguments


@pytest.mark.parametrize("name", COMMANDS)
def test_the_first_page_tells_of_every_command(name: str) -> None:
    """With its page."""
    entries = {item.head: item.body for item in items(section("pam-tailscale.8", "DESCRIPTION"))}
    assert f"See pam-tailscale-{name} 8" in entries[f"Ic {name}"]


def test_the_first_page_tells_of_no_other_command() -> None:
    """A command that is gone is gone there, too."""
    heads = [item.head for item in items(section("pam-tailscale.8", "DESCRIPTION"))]
    assert sorted(head.removeprefix("Ic ") for head in heads if head.startswith("Ic ")) == COMMANDS


def test_the_program_itself() -> None:
    """What stands before the command."""
    expected = {"-h", "--help", "--version"}
    assert described_options("pam-tailscale.8") == synopsis_options("pam-tailscale.8") == expected
    context = cli.make_context("pam-tailscale", [], resilient_parsing=True)
    assert {name for parameter in cli.get_params(context) for name in parameter.opts} == expected


@pytest.mark.parametrize("name", COMMANDS)
def test_choices_and_statuses(name: str) -> None:
    """What an option may be, and what the help says of the exit status."""
    page, command = f"pam-tailscale-{name}.8", cli.commands[name]
    for parameter in all_parameters(command):
        if isinstance(parameter.type, click.Choice):
            for choice in parameter.type.choices:
                assert re.search(rf"\b{re.escape(choice)}\b", section(page, "SYNOPSIS"))
    told = re.search(r"Exits (.*?)(?:\n\n|\Z)", command.help or "", re.DOTALL)
    assert told is not None
    statuses = {item.head for item in items(section(page, "EXIT STATUS"))}
    assert set(re.findall(r"\b[0-4]\b", told[1])) <= statuses


# Programs


def test_the_agent() -> None:
    """Its options, and the keys of its log."""
    page = "pam-tailscale-agent.8"
    options, arguments = parameters(app.main)
    assert synopsis_options(page) == described_options(page) == options
    assert arguments == set()
    address = parse_address("100.64.0.2")
    request = Request("alice", Connection(address, 1, address, 22), Method.NONE, Phase.AUTH)
    decision = Decision(Verdict.DENY, Reason.NO_RULE, "5f0c3a91", detail="none")
    keys = [item.head.removeprefix("Cm ") for item in items(section(page, "LOG"))]
    assert keys == list(journal.fields_of(decision, request, 1.0, "control"))


def test_the_root_reader() -> None:
    """Its options are those it looks for."""
    page, code = "pam-tailscale-root-reader.8", (PROJECT / "pam_tailscale/tailnet/reader.py").read_text()
    taken = set(re.findall(r"\"(--[a-z]+)\"", code))
    assert synopsis_options(page) == described_options(page) == taken
    assert taken


def test_check_halves() -> None:
    """Likewise."""
    page, code = "pam-tailscale-check-halves.8", (PROJECT / "contrib/libexec/check-halves").read_text()
    taken = set(re.findall(r"^# +check-halves (--\w+)", code, re.MULTILINE))
    assert synopsis_options(page) == described_options(page) == taken
    assert taken


def shared_arguments() -> set[str]:
    """The arguments that module and key helper share, by the C that reads them."""
    return set(re.findall(r"option_value\(argument, \"(\w+)\"\)", (NATIVE / "options.c").read_text()))


def arguments_in(page: str) -> set[str]:
    """The entries of a page for arguments as the module takes them."""
    return {match[1] for item in items(source(page)) if (match := re.match(r"Cm (\w+)(?: Ns = |$)", item.head))}


def test_the_module() -> None:
    """Its arguments, its defaults, and what it returns."""
    page, code = "pam_tailscale.8", (NATIVE / "login.c").read_text()
    taken = shared_arguments() | set(re.findall(r"option_value\(argv\[i\], \"(\w+)\"\)", code))
    taken |= set(re.findall(r"strcmp\(argv\[i\], \"(\w+)\"\)", code))
    described = {re.split(r"\W", item.head.removeprefix("Cm "))[0] for item in items(section(page, "OPTIONS"))}
    assert described == taken
    assert set(re.findall(r"Cm (\w+)(?: Ns =|\n)", section(page, "SYNOPSIS"))) == taken
    header = (NATIVE / "tailscale_wire.h").read_text()
    for default in (r"TSW_SOCKET \"(.*)\"", r"TSW_TIMEOUT_MS (\d+)000"):
        value = re.search(default, header)
        assert value
        assert f"The default is {value[1]}." in plain(section(page, "OPTIONS"))
    networks = re.search(r"NETWORKS_DEFAULT \"(.*)\"", (NATIVE / "connection.h").read_text())
    assert networks
    assert f"The default is {networks[1]}," in plain(section(page, "OPTIONS"))


def test_what_the_module_returns() -> None:
    """Each value that its C gives back has an entry."""
    code = (NATIVE / "login.c").read_text() + (NATIVE / "pam_tailscale.c").read_text()
    returned = {name for line in re.findall(r"return (.*);", code) for name in re.findall(r"\bPAM_[A-Z_]+\b", line)}
    heads = {item.head.removeprefix("Dv ") for item in items(section("pam_tailscale.8", "PAM RETURN VALUES"))}
    assert heads == returned


def test_what_module_and_helper_log() -> None:
    """Each reason has an entry, and the helper's own one is in its page."""
    module = (NATIVE / "pam_tailscale.c").read_text()
    reasons = set(re.findall(r"refuse_here\(login, \"(\w+)\"", module)) | set(re.findall(r"\"(agent_\w+)\"", module))
    reasons |= set(re.findall(r"log_denial\(login, LOG_INFO, \"(\w+)\"", module))
    heads = {item.head.removeprefix("Cm ") for item in items(section("pam_tailscale.8", "DIAGNOSTICS"))}
    assert heads == reasons
    helper = (NATIVE / "authorized_keys.c").read_text()
    own = set(re.findall(r"log_denial\(&?offer, \"(\w+)\"", helper)) - reasons
    assert own == set(
        re.findall(r"^\.Cm (\w+)$", section("pam-tailscale-authorized-keys.8", "DIAGNOSTICS"), re.MULTILINE)
    )


def test_the_key_helper() -> None:
    """Its options are the module's and one of its own."""
    code = (NATIVE / "authorized_keys.c").read_text()
    own = set(re.findall(r"option_value\(arguments\[i\], \"(\w+)\"\)", code))
    assert arguments_in("pam-tailscale-authorized-keys.8") == shared_arguments() | own


# The configuration


def settings(kind: type = Config, title: str = "Top of the file") -> Iterator[tuple[str, str, Any]]:
    """Subsection, key and default of everything that the file may hold."""
    for one in fields(kind):
        default = one.default if one.default is not dataclasses.MISSING else one.default_factory()  # type: ignore[misc]
        if is_dataclass(default):
            yield from settings(type(default), f"Section {one.name}")
        else:
            yield title, one.name, default


def written(value: Any) -> str:
    """A default as the page says it."""
    if value in ("", None, (), {}):
        return "Not set by default."
    return f"The default is {toml(value)}."


def toml(value: Any) -> str:
    """A value as the file has it, in quotes of ours."""
    if isinstance(value, Period):
        return f'"{value / 3600:.0f}h"'
    if isinstance(value, Enum):
        return f'"{value.value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml, value))}]"
    return f'"{value}"' if isinstance(value, str | Path) else str(value)


@pytest.mark.parametrize(("title", "key", "default"), settings(), ids=[f"{one[0]}-{one[1]}" for one in settings()])
def test_every_key_has_its_entry(title: str, key: str, default: Any) -> None:
    """With its default, and the values that it may have where they are few."""
    found = [item for item in items(section("pam-tailscale-agent.toml.5", title, "Ss")) if item.head.split()[1] == key]
    (item,) = found
    assert written(default) in item.body
    values = [one.value for one in type(default)] if isinstance(default, Enum) else []
    assert all(f'"{value}"' in plain(item.head) for value in values)


def test_no_key_is_told_of_that_is_not_there() -> None:
    """Nor a section."""
    text = section("pam-tailscale-agent.toml.5", "DESCRIPTION")
    known = {(title, key) for title, key, _ in settings()}
    titles = re.findall(r"^\.Ss (.+)$", text, re.MULTILINE)
    assert set(titles) == {title for title, _ in known}
    told = {
        (title, item.head.split()[1])
        for title in titles
        for item in items(section("pam-tailscale-agent.toml.5", title, "Ss"))
    }
    assert told == known


# What enable and doctor find


def names_after(text: str, start: str, end: str) -> set[str]:
    """The names of the list between two sentences."""
    part = text[text.index(start) : text.index(end) if end else len(text)]
    return {name for item in items(part) for name in item.head.removeprefix("Cm ").split(" , ")}


@pytest.mark.parametrize(
    ("action", "start", "end"),
    [
        (Action.REFUSE, "These stop it", "These ask"),
        (Action.ASK, "These ask", "These are seen to"),
        (Action.HANDLE, "These are seen to", ""),
    ],
    ids=["refuse", "ask", "handle"],
)
def test_every_precondition_is_told(action: Action, start: str, end: str) -> None:
    """With what enable does about it."""
    names = names_after(section("pam-tailscale-enable.8", "PRECONDITIONS"), start, end)
    assert names == {row.name for row in ROWS if row.action is action}


def test_every_question_has_the_option_that_answers_it() -> None:
    """The list of questions says which."""
    text = section("pam-tailscale-enable.8", "PRECONDITIONS")
    asked = text[text.index("These ask") : text.index("These are seen to")]
    told = re.findall(r"^\.It (?:Cm )?(.+)\n\.Fl (\S+)$", asked, re.MULTILINE)
    found = {name: f"-{option}" for names, option in told for name in names.split(" , ")}
    assert found == {row.name: row.flag for row in ROWS if row.action is Action.ASK}


def checks_of_doctor() -> set[str]:
    """The names of checks in doctor's source: what `name` is set to, and what the makers of checks are given."""
    found = set[str]()
    for path in (PROJECT / "pam_tailscale/host/doctor").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign):
                found |= set(_named(node))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                if node.func.id in ("ok", "problem", "warning", "unknown") and isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return found


def _named(node: ast.Assign) -> Iterator[str]:
    for target in node.targets:
        targets = target.elts if isinstance(target, ast.Tuple) else [target]
        values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        for one, value in zip(targets, values, strict=False):
            if isinstance(one, ast.Name) and one.id == "name" and isinstance(value, ast.Constant):
                yield str(value.value)


def test_every_check_of_doctor_is_told() -> None:
    """By its name."""
    heads = [item.head.removeprefix("Cm ") for item in items(section("pam-tailscale-doctor.8", "CHECKS"))]
    assert {name for head in heads for name in head.split(" , ")} == checks_of_doctor()
