"""
The image for containers. What builds it needs a base from elsewhere; so here the server runs as the image has it, on a
root made of this system's programs.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from pathlib import Path
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import KeyPair
from sodiumtwist.contacts.keyfiles import write_key_file

from ..namespaces import INSTALL, PLACE, isolating, what_to_install
from ..pages import ROOT, read_page
from ..processes import SODIUMTWIST, ProcessTestCase, unmeasured

FILE = "docs/howto/Containerfile"

# Run in new namespaces: the root has this system's programs, and of its other files what programs need.
PREPARE = rf"""
set -eu
{INSTALL}
root=$1 volume=$2 configuration=$3 make=$4
mount -t tmpfs -o mode=755 none "$root"
mkdir -p "$root"/etc "$root"/opt "$root"/proc "$root"/dev "$root"/tmp "$root"/var/lib
for folder in bin lib lib64 sbin usr; do
    if [ -L "/$folder" ]; then
        cp -P "/$folder" "$root/"
    elif [ -d "/$folder" ]; then
        mkdir "$root/$folder"
        mount --rbind "/$folder" "$root/$folder"
    fi
done
for file in passwd group nsswitch.conf ld.so.cache; do cp "/etc/$file" "$root/etc/"; done
install_program "${{@:5:4}}" "$root"
mount --rbind /dev "$root/dev"
mount --bind /proc "$root/proc"
chroot "$root" sh -euc "$make"
mount --bind "$volume" "$root/var/lib/sodiumtwist"
mkdir "$root/etc/sodiumtwist"
mount --bind "$configuration" "$root/etc/sodiumtwist"
mount -o remount,bind,ro "$root/etc/sodiumtwist"
mount -t tmpfs none "$root/tmp"
mount -o remount,bind,ro "$root"
shift 8
exec chroot "$root" "$@"
"""


def instructions() -> list[tuple[str, str]]:
    """What the file says, line by line."""
    text = re.sub(r"(?m)^#.*\n", "", read_page(FILE)).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines()) if name]


def last(name: str) -> str:
    """What is behind the last instruction of a name."""
    return [rest for each, rest in instructions() if each == name][-1]


class FileTests(SynchronousTestCase):
    def test_copied(self) -> None:
        """What goes into the image is all that pip needs, and is there."""
        copied = [rest.split()[:-1] for name, rest in instructions() if name == "COPY" and not rest.startswith("--")]
        paths = {path for paths in copied for path in paths}
        for path in paths:
            self.assertTrue(os.path.exists(os.path.join(ROOT, path)), path)
        self.assertLessEqual({"pyproject.toml", "setup.cfg", "README.rst", "LICENSE", "sodiumtwist", "twisted"}, paths)

    def test_place(self) -> None:
        """It is installed, and found, where the units have it."""
        self.assertIn(f"--from=build {PLACE} {PLACE}", [rest for name, rest in instructions() if name == "COPY"])
        self.assertIn(f"PATH={PLACE}/bin:$PATH", shlex.split(last("ENV")))


@skipIf(os.geteuid(), "only root can have namespaces to run an image's server in")
class ImageTests(ProcessTestCase):
    def test_runs(self) -> None:
        """
        It runs as the first process, with the page's configuration. It is nobody of the system, has no rights, and a
        root that can be read alone; it takes a file, and ends in order.
        """
        isolated = isolating()
        user, _, group = last("USER").partition(":")
        for folder in "root", "volume", "etc":
            os.mkdir(self.path(folder))
        pair = KeyPair.generate()
        write_key_file(self.path("ann.key"), pair)
        write_key_file(self.path("etc", "server.key"), KeyPair.generate())
        with open(self.path("etc", "config.toml"), "w") as file:
            file.write(read_page("docs/howto/config.toml"))
        with open(self.path("volume", "keys.txt"), "w") as file:
            file.write(f"{pair.public.hex()} ann\n")
        for path in "volume", "volume/keys.txt", "etc/server.key":
            os.chown(self.path(path), int(user), int(group))
        command = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]
        command[command.index("tcp:5555")] = "tcp:0:interface=127.0.0.1"
        variables = last("ENV").replace("$PATH", "/usr/bin:/bin").split()
        without_rights = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--clear-groups"]
        as_user = ["setpriv", *without_rights, f"--reuid={user}", f"--regid={group}"]
        where = ["sh", "-c", 'cd "$0" && exec "$@"', last("WORKDIR")]
        folders = [self.path(folder) for folder in ("root", "volume", "etc")]
        server = self.run_process(
            [*isolated, PREPARE, "prepare", *folders, last("RUN"), *what_to_install()]
            + ["env", "-i", *variables, *as_user, *where, *command],
            env=unmeasured(),
        )
        self.find_endpoint(server)
        first = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()[0]
        status = Path(f"/proc/{first}/status").read_text()
        for line in rf"NSpid:\s+{first}\s+1", rf"Uid:\s+{user}\s+{user}", r"CapBnd:\s+0+", r"NoNewPrivs:\s+1":
            self.assertRegex(status, rf"(?m)^{line}\b")
        self.assertRegex(Path(f"/proc/{first}/mountinfo").read_text(), r"(?m)^\d+ \d+ \S+ / / ro[ ,]")
        self.make_file("in", 100_000)
        key = self.read("etc/server.key.pub").decode().split()[-1]
        client = self.run_process(
            [*SODIUMTWIST, "send", "--endpoint", self.endpoint, "--key", key, "--identity", "ann.key"]
            + ["--user", "ann", "in"]
        )
        self.assertEqual((client.wait(), client.errors), (0, []))
        self.assertTrue(self.read("volume/uploads/ann/in") == self.read("in"))
        # The system spares the first process the signal by which twistd ends itself elsewhere.
        os.kill(int(first), signal.SIGTERM)
        self.assertEqual(server.wait(), 0)
        self.assertEqual(server.errors, [])
