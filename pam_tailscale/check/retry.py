"""How long a server that was asked by HTTP wants to be left alone. Pure."""

import datetime
import email.utils
import re
from typing import Final

RETRY_AFTER_MAX: Final = 600.0
"""Seconds for which a server can ask to be left alone."""

_SECONDS = re.compile(r"[0-9]{1,9}")


def retry_after(text: str, now: float) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110 section 10.2.3), at most 600; 0 where it says nothing.

    `now` is Unix time, for a header that names a date.
    """
    if _SECONDS.fullmatch(text.strip()):
        seconds = float(text)
    else:
        try:
            moment = email.utils.parsedate_to_datetime(text)
            seconds = moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp() - now
        except (ValueError, OverflowError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), RETRY_AFTER_MAX)
