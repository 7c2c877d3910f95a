"""What the kernel counts for a process: memory and CPU time."""

import os
import re
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME = 11  # of the fields after the name: utime, stime, cutime, cstime follow each other (proc(5), stat)


def memory_mib(pid: int, field: str) -> float:
    """A field of /proc/PID/status (VmRSS: resident now; VmHWM: the most that was) in MiB."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"process {pid} has no {field}: it has ended")
    return int(found[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of the children it has waited for.

    Its own from the scheduler, in nanoseconds, thread by thread: a tick of stat is a tenth of a percent of 10 s.
    """
    own = sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = sum(int(ticks) for ticks in fields[_UTIME + 2 : _UTIME + 4])
    return own / 1e9 + children / _TICKS
