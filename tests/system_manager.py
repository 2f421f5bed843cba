"""
The real systemd, as the first process of namespaces of its own: what it does there is gone with it, and nothing of it
reaches the machine. Root alone can have that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from .namespaces import INSTALL, isolating, what_to_install
from .outside import find_program, missing
from .processes import PATIENCE, ProcessTestCase, unmeasured

#: Where Debian has it; it stands in no PATH.
SYSTEMD = "/lib/systemd/systemd"

# Run in new namespaces, with a folder of the test's, in which all that is written ends.
PREPARE = rf"""
set -eu
{INSTALL}
# Sizes of queues and tables are the machine's own, and systemd would raise them.
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs none "$1"
for folder in etc var; do
    mkdir "$1/$folder" "$1/$folder.work"
    mount -t overlay none -o "lowerdir=/$folder,upperdir=$1/$folder,workdir=$1/$folder.work" "/$folder"
done
rm -rf /etc/systemd/system /etc/machine-id
mkdir -p /etc/systemd/system
shift
install_program "$@"
mount -t tmpfs none /run
mount -t cgroup2 none /sys/fs/cgroup
cat >/etc/systemd/system/idle.target <<UNIT
[Unit]
DefaultDependencies=no
UNIT
# What brings up a network is not there, and nothing else would ever be online.
ln -s /dev/null /etc/systemd/system/network-online.target
export container=other
exec {SYSTEMD} --system --unit=idle.target --log-target=console
"""


class SystemManager:
    """
    A systemd that runs.

    :param case: ends it when it is over.
    :raises SkipTest: where it can't be had.
    """

    def __init__(self, case: ProcessTestCase) -> None:
        find_program(SYSTEMD, "systemd")
        isolated = isolating("uts", "ipc", "cgroup")
        group = self._make_group()
        case.addCleanup(self._remove_group, group)
        written = case.path("written")
        os.mkdir(written)
        self._running = case.run_process(
            [*isolated, PREPARE, "prepare", written, *what_to_install()],
            env=unmeasured(),
            # Before it has its namespaces: the group that it is in becomes the root of all of its own.
            preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
        )
        case.addCleanup(self._stop)
        self._wait_until_up()

    @staticmethod
    def _make_group() -> Path:
        with open("/proc/mounts") as mounts:
            places = [line.split()[1] for line in mounts if line.split()[2] == "cgroup2"]
        try:
            group = Path(places[0], f"sodiumtwist-test-{os.getpid()}")
            group.mkdir()
        except (IndexError, OSError) as error:
            raise missing(f"no control group can be had here: {error!r}") from None
        return group

    @staticmethod
    def _remove_group(group: Path) -> None:
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)

    def _stop(self) -> None:
        os.kill(self.first, signal.SIGKILL)
        self._running.wait()

    @property
    def first(self) -> int:
        """The process that is the first one there."""
        children = Path(f"/proc/{self._running.pid}/task/{self._running.pid}/children")
        return int(children.read_text().split()[0])

    def _wait_until_up(self) -> None:
        limit = time.monotonic() + PATIENCE
        while True:
            try:
                told = self.systemctl("is-active", "idle.target", check=False)
                if told == "active":
                    return
            except (IndexError, OSError):
                told = ""
            if time.monotonic() > limit or self._running.process.poll() is not None:
                raise AssertionError([told, *self._running.output, *self._running.errors])
            time.sleep(0.02)

    def call(self, *command: str, check: bool = True) -> str:
        """Run a program inside, and return what it prints."""
        inside = ["nsenter", "--target", str(self.first), "--mount", "--pid", *command]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=PATIENCE)
        if check and done.returncode:
            raise AssertionError((command, done.returncode, done.stdout, done.stderr))
        return done.stdout.rstrip("\n")

    def systemctl(self, *words: str, check: bool = True) -> str:
        return self.call("systemctl", *words, check=check)

    def show(self, unit: str, name: str) -> str:
        """Return what systemd knows of a unit under a name."""
        return self.systemctl("show", "--value", "--property", name, unit)

    def path(self, path: str) -> Path:
        """A path inside, as it is called outside."""
        return Path(f"/proc/{self.first}/root{path}")
