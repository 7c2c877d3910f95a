"""A process that listens where root should, without being root."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import wait_until

_PROGRAM = """
import os, socket, sys
path, uid = sys.argv[1], int(sys.argv[2])
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
os.setuid(uid)
listener.listen(5)
print("ready", flush=True)
while True:
    listener.accept()[0].recv(1)
"""


@contextmanager
def impostor(path: Path, uid: int) -> Iterator[None]:
    """Listens at `path` as `uid` and never answers. Needs root."""
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(path), str(uid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            wait_until(process.stdout.readline, 10, "the impostor listens")
            yield
        finally:
            process.kill()
