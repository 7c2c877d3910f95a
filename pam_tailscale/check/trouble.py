"""Text from the network as it may stand in a message for the administrator: cut, quoted, nothing a terminal obeys."""

_LONGEST = 120


def shown(text: str) -> str:
    """Text in quotes, at most 120 characters of it, with everything escaped that is not plain ASCII."""
    cut = text[:_LONGEST]
    return ascii(cut) + ("..." if len(text) > len(cut) else "")
