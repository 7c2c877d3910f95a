"""The few exceptions of the project. Their text is for the administrator and says what to do; users never see it.

Nothing else lives here, and nothing here imports anything.
"""


class PamTailscaleError(Exception):
    """Base of all errors that are expected to happen; the text is complete without the traceback."""


class ConfigError(PamTailscaleError):
    """A configuration file or the pin cannot be used. The text names the file and, where there is one, the line."""


class WireError(PamTailscaleError):
    """A message between shim, command line and agent breaks the protocol of tailscale_wire.h."""


class AgentUnavailableError(PamTailscaleError):
    """The agent cannot be reached, did not answer in time, or closed without a verdict."""


class NotPermittedError(PamTailscaleError):
    """Whoever asked the agent may not ask this."""


class TailscaledError(PamTailscaleError):
    """tailscaled cannot be reached, is not what it should be, or answered in a way that must not be used."""


class TailscaledNotRootError(TailscaledError):
    """What listens at tailscaled's socket is not root, so nothing it says is believed."""


class PolicyShapeError(PamTailscaleError):
    """The SSH policy has a shape this version does not know. It is refused, never guessed at."""


class PolicyFileError(PamTailscaleError):
    """A policy file that the control plane would refuse, or that cannot be read.

    The text names file, line and column, what is wrong, and what to write instead where that is known.
    """

    def __init__(self, message: str, file: str, line: int = 0, column: int = 0, hint: str = "") -> None:
        place = f"{file}:{line}:{column}" if line else file
        super().__init__(": ".join(part for part in (place, message, hint) if part))
        self.message = message
        """What is wrong, without the place; in the control plane's words where they are known."""
        self.hint = hint
        """What to write instead, in words of ours; empty where the message says it."""
        self.file = file
        self.line = line
        """Counted from 1; 0 where no line is to blame."""
        self.column = column
        """In characters, counted from 1."""

    def hinted(self, hint: str) -> "PolicyFileError":
        """The same error, which also says what to write instead."""
        return PolicyFileError(self.message, self.file, self.line, self.column, hint)


class CheckError(PamTailscaleError):
    """What a check needs cannot be asked, or answered in a way that must not be used: nobody passes by it."""

    def __init__(self, text: str, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        """Seconds that whoever was asked wants to be left alone."""


class HostError(PamTailscaleError):
    """The host could not be changed, or not be looked at. The text says how it was left and what to do."""


class ProofError(HostError):
    """What `enable` would do cannot be proved: the stage for it cannot be set up. Nothing was changed by that."""
