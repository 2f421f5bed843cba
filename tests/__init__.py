"""
Tests; run with ``trial tests``.
"""

import os

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

# A run leaves no files behind: hypothesis gets no database, and its cache goes nowhere.
set_hypothesis_home_dir(os.devnull)

#: Where our programs look for the user's own folders: nowhere, so that no test reads or changes what belongs to who
#: runs it. A test that needs such folders has :func:`tests.own_folders.use_own_folders`.
NO_FOLDERS = {name: f"{os.devnull}/{name}" for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME")}
os.environ.update(NO_FOLDERS)

# Too slow is a busy machine. Different executors are the classes of one test that runs over both versions: with no
# database there is nothing of the one that could mislead the other.
ALLOWED = [HealthCheck.too_slow, HealthCheck.differing_executors]

# No deadline for a single example: a busy machine is no failure.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=400,
    suppress_health_check=ALLOWED,
)
# Where another run of the same tests tries all examples: as many as find the mistakes of a release.
settings.register_profile(
    "again",
    settings.get_profile("ci"),
    max_examples=60,
)
settings.register_profile(
    "dev",
    deadline=None,
    database=None,
    max_examples=150,
    suppress_health_check=ALLOWED,
)
settings.load_profile(os.environ.get("EXAMPLES") or ("ci" if os.environ.get("CI") else "dev"))
