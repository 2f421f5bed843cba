"""
Install the oldest release of each run-time requirement that ``setup.cfg`` allows.
"""

from __future__ import annotations

import configparser
import subprocess
import sys

setup = configparser.ConfigParser()
setup.read("setup.cfg")
lines = setup["options"]["install_requires"].split("\n")
requirements = [line.partition("#")[0].strip() for line in lines]
pinned = [line.replace(">=", "==") for line in requirements if line]
print(*pinned, sep="\n", flush=True)
if not all("==" in line for line in pinned):
    sys.exit("a requirement has no lower bound")
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--quiet", *pinned]))
