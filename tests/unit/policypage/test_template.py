"""The page's files."""

import re

from pam_tailscale.policypage.template import parts


def test_the_page_needs_nothing_else() -> None:
    """No address, nothing to be loaded, no markup out of texts, no handler that its own policy would refuse."""
    found = parts()
    whole = found.html + found.style + found.script
    assert not re.search(r"https?:|//[a-z]|\b(src|href|on[a-z]+)=|@import|url\(|fetch|XMLHttp", whole)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", found.script)


def test_every_mark_is_there() -> None:
    """Once."""
    assert sorted(re.findall(r"\{\{(\w+)\}\}", parts().html)) == ["data", "policy", "script", "style"]
