"""HuJSON made from JSON: the same value with comments and trailing commas, for tests."""

import random
import re
from typing import Final

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_BETWEEN: Final = ("", "", " ", "\n", "\t\r\n", "// said 'so\", [1,]\n", '/* two\nlines, }] " */', "/**/", "//\n")


def decorated(text: str, choices: random.Random) -> str:
    """JSON with what HuJSON allows beside it: comments and spaces between tokens, commas before closing brackets."""
    parts = [choices.choice(_BETWEEN)]
    before = ""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in "}]" and before not in "{[" and choices.random() < 0.5:
            parts += [",", choices.choice(_BETWEEN)]
        parts += [token, choices.choice(_BETWEEN)]
        before = token
    return "".join(parts)
