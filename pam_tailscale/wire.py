"""Messages of the protocol in native/tailscale_wire.h, as Python: the words, encode and decode.

Pure: bytes in, records out. Sockets are in client.py and agent/server.py.
"""

from collections.abc import Mapping

from pam_tailscale.errors import WireError

VERSION = 1
MESSAGE_MAX = 8192
TIMEOUT_MS = 10000
WAIT_MS = 30000
USER_MAX = 255
TEXT_MAX = 1024
PROMPT_MAX = 6144
OPTIONS_MAX = 4096
OFFERED_MAX = 4096
PROMPTS_MAX = 64

TEXT_TRY_AGAIN = "tailscale: this host cannot ask the tailnet's policy at the moment, try again later"
"""What a person reads when it is not the policy that refuses."""

KEY_VERSION = "version"
KEY_REQUEST = "request"
KEY_USER = "user"
KEY_CLIENT = "client"
KEY_CLIENT_PORT = "client_port"
KEY_SERVER = "server"
KEY_SERVER_PORT = "server_port"
KEY_METHOD = "method"
KEY_PHASE = "phase"
KEY_MODE = "mode"
KEY_INTERFACE = "interface"
KEY_EARLIER = "earlier"
KEY_OFFERED = "offered"
KEY_AS_OF = "as_of"
KEY_PERSON = "person"
KEY_ANSWER = "answer"
KEY_TEXT = "text"
KEY_VERDICT = "verdict"
KEY_ID = "id"
KEY_OPTIONS = "options"

REQUEST_DECIDE = "decide"
REQUEST_STATUS = "status"
REQUEST_WHOIS = "whois"
REQUEST_EXPLAIN = "explain"
REQUEST_CHECKS = "checks"
REQUEST_FORGET = "forget"
REQUEST_CONTINUE = "continue"

ANSWER_INFO = "info"
ANSWER_PROMPT = "prompt"
ANSWER_VERDICT = "verdict"

VERDICT_ALLOW = "allow"
VERDICT_DENY = "deny"
VERDICT_CHECK = "check"
VERDICT_LIMITED = "limited"

Message = dict[str, str]


def encode(pairs: Mapping[str, str]) -> bytes:
    """One message; the version is put first. Bytes that are not UTF-8 travel as surrogate escapes.

    Raises WireError when a string holds a NUL or half a surrogate pair, or the message is longer than MESSAGE_MAX.
    """
    strings = [KEY_VERSION, str(VERSION)]
    for key, value in pairs.items():
        strings += [key, value]
    if any("\0" in string for string in strings):
        raise WireError("a value with a NUL byte cannot be sent")
    try:
        message = b"".join(string.encode("utf-8", "surrogateescape") + b"\0" for string in strings)
    except UnicodeEncodeError as err:
        raise WireError("a value that is no text cannot be sent") from err
    if len(message) > MESSAGE_MAX:
        raise WireError(f"a message of {len(message)} bytes is longer than {MESSAGE_MAX}")
    return message


def decode(message: bytes) -> Message:
    """The pairs of one message, without the version. Raises WireError as tailscale_wire.h says."""
    if not message:
        raise WireError("the other end closed without an answer")
    if len(message) > MESSAGE_MAX:
        raise WireError(f"a message is longer than {MESSAGE_MAX} bytes")
    if message[-1] != 0:
        raise WireError("a message does not end in NUL")
    strings = message[:-1].decode("utf-8", "surrogateescape").split("\0")
    if len(strings) % 2:
        raise WireError("a key has no value")
    if strings[:2] != [KEY_VERSION, str(VERSION)]:
        raise WireError(f"the other end does not speak version {VERSION}: restart the agent after an upgrade")
    keys = strings[::2]
    if len(set(keys)) != len(keys) or "" in keys:
        raise WireError("a key is empty or stands twice")
    pairs = dict(zip(keys, strings[1::2], strict=True))
    del pairs[KEY_VERSION]
    return pairs
