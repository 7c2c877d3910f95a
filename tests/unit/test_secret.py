"""Secrets: known to who asks for them by name, and to nothing that prints, logs, formats or saves."""

import copy
import dataclasses
import json
import logging
import pickle
import traceback
from collections.abc import Callable

import pytest

from pam_tailscale.secret import Secret

TEXT = "tskey-hidden"
SECRET = Secret(TEXT)


@dataclasses.dataclass(frozen=True)
class Holder:
    """A record with a secret in it."""

    secret: Secret


def test_it_is_known_to_who_asks() -> None:
    """The one way."""
    assert SECRET.reveal() == TEXT


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        ascii,
        "{}".format,
        "{!s:>40}".format,
        lambda secret: f"{secret!r}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 (as logging does)
        lambda secret: repr([secret]),
        lambda secret: repr(Holder(secret)),
        lambda secret: repr(ValueError(secret)),
    ],
)
def test_it_is_not_seen(show: Callable[[Secret], str]) -> None:
    """However it is made into text."""
    assert TEXT not in show(SECRET)
    assert "<redacted>" in show(SECRET)


def test_it_is_not_in_a_log_or_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """Where most secrets are found."""
    logging.getLogger(__name__).warning("%s %r", SECRET, SECRET)
    with pytest.raises(KeyError) as raised:
        _ = dict[Secret, int]()[SECRET]
    text = caplog.text + "".join(traceback.format_exception(raised.value))
    assert "<redacted>" in text
    assert TEXT not in text


@pytest.mark.parametrize(
    "save",
    [
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        json.dumps,
        lambda secret: dict(vars(secret)),
        lambda secret: dataclasses.asdict(Holder(secret)),
    ],
    ids=["pickle", "copy", "deepcopy", "json", "vars", "asdict"],
)
def test_it_is_not_saved(save: Callable[[Secret], object]) -> None:
    """Nothing that writes objects writes this one."""
    with pytest.raises(TypeError) as raised:
        save(SECRET)
    assert TEXT not in str(raised.value)


def test_secrets_are_compared_as_what_they_are() -> None:
    """Also as keys; and a secret is not the text it hides."""
    again = Secret(TEXT)
    assert again == SECRET
    assert Secret("other") != SECRET
    assert SECRET != TEXT
    assert {SECRET: 1}[again] == 1


def test_an_empty_secret_is_none() -> None:
    """So that whoever has none can say so."""
    assert SECRET
    assert not Secret("")
