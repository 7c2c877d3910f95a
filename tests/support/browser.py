"""A real browser of the tests: headless Chromium in a sandbox's network, driven over WebDriver (W3C)."""

import http.client
import json
import os
import shutil
import socket
import subprocess
from types import TracebackType
from typing import Any, Self

from tests.support import namespaces
from tests.support.sandbox import Sandbox
from tests.support.waiting import wait_until

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver, section 12.1
_TIMEOUT = 30

# /tmp is its own and gone with it, /proc is that of the processes it sees, and no name is looked up anywhere.
_PRIVATE = (
    'mount -t tmpfs tmpfs /tmp && mount -t proc proc /proc && mount --bind /dev/null /etc/resolv.conf && exec "$@"'
)

# What a browser does by itself would be requests that nothing answers.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--user-data-dir=/tmp/profile",
)


class BrowserError(RuntimeError):
    """The browser could not do what it was asked; the text is its own."""


class Browser:
    """A browser with an empty profile that trusts the keys with these hashes (Certificate.key_hash), and no others.

    Use as a context manager, inside that of the sandbox. It ends with the sandbox at the latest, however that ends.
    """

    def __init__(self, box: Sandbox, *trusted: str) -> None:
        self._box = box
        self._connection = http.client.HTTPConnection("localhost")
        self._connection.auto_open = 0  # its one connection leads into the sandbox
        self._session = ""
        self._flags = [*_FLAGS, f"--ignore-certificate-errors-spki-list={','.join(trusted)}"]

    def __enter__(self) -> Self:
        chromium = shutil.which("chromium")
        argv = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-euc",
            _PRIVATE,
            "sh",
            "chromedriver",
            "--port=0",
        ]
        environment = {"PATH": os.environ["PATH"], "HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 - its own
        null, pipe = subprocess.DEVNULL, subprocess.PIPE
        self._driver = self._box.inside(
            lambda: subprocess.Popen(argv, stdin=null, stdout=pipe, stderr=null, env=environment, cwd="/"),
            namespaces.CLONE_NEWNET | namespaces.CLONE_NEWPID,
        )
        try:
            self._connect()
            options = {"binary": chromium, "args": self._flags}
            wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
            self._session = "/" + self._call("POST", "", {"capabilities": wanted})["sessionId"]
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._call("DELETE", "")
        finally:
            self._end()

    def _connect(self) -> None:
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if b"started successfully on port" in line:
                port = int(line.split()[-1].rstrip(b"."))
                break
        else:
            raise BrowserError("chromedriver does not start")
        self._connection.sock = self._box.inside(
            lambda: socket.create_connection(("127.0.0.1", port), _TIMEOUT), namespaces.CLONE_NEWNET
        )

    def _end(self) -> None:
        self._connection.close()
        self._driver.kill()
        self._driver.wait()
        assert self._driver.stdout is not None
        self._driver.stdout.close()

    def _call(self, method: str, command: str, arguments: dict[str, Any] | None = None) -> Any:
        body = None if method != "POST" else json.dumps(arguments or {})
        self._connection.request(
            method, f"/session{self._session}{command}", body, {"Content-Type": "application/json"}
        )
        answer = json.loads(self._connection.getresponse().read())["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise BrowserError(f"{command}: {answer['error']}: {answer['message']}")
        return answer

    def forget(self) -> None:
        """Drops all cookies: nobody is signed in anywhere any more, and no page is told."""
        self._call("POST", "/goog/cdp/execute", {"cmd": "Network.clearBrowserCookies", "params": {}})

    def open(self, url: str) -> None:
        """Goes to a page and waits for it. Raises BrowserError where nothing answers."""
        self._call("POST", "/url", {"url": url})

    def _find(self, selector: str) -> str:
        found: dict[str, str] = self._call("POST", "/element", {"using": "css selector", "value": selector})
        return found[_ELEMENT]

    def fill(self, selector: str, text: str) -> None:
        """Types into a field. Raises BrowserError where there is none."""
        self._call("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def press(self, selector: str) -> None:
        """Presses a button that leads to another page, and waits until that is there."""
        self.script("window.leaving = true")
        self._call("POST", f"/element/{self._find(selector)}/click")
        wait_until(lambda: self.script("return !window.leaving"), _TIMEOUT, f"another page after {selector}")

    def script(self, text: str) -> Any:
        """Runs JavaScript in the page and answers what it returns."""
        return self._call("POST", "/execute/sync", {"script": text, "args": []})

    def has(self, selector: str) -> bool:
        """Whether the page has such an element."""
        return bool(self._call("POST", "/elements", {"using": "css selector", "value": selector}))

    @property
    def title(self) -> str:
        """The page's title."""
        return str(self._call("GET", "/title"))

    @property
    def text(self) -> str:
        """What the page shows."""
        return str(self.script("return document.body.innerText"))

    @property
    def url(self) -> str:
        """The page's address."""
        return str(self._call("GET", "/url"))
