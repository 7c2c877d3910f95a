"""Where there is no atheris, which has wheels for one architecture, the targets are tested without it."""

import platform

collect_ignore = [] if platform.machine() == "x86_64" else ["test_fuzzer.py"]
