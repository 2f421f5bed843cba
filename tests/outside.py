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
        raise missing(f"{name} is not installed (Debian: apt-get install {package})")
    return path


def missing(told: str) -> Exception:
    """
    Make what a test raises that lacks something from outside.

    :param told: what it is.
    :return: what skips the test; a failure when the project is guarded here: then all must be there.
    """
    return AssertionError(told) if os.environ.get("CI") else SkipTest(told)
