"""The page's files, which are installed with the package."""

from importlib import resources

from pam_tailscale.policypage.page import Parts


def parts() -> Parts:
    """The page without its data."""
    folder = resources.files(__package__)
    return Parts(*(folder.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js")))
