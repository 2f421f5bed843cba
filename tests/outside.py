"""
Programs from outside, which not every machine has.
"""

from __future__ import annotations

import os
import shutil
from unittest import SkipTest


def find_program(name: str, package: str) -> str:
    """
    Return the path of a program.

    :param package: Debian's package that it is in.
    :raises SkipTest: when it is not installed.
    :raises AssertionError: when it is not, and the project is guarded here: then it must be, see ``.ci/run``.
    """
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        told = f"{name} is not installed (Debian: apt-get install {package})"
        if os.environ.get("CI"):
            raise AssertionError(told)
        raise SkipTest(told)
    return path
