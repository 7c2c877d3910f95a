"""Whose word a file or directory is: whether root alone can have put there what is in it. Opens and reads nothing."""

import os
import stat


def only_root_writes(status: os.stat_result) -> bool:
    """Whether it is root's, and neither its group nor anybody else may write to it."""
    return status.st_uid == 0 and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
