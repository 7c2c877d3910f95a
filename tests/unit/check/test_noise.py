"""The handshake and the records: against what a real headscale sent, and against everything a bad one could send."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.check import noise
from pam_tailscale.check.noise import Handshake, HandshakeError, Records, frame, take
from pam_tailscale.errors import CheckError
from tests.support.control_plane import respond

RECORDED = Path(__file__).parents[2] / "data" / "ts2021-headscale-0.29.2.json"
A, B = bytes(range(32)), bytes(range(32, 64))


def private(key: bytes) -> X25519PrivateKey:
    """A private key of these bytes."""
    return X25519PrivateKey.from_private_bytes(key)


def recorded() -> dict[str, Any]:
    """What was said with a real headscale, and the keys it was said with, which exist nowhere else."""
    document: dict[str, Any] = json.loads(RECORDED.read_text())
    return document


def recorded_handshake(document: dict[str, Any]) -> Handshake:
    """Our half of the recorded handshake."""
    control = X25519PublicKey.from_public_bytes(bytes.fromhex(document["control_key"].removeprefix("mkey:")))
    machine = private(bytes.fromhex(document["machine_key"].removeprefix("privkey:")))
    return Handshake(machine, control, private(bytes.fromhex(document["ephemeral_key"])), document["version"])


def pair() -> tuple[Records, Records]:
    """The two ends of a connection."""
    return Records(A, B), Records(B, A)


def handshake(control: X25519PrivateKey) -> Handshake:
    """A handshake of this client with a control plane."""
    return Handshake(private(A), control.public_key(), private(B))


def test_a_recorded_conversation_is_repeated_byte_for_byte() -> None:
    """What we send is what headscale took, and what it sent is understood."""
    document = recorded()
    ours = recorded_handshake(document)
    assert ours.initiation == base64.b64decode(document["initiation"])
    received, records, understood = bytearray(), None, b""
    for step in document["steps"]:
        if "received" in step:
            received += base64.b64decode(step["received"])
            records = records or ours.finish(received)
            assert records is not None
            understood += records.open(bytes(received))
            received.clear()
        else:
            assert records is not None
            assert records.seal(base64.b64decode(step["text"])) == base64.b64decode(step["sent"])
    assert understood.startswith(b"\xff\xff\xffTS")
    assert b'{"accept":true' in understood


@pytest.mark.parametrize("size", [0, 1, 4077, 4078, 100_000])
def test_any_amount_of_data_goes_through(size: int) -> None:
    """In records of at most 4096 bytes, as the protocol has them; nothing is no record."""
    ours, theirs = pair()
    text = bytes(index % 251 for index in range(size))
    sealed = ours.seal(text)
    assert theirs.open(sealed) == text
    received, sizes = bytearray(sealed), []
    while (message := take(received)) is not None:
        assert message[0] == noise.RECORD
        sizes.append(3 + len(message[1]))
    assert sum(sizes) == len(sealed) == size + 19 * len(sizes)
    assert max(sizes, default=0) <= noise.MESSAGE_MAX


@given(st.binary(max_size=9000), st.lists(st.integers(1, 5000), max_size=20))
def test_the_network_may_cut_the_stream_anywhere(text: bytes, cuts: list[int]) -> None:
    """What is whole is given out, in order, once."""
    ours, theirs = pair()
    sealed = ours.seal(text)
    opened, at = b"", 0
    for cut in [*cuts, len(sealed)]:
        opened += theirs.open(sealed[at : at + cut])
        at += cut
    assert opened == text


def test_each_record_has_a_nonce_of_its_own() -> None:
    """Counted from 0, big-endian, as Tailscale does against the Noise specification."""
    ours, theirs = pair()
    first, second = ours.seal(b"same"), ours.seal(b"same")
    assert first != second
    assert theirs.open(first) + theirs.open(second) == b"samesame"


SEALED = Records(B, A).seal(b"accept")


@pytest.mark.parametrize(
    "data",
    [
        frame(noise.RECORD, b""),
        frame(noise.RECORD, b"x" * 15),
        frame(noise.RECORD, b"x" * 16),
        frame(noise.RECORD, b"x" * 4094),
        frame(noise.RECORD, b"x" * 65535)[:3],
        frame(noise.ERROR, SEALED[3:]),
        frame(noise.RESPONSE, SEALED[3:]),
        frame(0, SEALED[3:]),
        SEALED[:-1] + bytes([SEALED[-1] ^ 1]),
        SEALED[:3] + bytes([SEALED[3] ^ 0x80]) + SEALED[4:],
        SEALED + SEALED,
        Records(A, B).seal(b"accept"),
    ],
    ids=[
        "empty",
        "shorter than a tag",
        "a tag of nothing",
        "too long",
        "says that it is too long",
        "error",
        "response",
        "no kind",
        "tag altered",
        "text altered",
        "repeated",
        "our own, sent back",
    ],
)
def test_a_bad_record_ends_the_connection(data: bytes) -> None:
    """Nothing that is not the next record of the control plane is taken for its word."""
    ours = Records(A, B)
    with pytest.raises(CheckError):
        ours.open(data)


def test_records_out_of_order_are_refused() -> None:
    """The second is not taken for the first."""
    ours, theirs = pair()
    theirs.seal(b"first")
    with pytest.raises(CheckError, match="altered on the way"):
        ours.open(theirs.seal(b"second"))


def test_a_key_is_not_used_for_too_many_records() -> None:
    """A nonce is never used twice, and the last one never at all."""
    ours, theirs = pair()
    ours._sent = theirs._opened = noise.RECORDS_MAX - 1
    assert theirs.open(ours.seal(b"the last")) == b"the last"
    with pytest.raises(CheckError, match="used up"):
        ours.seal(b"one more")
    with pytest.raises(CheckError, match="used up"):
        theirs.open(frame(noise.RECORD, b"x" * 20))


def test_a_handshake_with_the_other_half() -> None:
    """Both ends have a connection then, and the server knows whose it is."""
    control = private(bytes(range(64, 96)))
    ours = handshake(control)
    message, theirs, machine = respond(ours.initiation, control)
    received = bytearray(message[:20])
    assert ours.finish(received) is None
    received += message[20:] + theirs.seal(b"early")
    records = ours.finish(received)
    assert records is not None
    assert records.open(bytes(received)) == b"early"
    assert theirs.open(records.seal(b"ours")) == b"ours"
    assert machine == "mkey:" + noise.raw(private(A).public_key()).hex()


def test_the_initiation_is_as_long_as_the_protocol_says() -> None:
    """Version, kind, length, then ephemeral key, sealed machine key and tag (controlbase, initiationMessage)."""
    initiation = handshake(private(bytes(range(64, 96)))).initiation
    assert len(initiation) == 101
    assert initiation[:5] == bytes([0, noise.VERSION, noise.INITIATION, 0, 96])


def altered(message: bytes, position: int) -> bytes:
    """The message with one bit changed."""
    return message[:position] + bytes([message[position] ^ 1]) + message[position + 1 :]


@pytest.mark.parametrize("position", [3, 34, 35, 50], ids=["key", "key's end", "tag", "tag's end"])
def test_an_altered_answer_is_refused(position: int) -> None:
    """Whoever has not the control plane's private key cannot answer."""
    control = private(bytes(range(64, 96)))
    ours = handshake(control)
    message, _, _ = respond(ours.initiation, control)
    with pytest.raises(HandshakeError, match="not made with its key"):
        ours.finish(bytearray(altered(message, position)))


def test_another_control_plane_is_refused() -> None:
    """One that has another key than the one whose key we fetched cannot even read what we send."""
    with pytest.raises(CheckError):
        respond(handshake(private(bytes(range(64, 96)))).initiation, private(bytes(range(65, 97))))


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (frame(noise.ERROR, b""), "refuses the handshake"),
        (frame(noise.ERROR, b"unsupported\n\x1b[2J client"), r"refuses the handshake \('unsupported\\n\\x1b"),
        (frame(noise.ERROR, b"\xff\xfe"), "refuses the handshake"),
        (frame(noise.RECORD, b"x" * 48), "of kind 4"),
        (frame(noise.RESPONSE, b"x" * 47), "47 bytes of kind 2"),
        (frame(noise.RESPONSE, b"x" * 49), "49 bytes of kind 2"),
        (frame(noise.RESPONSE, b""), "0 bytes of kind 2"),
        (frame(noise.RESPONSE, bytes(48)), "protects nothing"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a message of"),
    ],
    ids=["error", "text", "no text", "record", "short", "long", "empty", "low order", "http"],
)
def test_a_bad_answer_to_the_handshake_is_refused(message: bytes, text: str) -> None:
    """With a text that says what to look at, in which nothing of the other side acts."""
    with pytest.raises(CheckError, match=text):
        handshake(private(bytes(range(64, 96)))).finish(bytearray(message))


def test_a_control_key_that_protects_nothing_is_refused() -> None:
    """Public keys of low order give the same secret to everybody."""
    with pytest.raises(HandshakeError, match="protects nothing"):
        Handshake(private(A), X25519PublicKey.from_public_bytes(bytes(32)), private(B))


@pytest.mark.parametrize("count", [0, 2, 3, 50])
def test_an_answer_that_is_not_whole_is_waited_for(count: int) -> None:
    """Until it is."""
    control = private(bytes(range(64, 96)))
    ours = handshake(control)
    message, _, _ = respond(ours.initiation, control)
    assert ours.finish(bytearray(message[:count])) is None


def test_no_key_is_shown() -> None:
    """Neither by the handshake nor by the connection."""
    control = private(bytes(range(64, 96)))
    ours = handshake(control)
    message, _, _ = respond(ours.initiation, control)
    records = ours.finish(bytearray(message))
    shown = repr(ours) + repr(records) + str(ours)
    assert A.hex() not in shown
    assert repr(A) not in shown
