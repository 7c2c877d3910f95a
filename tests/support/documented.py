"""The commands in the documentation, for the tests that run them.

A test names what it runs, by file and heading: `commands("README.md", "Install")`. tests/unit/test_docs.py finds these
calls in the tests' source, so that a block which no test runs is noticed.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.roots import PROJECT

MARKDOWN = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md")
MANUALS = ("man/*.[1-8]",)
_FENCE = re.compile(r"```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,4} (.+)$", re.MULTILINE)
_PROMPT = re.compile(r"(?:[a-z]*[$#]) (.+)")
_LITERAL = re.compile(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", re.MULTILINE | re.DOTALL)
_DISPLAY = re.compile(r"^\.Dl (.+)$", re.MULTILINE)
_SECTION = re.compile(r"^\.Sh (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """Commands that stand together."""

    file: str
    """From the top of the checkout."""
    heading: str
    number: int
    """Counted from 1 under this heading."""
    text: str
    """For a shell. Of a console's output nothing is left."""

    @property
    def name(self) -> tuple[str, str, int]:
        """What a test calls it by."""
        return self.file, self.heading, self.number


def commands(file: str, heading: str, number: int = 1) -> str:
    """The commands of a block, for a shell; KeyError where there is none. Arguments have to be literals, see above."""
    return {block.name: block.text for block in blocks(file)}[file, heading, number]


def all_blocks() -> list[Block]:
    """All blocks of commands in the documentation."""
    return [block for path in documents() for block in blocks(str(path.relative_to(PROJECT)))]


def documents() -> list[Path]:
    """The files of the documentation."""
    return [path for pattern in (*MARKDOWN, *MANUALS) for path in sorted(PROJECT.glob(pattern))]


def blocks(file: str) -> Iterator[Block]:
    """The blocks of commands of one file, in order."""
    text = (PROJECT / file).read_text()
    found = _in_manual(text) if file.startswith("man/") else _in_markdown(text)
    numbers: dict[str, int] = {}
    for heading, block in found:
        numbers[heading] = numbers.get(heading, 0) + 1
        yield Block(file, heading, numbers[heading], block)


def fences(text: str) -> Iterator[tuple[str, str, str]]:
    """Heading, language and content of each fenced block of a Markdown file."""
    for fence in _FENCE.finditer(text):
        outside = _FENCE.sub("", text[: fence.start()])
        headings = _HEADING.findall(outside)
        yield headings[-1] if headings else "", fence[1], fence[2]


def _in_markdown(text: str) -> Iterator[tuple[str, str]]:
    for heading, language, content in fences(text):
        if language == "sh":
            yield heading, content
        elif language == "console" and (typed := _typed(content)):
            yield heading, typed


def _in_manual(text: str) -> Iterator[tuple[str, str]]:
    """What stands behind a prompt. All lines of a section that follow each other are one block."""
    for section in re.split(r"^(?=\.Sh )", text, flags=re.MULTILINE):
        heading = _SECTION.match(section)
        lines = [
            *_DISPLAY.findall(section),
            *(line for part in _LITERAL.findall(section) for line in part.splitlines()),
        ]
        if heading and (typed := _typed("\n".join(lines))):
            yield heading[1], typed


def _typed(content: str) -> str:
    """The lines behind a prompt."""
    return "".join(f"{match[1]}\n" for line in content.splitlines() if (match := _PROMPT.fullmatch(line)))


def claims(folder: Path = PROJECT / "tests") -> list[tuple[str, str, int]]:
    """What tests say that they run: the literal arguments of their calls of `commands`."""
    found = []
    for path in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _is_commands(node.func):
                file, heading, *number = [ast.literal_eval(argument) for argument in node.args]
                found.append((file, heading, number[0] if number else 1))
    return found


def _is_commands(function: ast.expr) -> bool:
    name = (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )
    return name == "commands"
