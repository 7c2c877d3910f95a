"""Noise as the control plane's ts2021 protocol frames it: Noise_IK_25519_ChaChaPoly_BLAKE2s, bytes in and bytes out.

Sources: the Noise specification, revision 34; Tailscale control/controlbase. No socket, clock or random number is here:
the ephemeral key is passed in, so that a recorded handshake can be replayed.
"""

import hashlib
import hmac
import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pam_tailscale.check.trouble import shown
from pam_tailscale.errors import CheckError

VERSION: Final = 142
"""The capability version we speak as: that of Tailscale 1.102 (tailcfg.CurrentCapabilityVersion)."""
INITIATION: Final = 1
RESPONSE: Final = 2
ERROR: Final = 3
RECORD: Final = 4
MESSAGE_MAX: Final = 4096
"""Bytes of a message with its header (controlbase, maxMessageSize)."""
TAG: Final = 16
"""Bytes by which sealing makes a text longer."""
RECORDS_MAX: Final = 2**64 - 1
"""Records under one key; the last nonce is never used (controlbase, invalidNonce)."""

_PROTOCOL = b"Noise_IK_25519_ChaChaPoly_BLAKE2s"
_HEADER = struct.Struct(">BH")
_INITIATION_HEADER = struct.Struct(">HBH")
_NONCE = struct.Struct(">IQ")  # big-endian, where the Noise specification has little-endian
_KEY = 32
_DATA_MAX = MESSAGE_MAX - _HEADER.size - TAG


class HandshakeError(CheckError):
    """The control plane does not take our handshake, or is not the one whose key we have."""


def raw(key: X25519PublicKey) -> bytes:
    """A public key as its 32 bytes."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def frame(kind: int, body: bytes) -> bytes:
    """A message with its header."""
    return _HEADER.pack(kind, len(body)) + body


def take(received: bytearray) -> tuple[int, bytes] | None:
    """Take one message, its kind and its body, off the front; None while it is not whole.

    Raises CheckError where the message is longer than any may be.
    """
    if len(received) < _HEADER.size:
        return None
    kind, length = _HEADER.unpack_from(received)
    end = _HEADER.size + length
    if end > MESSAGE_MAX:
        raise CheckError(f"the control plane sent a message of {end} bytes, of which {MESSAGE_MAX} are allowed")
    if len(received) < end:
        return None
    body = bytes(received[_HEADER.size : end])
    del received[:end]
    return kind, body


class Symmetric:
    """Hash and chaining key of a handshake (Noise 5.2). Each key it makes is used for one message, with nonce 0."""

    def __init__(self, version: int, control: X25519PublicKey) -> None:
        self._hash = self._chaining = hashlib.blake2s(_PROTOCOL).digest()
        self._key = b""
        self.mix_hash(b"Tailscale Control Protocol v%d" % version)
        self.mix_hash(raw(control))

    def mix_hash(self, data: bytes) -> None:
        """Bind everything that follows to what was said."""
        self._hash = hashlib.blake2s(self._hash + data).digest()

    def mix_shared(self, private: X25519PrivateKey, public: X25519PublicKey) -> None:
        """Mix in a Diffie-Hellman secret. Raises HandshakeError for a public key that gives none."""
        try:
            secret = private.exchange(public)
        except ValueError:  # a point of low order
            raise HandshakeError("the control plane offers a key that protects nothing: is it the right one?") from None
        self._chaining, self._key = self._derive(secret)

    def seal(self, text: bytes) -> bytes:
        """Encrypt with the key of the last secret."""
        sealed = ChaCha20Poly1305(self._key).encrypt(_NONCE.pack(0, 0), text, self._hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        """Decrypt with the key of the last secret. Raises HandshakeError."""
        try:
            text = ChaCha20Poly1305(self._key).decrypt(_NONCE.pack(0, 0), sealed, self._hash)
        except InvalidTag:
            raise HandshakeError(
                "the control plane's part of the handshake is not made with its key: does a proxy change what it sends?"
            ) from None
        self.mix_hash(sealed)
        return text

    def split(self) -> tuple[bytes, bytes]:
        """The keys of the connection: the initiator's, then the other side's."""
        return self._derive(b"")

    def _derive(self, material: bytes) -> tuple[bytes, bytes]:
        """Noise 4.3, HKDF with two outputs."""
        temporary = hmac.digest(self._chaining, material, "blake2s")
        first = hmac.digest(temporary, b"\x01", "blake2s")
        return first, hmac.digest(temporary, first + b"\x02", "blake2s")


class Handshake:
    """Our half of a handshake, as initiator: -> e, es, s, ss <- e, ee, se."""

    def __init__(
        self, machine: X25519PrivateKey, control: X25519PublicKey, ephemeral: X25519PrivateKey, version: int = VERSION
    ) -> None:
        self._machine = machine
        self._ephemeral = ephemeral
        self._state = Symmetric(version, control)
        offered = raw(ephemeral.public_key())
        self._state.mix_hash(offered)
        self._state.mix_shared(ephemeral, control)
        identity = self._state.seal(raw(machine.public_key()))
        self._state.mix_shared(machine, control)
        message = offered + identity + self._state.seal(b"")
        self.initiation = _INITIATION_HEADER.pack(version, INITIATION, len(message)) + message
        """What has to be sent."""

    def finish(self, received: bytearray) -> "Records | None":
        """Take the answer off the front of what was received; None while it is not whole. Raises HandshakeError."""
        message = take(received)
        if message is None:
            return None
        kind, body = message
        if kind == ERROR:  # neither encrypted nor authenticated: a hint
            raise HandshakeError(
                f"the control plane refuses the handshake ({shown(body.decode('utf-8', 'replace'))}): "
                "is this node logged in, and its Tailscale not too old for the control plane?"
            )
        if kind != RESPONSE or len(body) != _KEY + TAG:
            raise HandshakeError(
                f"the control plane answered the handshake with {len(body)} bytes of kind {kind}: "
                "does the control URL lead to a Tailscale or headscale control plane?"
            )
        theirs = X25519PublicKey.from_public_bytes(body[:_KEY])
        self._state.mix_hash(body[:_KEY])
        self._state.mix_shared(self._ephemeral, theirs)
        self._state.mix_shared(self._machine, theirs)
        self._state.open(body[_KEY:])
        return Records(*self._state.split())


class Records:
    """The connection after the handshake: a stream of bytes in sealed records."""

    def __init__(self, sending: bytes, receiving: bytes) -> None:
        self._sending = ChaCha20Poly1305(sending)
        self._receiving = ChaCha20Poly1305(receiving)
        self._sent = self._opened = 0
        self._received = bytearray()

    def seal(self, data: bytes) -> bytes:
        """Data as records, none for no data. Raises CheckError once the key is used up."""
        return b"".join(self._record(data[at : at + _DATA_MAX]) for at in range(0, len(data), _DATA_MAX))

    def open(self, data: bytes) -> bytes:
        """What the records say that are whole now; the rest is kept for the next call.

        Raises CheckError where a record is too long, of another kind, altered, out of order or repeated. Nothing may
        be opened after that.
        """
        self._received += data
        texts = []
        while (message := take(self._received)) is not None:
            texts.append(self._text(*message))
        return b"".join(texts)

    def _record(self, text: bytes) -> bytes:
        sealed = self._sending.encrypt(_nonce(self._sent), text, None)
        self._sent += 1
        return frame(RECORD, sealed)

    def _text(self, kind: int, sealed: bytes) -> bytes:
        if kind != RECORD or len(sealed) < TAG:
            raise CheckError(f"the control plane sent {len(sealed)} bytes of kind {kind} where a record belongs")
        try:
            text = self._receiving.decrypt(_nonce(self._opened), sealed, None)
        except InvalidTag:
            raise CheckError(
                "what came from the control plane was altered on the way: does a proxy change what it passes on?"
            ) from None
        self._opened += 1
        return text


def _nonce(count: int) -> bytes:
    """The nonce of a record, by the number of those before it. Raises CheckError where there is none left."""
    if count >= RECORDS_MAX:
        raise CheckError("the keys of the connection to the control plane are used up: it has to be opened anew")
    return _NONCE.pack(0, count)
