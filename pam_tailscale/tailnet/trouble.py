"""The errors about a tailscaled that does not answer, or not as it should: their texts are made here.

Imports little, because the root reader needs it.
"""

from pam_tailscale.errors import TailscaledError

_FORBIDDEN, _NOT_FOUND, _NOT_IMPLEMENTED, _UNAVAILABLE = 403, 404, 501, 503
_SHOWN = 200


def shown(text: str) -> str:
    """Text from the network as it may stand in a message: quoted, its control characters escaped, bounded."""
    return repr(text[:_SHOWN])


def unreachable(path: str, err: Exception) -> TailscaledError:
    """The error for a tailscaled that does not answer at all."""
    return TailscaledError(
        f"cannot reach tailscaled at {path} ({type(err).__name__}: {err}): "
        "is it running (`systemctl status tailscaled`), and is the path right?"
    )


def refused(what: str, code: int, body: bytes) -> TailscaledError:
    """The error for an answer that is not 200; `what` is the method that was asked."""
    text = shown(body[:1000].decode("utf-8", "replace").strip())
    if code == _FORBIDDEN:
        advice = "check that the configured socket is tailscaled's own and that this version of Tailscale is supported"
    elif code == _UNAVAILABLE:
        advice = "tailscaled is still starting, or logged out: see `tailscale status`"
    elif what == "debug" and code in (_NOT_FOUND, _NOT_IMPLEMENTED):
        advice = (
            "this tailscaled was built without debug, through which the SSH policy is read: install Tailscale's own"
        )
    else:
        advice = "see `tailscale status` and `journalctl -u tailscaled`"
    return TailscaledError(f"tailscaled answered {what} with {code} {text}: {advice}")
