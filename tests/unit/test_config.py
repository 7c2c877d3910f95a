"""The configuration: every key, and errors that name the file, the line and the key."""

from pathlib import Path

import pytest

from pam_tailscale import paths
from pam_tailscale.config import AgentConfig, Config, TailscaledConfig, parse
from pam_tailscale.errors import ConfigError
from pam_tailscale.model import Mode


def test_nothing_is_the_defaults() -> None:
    """An empty file is a whole one."""
    assert parse("", "agent.toml") == Config()
    assert Config().agent.socket == paths.AGENT_SOCKET


def test_every_key() -> None:
    """Each in its section."""
    text = """
        mode = "observe"
        allow_root = false
        trust_operator = true
        [agent]
        user = "u"
        keys_user = "k"
        admin_group = "g"
        socket = "/s"
        reader_socket = "/r"
        pin = "/p"
        threads = 64
        [tailscaled]
        socket = "/t"
        timeout = 9.5
    """
    assert parse(text, "agent.toml") == Config(
        mode=Mode.OBSERVE,
        allow_root=False,
        trust_operator=True,
        agent=AgentConfig("u", "k", "g", Path("/s"), Path("/r"), Path("/p"), 64),
        tailscaled=TailscaledConfig(Path("/t"), 9.5),
    )


def test_a_whole_number_is_a_number() -> None:
    """Seconds need no point."""
    assert parse("[tailscaled]\ntimeout = 2", "agent.toml").tailscaled.timeout == 2.0


def test_dotted_keys_and_inline_tables_are_sections() -> None:
    """TOML's other ways to write the same."""
    assert parse("agent.threads = 3", "agent.toml").agent.threads == 3
    assert parse("agent = {threads = 3}", "agent.toml").agent.threads == 3


WRONG: dict[str, tuple[str, int, str]] = {
    "unknown key": ("allow_rot = true", 1, "allow_rot is unknown here; known: agent, allow_root, mode, "),
    "unknown section": ("\n[agents]\nuser = 'x'", 2, "agents is unknown here"),
    "unknown key of a section": ("mode = 'enforce'\n\n[agent]\n# no\nusr = 'x'", 5, "agent.usr is unknown here"),
    "a key in the wrong section": (
        "[tailscaled]\nthreads = 1\n[agent]\nthreads = 1",
        2,
        "tailscaled.threads is unknown",
    ),
    "mode": ("mode = 'off'", 1, "mode must be one of enforce, observe"),
    "mode of another type": ("mode = ['enforce']", 1, "mode must be one of"),
    "flag in quotes": ("allow_root = 'false'", 1, "allow_root must be true or false"),
    "flag as number": ("allow_root = 0", 1, "allow_root must be true or false"),
    "text as number": ("[agent]\nuser = 5", 2, "agent.user must be text in quotes"),
    "relative path": ("[agent]\nsocket = 'agent.sock'", 2, "agent.socket must be an absolute path in quotes"),
    "path as number": ("[agent]\npin = 1", 2, "agent.pin must be an absolute path in quotes"),
    "threads as text": ("[agent]\nthreads = '8'", 2, "agent.threads must be a whole number"),
    "threads as flag": ("[agent]\nthreads = true", 2, "agent.threads must be a whole number"),
    "threads with a point": ("[agent]\nthreads = 8.0", 2, "agent.threads must be a whole number"),
    "no threads": ("[agent]\nthreads = 0", 2, "agent.threads must be from 1 to 64"),
    "too many threads": ("[agent]\nthreads = 65", 2, "agent.threads must be from 1 to 64"),
    "timeout as flag": ("[tailscaled]\ntimeout = true", 2, "tailscaled.timeout must be a number"),
    "no timeout": ("[tailscaled]\ntimeout = 0", 2, "tailscaled.timeout must be more than 0"),
    "timeout as long as a login": ("[tailscaled]\ntimeout = 10.0", 2, "less than 10 seconds"),
    "timeout without end": ("[tailscaled]\ntimeout = inf", 2, "less than 10 seconds"),
    "timeout that is no number": ("[tailscaled]\ntimeout = nan", 2, "less than 10 seconds"),
    "section as value": ("\nagent = 1", 2, "agent must be a section"),
    "quoted key": ('"allow_root" = 1', 1, "allow_root must be true or false"),
    "quoted section": ('\n["agent"]\nuser = 1', 3, "agent.user must be text"),
    "section with a comment": ("[agent] # ours\nuser = 1", 2, "agent.user must be text"),
    "bound of a dotted key": ("agent.threads = 65", 1, "agent.threads must be from 1 to 64"),
}


@pytest.mark.parametrize(("text", "line", "message"), WRONG.values(), ids=WRONG.keys())
def test_mistakes_name_their_line(text: str, line: int, message: str) -> None:
    """File, line, key, and what it must be."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "/etc/agent.toml")
    assert str(caught.value).startswith(f"/etc/agent.toml: line {line}: ")
    assert message in str(caught.value)


DAMAGED = {
    "half a line": "mode = ",
    "no TOML": "{not toml}",
    "a key twice": "mode = 'enforce'\nmode = 'observe'",
    "a section twice": "[agent]\n[agent]",
    "no end of quotes": "mode = 'enforce",
    "control character": "mode = 'a\0b'",
    "nested without end": "mode = " + "[" * 5000,
    "a number without end": "mode = 1" + "0" * 5000,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_an_error_with_its_name(text: str) -> None:
    """Never a traceback: a reload with it keeps the configuration before."""
    with pytest.raises(ConfigError, match=r"^/etc/agent\.toml: "):
        parse(text, "/etc/agent.toml")


def test_a_path_with_a_nul_is_an_error() -> None:
    """The kernel has no such path."""
    with pytest.raises(ConfigError, match=r"line 2: agent\.socket must be an absolute path"):
        parse('[agent]\nsocket = "/a\\u0000b"', "x")


def test_a_key_with_a_dot_in_quotes() -> None:
    """Line numbers are found by looking, which must not itself fail."""
    with pytest.raises(ConfigError, match=r"a\.b is unknown"):
        parse('"a.b" = 1', "x")
