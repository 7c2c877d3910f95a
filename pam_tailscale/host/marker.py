"""The marker: that this host is switched on, and what the administrator has answered for good.

Values in, bytes out and back; files are read and written elsewhere.
"""

import dataclasses
import json
from typing import Any

from pam_tailscale.errors import HostError
from pam_tailscale.host.answers import Answers, Methods

_FORMAT = 1
_REMEMBERED = ("allow_root", "methods", "no_other_way", "confined_sshd")
"""Answers about the host. The others are about one run, and are asked for again."""


def encode(answers: Answers) -> bytes:
    """The marker's content."""
    remembered = {name: getattr(answers, name) for name in _REMEMBERED}
    remembered["methods"] = answers.methods.value if answers.methods else None
    return json.dumps({"format": _FORMAT, "answers": remembered}, indent=1).encode() + b"\n"


def decode(content: bytes) -> Answers:
    """What was answered. Raises HostError for a marker that is damaged."""
    try:
        return _answers(json.loads(content))
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise HostError("the marker is damaged: run 'pam-tailscale disable', then 'pam-tailscale enable'") from err


def _answers(raw: Any) -> Answers:
    answers = raw["answers"]
    if raw["format"] != _FORMAT or set(answers) != set(_REMEMBERED):
        raise ValueError("unknown format")
    methods = Methods(answers["methods"]) if answers["methods"] is not None else None
    return Answers(methods=methods, **{name: answers[name] is True for name in _REMEMBERED if name != "methods"})


def merged(given: Answers, remembered: Answers) -> Answers:
    """What was given now, and where nothing was, what was answered before."""
    chosen = {
        field.name: getattr(given, field.name) or getattr(remembered, field.name)
        for field in dataclasses.fields(Answers)
    }
    return Answers(**chosen)
