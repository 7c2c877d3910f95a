"""What can go wrong with an answer of the embedded tailscaled: values for `LocalAPI.faults`."""

import threading
from dataclasses import replace

from contrib.demo.localapi import JSON, TEXT, Answer, Fault

_PATIENCE = 60.0
"""Seconds after which something that hangs gives up, so that a test that forgot to release it ends."""


def status(code: int, text: str = "something is wrong") -> Fault:
    """Answer with another status code and a text."""
    return lambda _: Answer(code, f"{text}\n".encode(), TEXT)


def body(content: bytes) -> Fault:
    """Answer with another body."""
    return lambda answer: replace(answer, status=200, body=content, content_type=JSON)


def half(answer: Answer) -> Answer:
    """Half of the JSON, as if that were all."""
    return replace(answer, body=answer.body[: len(answer.body) // 2])


def cut(answer: Answer) -> Answer:
    """Announce the whole answer, send half of it and close the connection."""
    return replace(answer, cut=True)


def closed(_: Answer) -> None:
    """Close the connection without an answer."""


def hang(release: threading.Event) -> Fault:
    """Say nothing until released, then close the connection."""

    def wait(_: Answer) -> None:
        release.wait(_PATIENCE)

    return wait


def delay(seconds: float) -> Fault:
    """The right answer, late."""
    return lambda answer: answer if not threading.Event().wait(seconds) else None


def huge(size: int) -> Fault:
    """A correct JSON document of about `size` bytes that says nothing."""
    return body(b'{"Version":"' + b"x" * size + b'"}')
