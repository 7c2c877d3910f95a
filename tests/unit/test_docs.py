"""The documents: every command is run by a test, every text that people see is explained, what is named is there."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pam_tailscale import config, paths
from pam_tailscale.cli.main import cli
from pam_tailscale.config import Config
from pam_tailscale.host.arrangement import PATHS
from pam_tailscale.host.preconditions import ROWS, Action
from pam_tailscale.model import Decision, Reason, Verdict
from pam_tailscale.policy import words
from pam_tailscale.wire import TEXT_TRY_AGAIN
from tests.support import documented
from tests.support.roots import PROJECT

README_LINES_MAX = 281
PAGES = [path for path in documented.documents() if path.suffix == ".md"]
TROUBLE = "docs/troubleshooting.md"
_LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")
_CODE = re.compile(r"`([^`\n]+)`")
_IN_REPOSITORY = re.compile(r"(?:tests|pam_tailscale|contrib|docs|man|debian|bench)/[\w./-]+\w")


def text_of(name: str) -> str:
    """A document's text."""
    return (PROJECT / name).read_text()


def prose(text: str) -> str:
    """A document without its blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def name_of(path: Path) -> str:
    """From the top of the checkout."""
    return str(path.relative_to(PROJECT))


# Commands


def test_every_block_is_run_by_a_test() -> None:
    """And every test that names one finds it."""
    assert {block.name for block in documented.all_blocks()} == set(documented.claims())


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_blocks_are_of_a_kind_that_is_checked(path: Path) -> None:
    """A block in another language would be looked at by no test."""
    found = {language for _, language, _ in documented.fences(path.read_text())}
    assert found <= {"sh", "console", "toml", ""}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_examples_of_the_configuration_are_valid(path: Path) -> None:
    """As the agent would read them."""
    for _, language, content in documented.fences(path.read_text()):
        if language == "toml":
            config.parse(content, name_of(path))


def test_the_readme_shows_the_defaults() -> None:
    """Its first example of the configuration changes nothing."""
    first = next(content for _, language, content in documented.fences(text_of("README.md")) if language == "toml")
    assert config.parse(first, "README.md") == Config()


def inline_commands() -> Iterator[str]:
    """What stands in prose as a command of ours."""
    for path in PAGES:
        for code in _CODE.findall(prose(path.read_text())):
            if code.startswith("pam-tailscale ") and "|" not in code:
                yield code


@pytest.mark.parametrize("line", sorted(set(inline_commands())))
def test_a_command_in_prose_is_one(line: str) -> None:
    """The command line takes it."""
    words_of_line = [word for word in shlex.split(line.translate(str.maketrans("", "", "[]")))[1:] if word != "…"]
    command = cli.commands[words_of_line[0]]
    if isinstance(command, click.Group) and len(words_of_line) > 1:
        command = command.commands[words_of_line[1]]
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words_of_line[1:] if word.startswith("-")} <= known


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_units_and_programs_are_ours(path: Path) -> None:
    """A unit that a document names is one that is installed."""
    units = {unit.name for unit in (PROJECT / "contrib/systemd").iterdir()}
    bare = {unit.rsplit(".", 1)[0].removesuffix("@") for unit in units}
    for name in re.findall(r"\bpam-tailscale-(?:agent|reader|halves)[\w@.-]*", path.read_text()):
        assert name.rstrip(".") in units | bare | {"pam-tailscale-agent.toml"}, name


# What is named is there


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    """To a file of the repository and a heading of it."""
    for target, anchor in _LINK.findall(prose(path.read_text())):
        if target.startswith("https://"):
            continue
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", prose(file.read_text()), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}


def slug(heading: str) -> str:
    """A heading's anchor, as the hosting service makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_files_of_the_repository_are_there(path: Path) -> None:
    """Those that a document names."""
    for code in _CODE.findall(prose(path.read_text())):
        if match := _IN_REPOSITORY.fullmatch(code):
            assert (PROJECT / match[0]).exists(), code


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_manual_pages_are_there(path: Path) -> None:
    """`pam-tailscale(8)` and its like."""
    for name, number in re.findall(r"\b(pam[_-]tailscale[\w.-]*)\((\d)\)", path.read_text()):
        assert (PROJECT / f"man/{name}.{number}").is_file(), name


def test_the_readme_stays_short() -> None:
    """As long as it was before there was a package."""
    assert len(text_of("README.md").splitlines()) <= README_LINES_MAX


def test_the_readme_has_every_question() -> None:
    """Each with the option that answers it."""
    table = text_of("README.md").partition("| it asks | option |")[2].partition("\n\n")[0]
    assert set(re.findall(r"--[a-z][a-z-]+", table)) == {row.flag for row in ROWS if row.action is Action.ASK}


def test_the_readme_has_every_command() -> None:
    """In its tables and its blocks."""
    assert set(re.findall(r"pam-tailscale ([a-z]+)", text_of("README.md"))) >= set(cli.commands)


def test_security_lists_every_file_that_is_written() -> None:
    """With what removes it."""
    table = text_of("docs/security.md").partition("## What is written")[2].partition("\n\nInstalling")[0]
    written = {*PATHS, *map(str, (paths.PIN, paths.ENABLED, paths.CHANGE, paths.STATE_DIR))}
    for path in written:
        own_directory = path.startswith(f"{paths.HALVES_DIR}/")
        assert ("`halves/`" if own_directory else path.removesuffix(".disabled")) in table, path


# What somebody may see


def headings() -> list[str]:
    """The texts that troubleshooting.md is keyed by."""
    return re.findall(r"^### `(.+)`$", text_of(TROUBLE), re.MULTILINE)


def as_told(reason: Reason) -> str:
    """What the person reads for this reason, with the names of the examples."""
    decision = Decision(Verdict.DENY, reason, "5f0c3a91", mapped_user="deploy")
    return words.person_text(decision, "bob")


@pytest.mark.parametrize("reason", [one for one in Reason if one not in (Reason.ACCEPTED, Reason.CHECK_PASSED)])
def test_every_text_that_a_person_reads_is_explained(reason: Reason) -> None:
    """Whatever the decision."""
    text = as_told(reason)
    assert text
    assert text.removesuffix(" (decision 5f0c3a91)") in {one.removesuffix(" (decision 5f0c3a91)") for one in headings()}


def test_the_other_texts_that_a_person_reads_are_explained() -> None:
    """The module's own, the prompt, and the page that is missing."""
    lines = words.prompt_text("", "", "5f0c3a91").splitlines()
    module = [TEXT_TRY_AGAIN, *re.findall(r'"(tailscale: [^"]+)"', native_source())]
    assert {line.strip() for line in [*lines, *module]} <= set(headings())


def native_source() -> str:
    """All of the C."""
    return "\n".join(path.read_text() for path in sorted((PROJECT / "pam_tailscale/native").glob("*.[ch]")))


def reasons_in_tables() -> set[str]:
    """The reasons that the tables explain."""
    part = text_of(TROUBLE).partition("## What the journal says")[2].partition("## What commands say")[0]
    return {name for line in re.findall(r"^\| (`.+?) \|", part, re.MULTILINE) for name in _CODE.findall(line)}


def test_every_reason_in_the_journal_is_explained() -> None:
    """Those of the agent, the module and the key helper, and none that nobody gives."""
    shims = set(re.findall(r'log_denial\(\w+,(?: LOG_INFO,)?\s*"(\w+)"', native_source()))
    shims |= set(re.findall(r'refuse_here\(login, "(\w+)"', native_source()))
    shims |= set(re.findall(r'"(agent_\w+)"', native_source())) - {"agent_uid"}
    assert reasons_in_tables() == {reason.value for reason in Reason} | shims


def said_by_programs() -> str:
    """Every text in the sources of what an administrator runs, with a mark where a value is put in."""
    folders = [PROJECT / "pam_tailscale" / name for name in ("host", "cli")]
    files = [*(path for folder in folders for path in folder.rglob("*.py")), PROJECT / "pam_tailscale/client.py"]
    files.append(PROJECT / "pam_tailscale/agent/handlers.py")
    texts = [
        joined for path in sorted(files) for node in ast.walk(ast.parse(path.read_text())) if (joined := said(node))
    ]
    scripts = [*(PROJECT / "debian").glob("*.p*[mt]"), PROJECT / "contrib/libexec/check-halves"]
    texts += [re.sub(r"\$\w+", "…", script.read_text()) for script in scripts]
    return "\n".join(texts)


def said(node: ast.AST) -> str:
    """A text in source."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""


SAID = said_by_programs()


def said_by_commands() -> list[str]:
    """The texts that the document says commands say."""
    return re.findall(r"^### `(.+)`$", text_of(TROUBLE).partition("## What commands say")[2], re.MULTILINE)


@pytest.mark.parametrize("heading", said_by_commands())
def test_what_commands_are_said_to_say_they_say(heading: str) -> None:
    """Each text is one of a program, whose values are `…`."""
    pattern = r"(?:[^\n]*?)".join(re.escape(part) for part in heading.split("…"))
    assert re.search(pattern, SAID)
