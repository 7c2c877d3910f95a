"""A person at a browser: reads the page in front of them and does the next thing, at the provider and at headscale."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.browser import Browser
from tests.support.identity_provider import Account
from tests.support.waiting import wait_until

SIGN_IN, CONSENT, ENTER_CODE, CONFIRM_DEVICE = "Sign in", "Consent", "Enter the code", "Confirm the device"
APPROVED, ERROR, SIGN_OUT, SIGNED_OUT = "Approved", "Error", "Sign out", "Signed out"
"""Titles of the provider's pages (tests/lab/provider)."""
UNTRUSTED = "Privacy error"
"""The browser's own, in place of a page whose key it does not trust."""
REGISTER_NODE = "Headscale - Confirm node registration"
SSH_AUTHORIZED = "Headscale - SSH Session Authorized"
NODE_REGISTERED = "Headscale - Node Registered"
HEADSCALE_ERROR = "Headscale - Error"
"""Titles of headscale's pages (hscontrol/oidc.go, handlers.go, templates)."""

_PASSING = "Submitting Callback"  # a page of oidc-provider that sends itself on
_PAGES_MAX = 12


@dataclass(frozen=True, slots=True)
class Visit:
    """What a person has seen."""

    pages: tuple[str, ...]
    """The titles of the pages, in order; the last one is where it ended."""
    text: str
    """What the last one says."""

    @property
    def end(self) -> str:
        return self.pages[-1]

    @property
    def asked_for_password(self) -> bool:
        return SIGN_IN in self.pages


class Person:
    """Somebody with a browser, in which they stay signed in until they sign out."""

    def __init__(self, browser: Browser, account: Account) -> None:
        self._browser = browser
        self._account = account

    def approve(self, url: str, *, code: str = "") -> Visit:
        """Opens a page and says yes to everything, signing in where asked; `code` is typed where the page wants one."""
        return self._walk(url, lambda page: self._agree(page, code))

    def refuse(self, url: str, at: str = CONFIRM_DEVICE) -> Visit:
        """Goes on as `approve` does until the page `at`, and says no there."""
        return self._walk(url, lambda page: self._decline(page) if page == at else self._agree(page, ""))

    def read(self, url: str) -> Visit:
        """Opens a page, and does nothing there."""
        return self._walk(url, lambda _: False)

    def sign_out(self, issuer: str) -> Visit:
        """Ends their session at the provider."""
        return self._walk(f"{issuer}/session/end", lambda page: self._agree(page, ""))

    def _walk(self, url: str, act: Callable[[str], bool]) -> Visit:
        self._browser.open(url)
        pages = [self._page()]
        while act(pages[-1]):
            pages.append(self._page())
            # Twice the same page: it was wrong what they did there, and will be wrong again.
            if pages[-1] == pages[-2] or len(pages) > _PAGES_MAX:
                break
        return Visit(tuple(pages), self._browser.text)

    def _page(self) -> str:
        def title() -> str:
            found = self._browser.title or "untitled"
            return found if found != _PASSING else ""

        return wait_until(title, 20, "a page for a person")

    def _agree(self, page: str, code: str) -> bool:
        """Says yes to a page; False where there is nothing to say."""
        browser = self._browser
        if page == SIGN_IN:
            browser.fill("[name=login]", self._account.login)
            browser.fill("[name=password]", self._account.password)
        if page == ENTER_CODE:
            if not code:
                return False
            browser.fill("[name=user_code]", code)
        button = _YES.get(page)
        if button:
            browser.press(button)
        return button is not None

    def _decline(self, page: str) -> bool:
        self._browser.press(_NO[page])
        return True


_YES = {
    SIGN_IN: "[value=continue]",
    CONSENT: "[value=continue]",
    ENTER_CODE: "[value=continue]",
    CONFIRM_DEVICE: "[name=confirm]",
    SIGN_OUT: "[name=logout]",
    REGISTER_NODE: "button[type=submit]",
}
_NO = {SIGN_IN: "[value=cancel]", CONSENT: "[value=cancel]", CONFIRM_DEVICE: "[name=abort]"}
