"""
The pid file that a server left behind when it was killed. Twistd starts no other one as long as a process has that
number, whichever that is.
"""

from __future__ import annotations

import os
from contextlib import suppress


def remove_own_pid_file(path: str) -> bool:
    """
    Remove a pid file that names this very process: nobody who runs wrote it. So it is in a container that is started
    again, where the server has the same number each time, above all 1.

    :param path: of the file; empty for none.
    :return: whether there was one.
    :raises OSError: when it can't be removed.
    """
    if _read(path) != os.getpid():
        return False
    os.remove(path)
    return True


def describe_pid_file(path: str) -> str | None:
    """
    Say why twistd is about to start nothing, and what to do; ``None`` when it will not mind the file.

    :param path: of the file; empty for none.
    """
    if path and os.path.isdir(path):
        return f"the pid file {path} is a folder; give another --pidfile"
    pid = _read(path)
    # A negative number, or 0, would mean a group of processes.
    if pid is None or pid < 1:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None  # twistd removes the file
    except OverflowError:
        return f"the pid file {path} holds a number that no process has; remove it"
    except OSError:
        pass  # it runs as another user
    return (
        f"the pid file {path} names process {pid}{_command(pid)}, which runs; stop that server, or give another "
        "--pidfile; if it is no server, as may be when a container was started again, remove the file, or give "
        "twistd --pidfile= to have none"
    )


def _read(path: str) -> int | None:
    with suppress(OSError, ValueError):
        if path:
            with open(path) as file:
                return int(file.read(100))
    return None


def _command(pid: int) -> str:
    """Name the program of a process, in parentheses, where the system tells."""
    with suppress(OSError), open(f"/proc/{pid}/comm", errors="replace") as file:
        return f" ({repr(file.read().strip())[1:-1]})"
    return ""
