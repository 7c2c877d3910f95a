"""The agent gets the account's name byte for byte, or nobody gets in; the log is one printable line."""

from collections.abc import Callable

import pytest

from tests.support import pamstack
from tests.support.pamstack import Login, PamStack
from tests.support.scripted_agent import ALLOW, say, scripted_agent

MakeStack = Callable[..., PamStack]

# The name, and how a log line shows it.
NAMES = {
    "255 bytes": (b"x" * 255, "x" * 255),
    "255 hostile bytes": (b"\xff" * 255, "\\xff" * 255),
    "newline": (b"alice\nroot", "alice\\x0aroot"),
    "trailing newline": (b"root\n", "root\\x0a"),
    "not UTF-8": (b"\xffalice\xfe", "\\xffalice\\xfe"),
    "UTF-8": ("ålice".encode(), "\\xc3\\xa5lice"),
    "all digits": (b"0", "0"),
    "other case": (b"ROOT", "ROOT"),
    "domain": (b"DOM\\user", "DOM\\\\user"),
    "quotes": (b'a" decision=allow user="root', 'a\\" decision=allow user=\\"root'),
    "space": (b" root ", " root "),
    "format": (b"%s%n%d", "%s%n%d"),
    "protocol words": (b"verdict", "verdict"),
    "equals": (b"mode=observe", "mode=observe"),
    "escape": (b"\x1b[31m", "\\x1b[31m"),
}


@pytest.mark.parametrize("name", [name for name, _ in NAMES.values()], ids=NAMES.keys())
def test_name_reaches_the_agent_unchanged(stack: MakeStack, name: bytes) -> None:
    """No byte is changed, cut, or taken for the protocol's own; PAM keeps the name it had."""
    with scripted_agent(say(ALLOW)) as agent:
        run = stack(agent).run("auth", "account", "open", login=Login(user=name))
    assert run.codes == [pamstack.SUCCESS] * 3
    assert [asked.pairs["user"].encode("utf-8", "surrogateescape") for asked in agent.asked] == [name] * 3
    assert all("user" in step.kept for step in run.steps)


@pytest.mark.parametrize(("name", "logged"), NAMES.values(), ids=NAMES.keys())
def test_name_is_quoted_in_the_log(stack: MakeStack, name: bytes, logged: str) -> None:
    """Nobody writes log lines, or fields of them, by choosing a name."""
    run = stack(None).run("auth", login=Login(user=name))
    assert len(run.log) == 1
    assert f'reason=agent_unreachable user="{logged}" addr=100.64.0.7:50123 ' in run.log[0]
    assert run.log[0].isascii()
    assert run.log[0].isprintable()


@pytest.mark.parametrize("name", [b"", b"x" * 256, b"x" * 2000], ids=["empty", "256 bytes", "2000 bytes"])
@pytest.mark.parametrize("step", ["auth", "account", "open"])
def test_name_that_cannot_be_an_account_is_refused(stack: MakeStack, step: str, name: bytes) -> None:
    """It is not cut to one that could be; the agent is not asked, and the log is bounded."""
    with scripted_agent(say(ALLOW)) as agent:
        run = stack(agent).run(step, login=Login(user=name))
    codes = {"auth": pamstack.AUTH_ERR, "account": pamstack.PERM_DENIED, "open": pamstack.SESSION_ERR}
    assert run.codes == [codes[step]]
    assert agent.connections == 0
    assert "reason=bad_user" in run.log[0]
    assert len(run.log[0]) < 1500


def test_strange_name_over_another_network_is_not_ours(stack: MakeStack) -> None:
    """Also a name we would refuse is none of our business there."""
    run = stack(None).run("auth", login=Login(user=b"x" * 256, connection="192.0.2.7 5 192.0.2.1 22"))
    assert (run.codes, run.log) == ([pamstack.IGNORED], ())
