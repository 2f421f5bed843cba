"""
The machine and the versions that figures were measured with.
"""

from __future__ import annotations

import os
import platform
import re
import ssl
import subprocess
from importlib import metadata
from shutil import which

PACKAGES = (
    "sodiumtwist",
    "Twisted",
    "PyNaCl",
    "cffi",
    "pyOpenSSL",
    "cryptography",
    "pyzmq",
    "magic-wormhole",
    "uvloop",
)

#: Programs, and how each tells its version.
PROGRAMS = {
    "ssh": ("ssh", "-V"),
    "rsync": ("rsync", "--version"),
    "stunnel": ("stunnel", "-version"),
    "spiped": ("spiped", "-v"),
    "redis-server": ("redis-server", "--version"),
}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe_machine() -> dict[str, str]:
    """Describe the processor, the cores that we may use and the system, and nothing that tells whose machine it is."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = ", ".join(f"{share:.2f}" for share in os.getloadavg())
    return {
        "processor": _processor(),
        "cores": str(cores),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load before": load,
    }


def describe_versions() -> dict[str, str]:
    """Tell the versions of Python and of the libraries that are installed."""
    versions = {"Python": f"{platform.python_version()} ({platform.python_implementation()})"}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    versions["OpenSSL of Python"] = ssl.OPENSSL_VERSION
    try:
        from OpenSSL import SSL

        versions["OpenSSL of pyOpenSSL"] = SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()
    except ImportError:
        pass
    try:
        import zmq

        versions["libzmq"] = zmq.zmq_version()
    except ImportError:
        pass
    for name, command in PROGRAMS.items():
        if path := which(command[0], path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"):
            # Some of them tell it as an error.
            done = subprocess.run([path, *command[1:]], capture_output=True, text=True, stdin=subprocess.DEVNULL)
            lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
            versions[name] = next((line for line in lines if re.search(r"\d\.\d", line)), "it does not tell")
    return versions
