"""
Folders that a service has for as long as it runs. One that was killed leaves its own behind; the next one takes it
away, since nothing in it is of use to anybody.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from contextlib import suppress

from ..describe.log import Logger

_log = Logger()

#: What the names match, where those of temporary files are.
_NAME = re.compile(r"sodiumtwist-workers-(?P<process>[1-9][0-9]*)-.*")


class Folder:
    """
    A folder that nobody else can enter.

    :ivar path: where it is.
    :raises OSError: when it can't be made.
    """

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix=f"sodiumtwist-workers-{os.getpid()}-")
        # What tidies up in such places leaves alone what is locked so, see tmpfiles.d(5).
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def remove(self) -> None:
        """Remove it, with all that is in it."""
        remove_folder(self.path)
        os.close(self._descriptor)


def remove_folder(path: str) -> None:
    """Remove one, with all that is in it. What can't be removed stays."""
    shutil.rmtree(path, ignore_errors=True)


def remove_abandoned() -> None:
    """Remove those of our own whose process is gone, and say so."""
    above = tempfile.gettempdir()
    with suppress(OSError), os.scandir(above) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if found is None or _is_alive(int(found["process"])):
                continue
            if not entry.is_dir(follow_symlinks=False) or entry.stat(follow_symlinks=False).st_uid != os.geteuid():
                continue
            if not _is_locked(entry.path):
                remove_folder(entry.path)
                _log.info(
                    "removed {path}, which a server left behind that was killed",
                    event="folder_removed",
                    path=entry.path,
                )


def _is_locked(path: str) -> bool:
    """Tell whether a service has a folder, perhaps in a container, where processes have other numbers."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # It is somebody else's; or there are no such numbers.
    except (PermissionError, OverflowError):
        pass
    return True
