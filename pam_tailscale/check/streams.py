"""HTTP/2 as it is spoken with the control plane inside Noise: several GETs at once, bytes in and bytes out.

Sources: RFC 9113; Tailscale control/ts2021, for what comes before HTTP/2. No socket, thread or clock is here.
"""

import contextlib
import struct
from dataclasses import dataclass, field
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from pam_tailscale.check.trouble import shown
from pam_tailscale.errors import CheckError

BODY_MAX: Final = 65536
"""Bytes of the longest answer that is read."""
FRAME_MAX: Final = 16384
"""Bytes of a frame: what HTTP/2 allows who does not say otherwise (SETTINGS_MAX_FRAME_SIZE)."""
EARLY_MAX: Final = 65536
"""Bytes of what the control plane may say before HTTP/2 begins; of no use to us."""

_EARLY_MAGIC = b"\xff\xff\xffTS"  # no HTTP/2 frame begins with it
_EARLY_HEAD = struct.Struct(">5sI")
_FRAME_HEAD = 9  # RFC 9113 section 4.1; the first three are the length
_PING = b"are you?"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a GET was answered with."""

    status: int
    body: bytes
    retry_after: str = ""
    """The header as it came."""


@dataclass(slots=True)
class _Stream:
    status: int = 0
    retry_after: str = ""
    body: bytearray = field(default_factory=bytearray)


class _Frames:
    """Looks at the length of each frame as it begins: h2 would keep up to 16 MiB until it is whole, and refuse then."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0

    def checked(self, data: bytes) -> bytes:
        """The same data. Raises CheckError where a frame is too long."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
            else:
                step = min(_FRAME_HEAD - len(self._head), len(data) - at)
                self._head += data[at : at + step]
            at += step
            if len(self._head) == _FRAME_HEAD:
                self._left = int.from_bytes(self._head[:3], "big")
                self._head.clear()
            if self._left > FRAME_MAX:
                raise CheckError("the control plane does not speak HTTP/2 as it should (a frame that is too long)")
        return data


class Streams:
    """One HTTP/2 connection, as client. Not locked."""

    def __init__(self, authority: str) -> None:
        self._authority = authority.encode("ascii")
        self._before: bytearray | None = bytearray()
        self._frames = _Frames()
        self._open: dict[int, _Stream] = {}
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_HEADER_LIST_SIZE: H2Connection.DEFAULT_MAX_HEADER_LIST_SIZE,
            },
        )
        self._h2.initiate_connection()
        self.over = ""
        """Why no request can be begun any more, nor one that is open be answered; empty while both are possible."""

    def __len__(self) -> int:
        """Requests that are not answered yet."""
        return len(self._open)

    def get(self, path: str) -> int | None:
        """Begin a request and give its number; None while the control plane takes no more. Raises CheckError."""
        if self._h2.open_outbound_streams >= self._h2.remote_settings.max_concurrent_streams:
            return None
        head = [
            (b":method", b"GET"),
            (b":scheme", b"https"),  # what Tailscale says as well, whatever is below
            (b":authority", self._authority),
            (b":path", path.encode("ascii")),
        ]
        try:
            number = self._h2.get_next_available_stream_id()
            self._h2.send_headers(number, head, end_stream=True)
        except H2Error as err:
            raise _broken(err) from err
        self._open[number] = _Stream()
        return number

    def cancel(self, number: int) -> None:
        """Tell the control plane that nobody waits for this answer."""
        if self._open.pop(number, None) is not None:
            with contextlib.suppress(H2Error):  # over from the other side
                self._h2.reset_stream(number, ErrorCodes.CANCEL)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._h2.ping(_PING)

    def to_send(self) -> bytes:
        """What has to be sent now."""
        return self._h2.data_to_send()

    def receive(self, data: bytes) -> dict[int, Answer | str]:
        """What came; gives the requests that are over: the answer, or why there is none.

        Raises CheckError where it is not HTTP/2; nothing may be received after that.
        """
        done: dict[int, Answer | str] = {}
        try:
            for event in self._h2.receive_data(self._frames.checked(self._after_early(data))):
                self._handle(event, done)
        except H2Error as err:
            raise _broken(err) from err
        return done

    def _after_early(self, data: bytes) -> bytes:
        """What is left for HTTP/2 when the early payload, if there is one, is taken off. Raises CheckError."""
        if self._before is None:
            return data
        self._before += data
        if len(self._before) < _EARLY_HEAD.size:
            return b""
        magic, length = _EARLY_HEAD.unpack_from(self._before)
        end = 0
        if magic == _EARLY_MAGIC:
            if length > EARLY_MAX:
                raise CheckError(f"the control plane greets with {length} bytes, of which {EARLY_MAX} are read")
            end = _EARLY_HEAD.size + length
        if len(self._before) < end:
            return b""
        rest, self._before = bytes(self._before[end:]), None
        return rest

    def _handle(self, event: Event, done: dict[int, Answer | str]) -> None:
        if isinstance(event, ConnectionTerminated):
            self.over = f"the control plane ends the connection (error {int(event.error_code or 0)})"
        elif isinstance(event, DataReceived):
            self._take_data(event, done)
        elif isinstance(event, ResponseReceived | TrailersReceived | StreamEnded | StreamReset):
            number = event.stream_id
            stream = self._open.get(number or 0)
            if stream is None or number is None:
                return  # cancelled by us, while this was on its way
            if isinstance(event, ResponseReceived):
                _take_head(stream, event)
            elif isinstance(event, StreamReset):
                done[number] = f"the control plane broke off its answer (error {int(event.error_code or 0)})"
                del self._open[number]
            elif isinstance(event, StreamEnded):
                done[number] = Answer(stream.status, bytes(stream.body), stream.retry_after)
                del self._open[number]

    def _take_data(self, event: DataReceived, done: dict[int, Answer | str]) -> None:
        number, length = event.stream_id or 0, event.flow_controlled_length or 0
        if length:
            self._h2.acknowledge_received_data(length, number)
        stream = self._open.get(number)
        if stream is None:
            return
        stream.body += event.data or b""
        if len(stream.body) > BODY_MAX:
            self.cancel(number)
            done[number] = f"the control plane's answer is longer than {BODY_MAX >> 10} KiB"


def _take_head(stream: _Stream, event: ResponseReceived) -> None:
    for name, value in ((_bytes(name), _bytes(value)) for name, value in event.headers or ()):
        if name == b":status" and value.isdigit():
            stream.status = int(value[:3])
        elif name == b"retry-after":
            stream.retry_after = value[:64].decode("ascii", "replace")


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1", "replace")


def _broken(err: H2Error) -> CheckError:
    return CheckError(f"the control plane does not speak HTTP/2 as it should ({shown(str(err))})")
