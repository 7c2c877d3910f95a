"""An address as a QR code for a terminal. Pure.

Two rows of modules share a line of half blocks; what is light is drawn, so that the code is right on a dark terminal,
which cameras read either way.
"""

import functools

import segno

_QUIET = 2
"""Modules of margin; the standard wants 4 (ISO/IEC 18004 section 6.3.8), cameras are content with less."""
_BYTES_MAX = 458
"""What version 14 holds with error correction L (ISO/IEC 18004 table 7): 73 modules, which 80 columns can show."""
_BLOCKS = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
"""What is drawn for a dark upper and a dark lower module."""


@functools.lru_cache(maxsize=16)
def terminal(text: str) -> str:
    """The code, line by line, each ended; empty where there is no text, or too much for a terminal."""
    if not 0 < len(text.encode("utf-8", "replace")) <= _BYTES_MAX:
        return ""
    rows = [[bool(module) for module in row] for row in segno.make_qr(text, error="l").matrix_iter(border=_QUIET)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    lines = zip(rows[::2], rows[1::2], strict=True)
    return "".join("".join(_BLOCKS[pair] for pair in zip(upper, lower, strict=True)) + "\n" for upper, lower in lines)
