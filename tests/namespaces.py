"""
This Python and the package where an installation has them, in namespaces in which a test may change the machine.
Root alone can make such.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig

from .outside import find_program, missing
from .pages import ROOT

#: Where units, and the image, have the program.
PLACE = "/opt/sodiumtwist"

# Root's home is closed to services, and another user's: so all that they need is mounted elsewhere. Behind the four
# words of what_to_install() may stand the folder that becomes the root.
INSTALL = rf"""
install_program() {{
    local place="${{5:-}}{PLACE}"
    mount -t tmpfs none "${{5:-}}/opt"
    mkdir -p "$place/bin" "$place/python" "$place/packages" "$place/source"
    mount --bind "$1" "$place/python"
    mount --bind "$2" "$place/packages"
    mount --bind "$3" "$place/source"
    for program in twistd:twisted.scripts.twistd:run sodiumtwist:sodiumtwist.programs.cli:main; do
        IFS=: read -r name module function <<<"$program"
        cat >"$place/bin/$name" <<SCRIPT
#!/bin/sh
export PYTHONPATH={PLACE}/source:{PLACE}/packages PYTHONDONTWRITEBYTECODE=1
# A Python that has itself as a library looks for it where it was installed, and would take another one's in its place.
export LD_LIBRARY_PATH={PLACE}/python/lib
exec {PLACE}/python/$4 -c 'from $module import $function; $function()' "\$@"
SCRIPT
        chmod 755 "$place/bin/$name"
    done
}}
"""


def what_to_install() -> list[str]:
    """The arguments of ``install_program``."""
    python = os.path.relpath(os.path.realpath(sys.executable), os.path.realpath(sys.base_prefix))
    return [sys.base_prefix, sysconfig.get_path("purelib"), ROOT, python]


def isolating(*namespaces: str) -> list[str]:
    """
    Begin a command that runs in namespaces of its own, as the first process there, and ends with it.

    :param namespaces: besides those of mounts and processes.
    :raises SkipTest: where that can't be had.
    """
    for program in "unshare", "nsenter", "mount", "setpriv":
        find_program(program, "util-linux")
    others = [f"--{name}" for name in namespaces]
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *others, "bash", "-c"]
    done = subprocess.run([*command, "mount -t tmpfs none /mnt"], capture_output=True, text=True)
    if done.returncode:
        raise missing(f"namespaces can't be had here: {done.stderr.strip()}")
    return command
