"""JUnit XML: what a CI system reads is well formed whatever the policy's names are."""

from xml.etree import ElementTree as ET  # reads what was written here

from pam_tailscale.cli.policy.junit import document
from pam_tailscale.policy.sshtests import Result, Wanted


def test_a_failure_says_what_was_wanted_and_found() -> None:
    """And by which rule."""
    results = (
        Result(1, "alice@example.com", "web", "root", Wanted.DENY, "accept", 3),
        Result(1, "alice@example.com", "web", "deploy", Wanted.ACCEPT, "accept", 3),
        Result(2, "bob@example.com", "", "", None, "src is no node of the tailnet"),
    )
    suite = ET.fromstring(document(results, "policy.hujson"))  # noqa: S314 (our own text)
    assert suite.attrib == {"name": "policy.hujson", "tests": "3", "failures": "2"}
    first, second, third = suite
    assert first[0].attrib["message"] == "wanted deny, found accept, by ssh 3"
    assert len(second) == 0
    assert first.attrib["classname"] == "sshTests.1"
    assert third[0].text == "wanted valid, found src is no node of the tailnet"


def test_hostile_names() -> None:
    """Neither markup nor what XML cannot hold."""
    name = "\x00\x1b]<!--&\"'\ufffe"
    suite = ET.fromstring(document((Result(1, name, name, name, Wanted.DENY, name),), name))  # noqa: S314 (as above)
    assert len(suite) == 1
    assert "\x1b" not in document((), name)


def test_each_section_has_its_own_numbers() -> None:
    """The first of `tests` is another one than the first of `sshTests`."""
    result = Result(1, "alice@example.com", "tag:web:22", "", Wanted.ACCEPT, "accept", section="tests", by="acls 1")
    (case,) = ET.fromstring(document((result,), "policy.hujson"))  # noqa: S314 (as above)
    assert case.attrib["classname"] == "tests.1"
