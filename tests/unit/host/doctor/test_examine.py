"""The whole examination: which sections there are for whom, and that none of them ends it."""

import ipaddress
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pam_tailscale.errors import AgentUnavailableError, HostError
from pam_tailscale.host.accounts import Entry, parse_passwd
from pam_tailscale.host.answers import Answers
from pam_tailscale.host.arrangement import Wanted, arrange
from pam_tailscale.host.doctor import ask, examine, halves, look, pamstack
from pam_tailscale.host.doctor.check import Check, State, worst
from pam_tailscale.host.doctor.examine import Examiner, Report, Wish, states
from pam_tailscale.host.doctor.halves import Halves, Switched
from pam_tailscale.host.doctor.places import Place
from pam_tailscale.host.doctor.walking import Question, Walked
from pam_tailscale.host.facts import Facts
from pam_tailscale.host.looking import gather
from tests.support.host_facts import TRIXIE, healthy, sockets, with_agent, with_sshd, with_tailscaled

SSHD = {"/etc/pam.d/sshd": b"auth required pam_unix.so\n"}
WISH = Wish("alice", ipaddress.ip_address("100.64.0.2"), 0)
TOLD = {"decision": "allow", "reason": "accepted", "check": None}


def on(openssh: Any = TRIXIE) -> Halves:
    """A host that is on."""
    files = {file.path: file.content for file in arrange(Wanted(openssh, 998, 997), SSHD) if file.content is not None}
    contents = {**SSHD, **files, halves.MARKER: b"{}"}
    return Halves(openssh, contents, {path: Place(path, stat.S_IFREG | 0o644) for path in contents})


OFF = Halves(TRIXIE, SSHD)


def examiner(seen: Halves = OFF, facts: Facts | None = None) -> Examiner:
    """Of a host whose facts are known."""
    one = Examiner()
    one.__dict__.update(facts=facts or healthy(), halves=seen, answers=Answers(), pam=[])
    return one


class Asked:
    """What PAM was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *results: str) -> None:
        self.questions: list[Question] = []
        self.results = results or ("PAM_AUTH_ERR",)
        monkeypatch.setattr(examine, "walk", self.walk)

    def walk(self, questions: Sequence[Question]) -> tuple[Walked, ...]:
        self.questions += questions
        steps = tuple(zip(("pam_authenticate", "pam_acct_mgmt"), self.results, strict=False))
        return tuple(Walked(question.user, steps) for question in questions)


def explains(monkeypatch: pytest.MonkeyPatch, document: dict[str, Any] | None) -> None:
    """What the agent says to a login; None: it does not answer."""

    def answer(*_: object) -> dict[str, Any]:
        if document is None:
            raise AgentUnavailableError("nobody answers")
        return document

    monkeypatch.setattr(examine, "ask_explanation", answer)


def sections(one: Examiner) -> set[str]:
    """Names of the sections that were looked at: each of them fails, and says so under its name."""

    def fail(*_: object) -> list[Check]:
        raise HostError("seen")

    for name in ("_rows", "_effects", "_running", "_services", "_accounts", "_tailnet"):
        setattr(one, name, fail)
    one.__dict__.pop("pam")
    one._pam = fail  # type: ignore[method-assign]
    return {check.name for check in one.run(None).checks if check.state is State.UNKNOWN and check.what == "seen"}


def test_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and nothing that it did not see."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    report = examine.examine()
    assert (report.switched, [check.name for check in report.checks]) == (None, ["root"])
    assert worst(report.checks) is State.UNKNOWN


def test_sections() -> None:
    """What concerns a host that is on, off, and in between."""
    everywhere = {"preconditions", "accounts", "tailnet"}
    assert sections(examiner(OFF)) == everywhere
    assert sections(examiner(on())) == everywhere | {"effective", "sshd-running", "pam", "services"}
    contents = dict(on().contents)
    contents[halves.DISABLED] = contents.pop(halves.DROP_IN)
    assert sections(examiner(Halves(TRIXIE, contents))) == everywhere | {"services"}


@pytest.mark.parametrize("error", [HostError("broken"), RuntimeError("broken"), KeyError("broken")])
def test_a_section_that_fails_is_a_finding(error: Exception) -> None:
    """And the others go on."""

    def fail() -> list[Check]:
        raise error

    one = examiner()
    one._tailnet = fail  # type: ignore[method-assign]
    one.__dict__["entries"] = ()
    found = {check.name: check for check in one.run(None).checks}
    assert found["tailnet"].state is State.UNKNOWN
    assert "broken" in found["tailnet"].what
    assert "uid-0" in found


def test_facts_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is said to be unknown, and it is not said that all is well."""

    def fail() -> Facts:
        raise RuntimeError("broken")

    monkeypatch.setattr(gather, "look", fail)
    report = Examiner().run(None)
    assert State.OK not in {check.state for check in report.checks}
    assert states(report)[State.UNKNOWN] == len(report.checks)


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([{"ready": False, "agent": {"uptime_s": 0}}, {"ready": True, "agent": {"uptime_s": 0}}], 2),
        ([{"ready": False, "agent": {"uptime_s": 5}}], 1),
        ([None], 1),
    ],
    ids=["it has just begun", "it has had its time", "nobody answers"],
)
def test_an_agent_that_starts_is_given_a_moment(
    monkeypatch: pytest.MonkeyPatch, answers: list[dict[str, Any] | None], asked: int
) -> None:
    """As where systemd starts it for this very question; an agent that has had its time is judged as it is."""
    left = list(answers)

    def answer(*_: object) -> dict[str, Any]:
        found = left.pop(0)
        if found is None:
            raise AgentUnavailableError("nobody answers")
        return found

    monkeypatch.setattr(examine, "ask_document", answer)
    monkeypatch.setattr(gather, "look", healthy)
    assert Examiner().facts == healthy()
    assert len(answers) - len(left) == asked


def test_a_login_of_which_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is unknown as well."""

    def fail() -> Facts:
        raise RuntimeError("broken")

    monkeypatch.setattr(gather, "look", fail)
    report = Examiner().run(WISH)
    assert report.login is not None
    assert (report.login.explanation, report.login.why_not_explained) == (None, "broken")


def test_a_damaged_marker_answers_nothing() -> None:
    """That it is damaged is said elsewhere."""
    seen = on()
    one = examiner(Halves(TRIXIE, {**seen.contents, halves.MARKER: b"x"}, seen.places))
    del one.__dict__["answers"]
    assert one.answers == Answers()


def test_lines_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By sshd itself, where it was seen to follow them."""
    one = examiner(on())
    monkeypatch.setattr(one, "_rows", lambda _: [Check("earlier-setting", State.PROBLEM, "")])
    monkeypatch.setattr(one, "_effects", lambda: [Check("effective", State.PROBLEM, "")])
    explains(monkeypatch, None)
    names = [check.name for check in one.run(None).checks]
    assert "effective" in names
    assert "earlier-setting" not in names


# Asking PAM


def test_own_address_and_nobodys_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root and the empty passwords, from where nobody may come in, on a port that is no sshd's."""
    asked, one = Asked(monkeypatch), examiner(on())
    one.__dict__["entries"] = look_at("decoy", "alice")
    monkeypatch.setattr(look, "text_of", lambda _: "decoy::1::::::\nalice:*:1::::::\n")
    found = {check.name: check for check in one._accounts(Switched.ON)}
    assert [(q.user, q.client, q.client_port, q.server, q.server_port, q.interface) for q in asked.questions] == [
        (user, "100.64.0.1", 9, "100.64.0.1", 9, "") for user in ("root", "decoy")
    ]
    assert found["pam-refuses"].state is State.OK
    assert found["empty-passwords"].items == ("decoy",)


def look_at(*names: str) -> tuple[Entry, ...]:
    """Accounts of these names."""
    text = "".join(f"{name}:x:{number}:{number}::/:/bin/sh\n" for number, name in enumerate(names, 1000))
    return parse_passwd(text)


@pytest.mark.parametrize(
    ("pam", "drop_in"),
    [
        ([Check("pam-order", State.PROBLEM, "")], None),
        ([Check("pam-module", State.PROBLEM, "")], None),
        ([], b"Match LocalAddress 10.0.0.0/8 Address 10.0.0.0/8\n"),
        ([], b"no Match at all\n"),
    ],
    ids=["another line first", "no module", "other addresses", "no addresses"],
)
def test_pam_is_not_asked_where_others_would_answer(
    monkeypatch: pytest.MonkeyPatch, pam: list[Check], drop_in: bytes | None
) -> None:
    """It would be a failed login of that person, and be counted."""
    asked, seen = Asked(monkeypatch), on()
    if drop_in is not None:
        seen = Halves(TRIXIE, {**seen.contents, halves.DROP_IN: drop_in}, seen.places)
    one = examiner(seen)
    one.__dict__.update(pam=pam, entries=look_at("alice"))
    explains(monkeypatch, TOLD)
    found = {check.name: check for check in one._accounts(Switched.ON)}
    login = one._login(WISH, Switched.ON)
    assert (asked.questions, login.walked) == ([], None)
    assert found["pam-refuses"].state is State.UNKNOWN
    assert "not what they should be" in login.why_not_walked


def test_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the node's address of its family, with tailscaled's interface."""
    asked = Asked(monkeypatch, "PAM_SUCCESS", "PAM_SUCCESS")
    explains(monkeypatch, TOLD)
    login = examiner(on())._login(Wish("alice", ipaddress.ip_address("fd7a:115c:a1e0::2"), 7), Switched.ON)
    assert login.walked is not None
    assert login.walked.succeeded
    (question,) = asked.questions
    assert (question.service, question.user, question.client, question.client_port) == (
        "sshd-tailscale",
        "alice",
        "fd7a:115c:a1e0::2",
        7,
    )
    assert (question.server, question.server_port) == ("fd7a:115c:a1e0::1", 9)
    assert (question.interface, question.index) == ("tailscale0", 7)


def test_a_port_that_no_sshd_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the agent would take the question for a method of somebody's connection, and give it no second one."""
    asked = Asked(monkeypatch)
    explains(monkeypatch, TOLD)
    listening = (*sockets("0.0.0.0", port=22), *sockets("::", port=9), *sockets("::", port=7))
    examiner(on(), with_sshd(healthy(), sockets=listening))._login(WISH, Switched.ON)
    assert [question.server_port for question in asked.questions] == [13]


@pytest.mark.parametrize(
    ("document", "switched", "why"),
    [
        ({**TOLD, "decision": "check"}, Switched.ON, "asks for a check"),
        ({**TOLD, "check": {"by": "oidc"}}, Switched.ON, "asks for a check"),
        (TOLD, Switched.OFF, "this host is off"),
        (TOLD, Switched.OUT_OF_FORCE, "this host is out of force"),
        (None, Switched.ON, "does not explain"),
    ],
    ids=["a check", "a check that is passed", "off", "out of force", "no agent"],
)
def test_a_login_that_is_not_walked(
    monkeypatch: pytest.MonkeyPatch, document: dict[str, Any] | None, switched: Switched, why: str
) -> None:
    """Above all where that would start a check."""
    asked = Asked(monkeypatch)
    explains(monkeypatch, document)
    login = examiner(on())._login(WISH, switched)
    assert (asked.questions, login.walked) == ([], None)
    assert why in login.why_not_walked


def test_no_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it every answer would be a no that no login gets."""
    asked = Asked(monkeypatch)
    explains(monkeypatch, TOLD)
    login = examiner(on(), with_tailscaled(healthy(), interface=None))._login(WISH, Switched.ON)
    assert (asked.questions, login.walked) == ([], None)


# What else is put together here


def test_services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without systemd the sockets are still looked at."""
    monkeypatch.setattr(examine, "booted", lambda: False)
    monkeypatch.setattr(look, "place", lambda path: Place(str(path)))
    found = {check.name: check.state for check in examiner(on())._services()}
    assert found["run-directory"] is State.PROBLEM
    assert found["units"] is found["ssh-unit"] is State.UNKNOWN
    assert not list(tmp_path.iterdir())


def test_sshd_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is said with why, for its files and for what runs."""

    def fail(*_: object) -> Any:
        raise HostError("bad line")

    one = examiner(on())
    one.__dict__["entries"] = ()
    monkeypatch.setattr(ask, "effects", fail)
    assert "bad line" in one._effects()[0].what
    with pytest.raises(HostError, match="bad line"):
        one._running()


def test_tailnet_that_cannot_be_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All its checks are there, as unknown."""
    config = healthy().config
    monkeypatch.setattr(type(config.tailscaled), "socket", tmp_path / "none", raising=False)
    found = examiner(on())._tailnet()
    assert {check.state for check in found} == {State.UNKNOWN}
    assert len(found) == 4


def test_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent's is compared with the module's."""
    one = examiner(on(), with_agent(healthy(), mode="observe"))
    monkeypatch.setattr(look, "service", lambda name: pamstack.read(name, lambda _: None))
    found = {check.name: check for check in one._pam()}
    assert found["pam-mode"].state is State.PROBLEM


def test_report() -> None:
    """Numbers for the last line."""
    report = Report(Switched.OFF, (Check("a", State.OK, ""), Check("b", State.OK, ""), Check("c", State.WARNING, "")))
    assert states(report) == {State.PROBLEM: 0, State.UNKNOWN: 0, State.WARNING: 1, State.OK: 2}
