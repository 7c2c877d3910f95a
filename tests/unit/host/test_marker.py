"""The marker keeps what was answered about the host, and nothing that was answered about one run."""

import dataclasses

import pytest

from pam_tailscale.errors import HostError
from pam_tailscale.host import marker
from pam_tailscale.host.answers import Answers, Methods

ALL = Answers(
    repin=True,
    allow_root=True,
    methods=Methods.WITH_KEY,
    no_other_way=True,
    cut_me_off=True,
    confined_sshd=True,
    replace_edits=True,
)
ABOUT_THE_HOST = Answers(allow_root=True, methods=Methods.WITH_KEY, no_other_way=True, confined_sshd=True)


def test_what_is_about_the_host_is_remembered() -> None:
    """A new pin is asked about each time."""
    assert marker.decode(marker.encode(ALL)) == ABOUT_THE_HOST
    assert marker.decode(marker.encode(Answers())) == Answers()


def test_every_answer_is_either() -> None:
    """A new one must be thought about."""
    fields = {field.name for field in dataclasses.fields(Answers)}
    assert fields == {"repin", "cut_me_off", "replace_edits", "allow_root", "methods", "no_other_way", "confined_sshd"}


def test_an_answer_given_now_comes_before_one_of_before() -> None:
    """What was not given now stays."""
    merged = marker.merged(Answers(methods=Methods.REPLACE, repin=True), ABOUT_THE_HOST)
    assert merged == dataclasses.replace(ABOUT_THE_HOST, methods=Methods.REPLACE, repin=True)
    assert marker.merged(Answers(), Answers()) == Answers()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'{"format": 2, "answers": {}}',
        b'{"format": 1, "answers": {}}',
        b'{"format": 1, "answers": null}',
        b'{"format": 1, "answers": {"allow_root": 1, "methods": "any", "no_other_way": 1, "confined_sshd": 1}}',
    ],
)
def test_a_damaged_marker_is_an_error(content: bytes) -> None:
    """It could have said anything."""
    with pytest.raises(HostError, match="the marker is damaged: run 'pam-tailscale disable'"):
        marker.decode(content)


def test_only_true_is_yes() -> None:
    """Not 1, and not a word."""
    content = marker.encode(ABOUT_THE_HOST).replace(b"true", b'"true"')
    assert marker.decode(content) == Answers(methods=Methods.WITH_KEY)
