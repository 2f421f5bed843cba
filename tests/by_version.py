"""
The tests whose outcome can depend on the version of Python or of a library: all but those of the modules listed here,
and those that run over version 1 of the protocol what they run over version 2 as well.

Run with ``trial tests.by_version``. Tox runs these with the oldest releases, and ``trial tests``, the command of the
README, runs all with the newest. A test that is added counts as one of these until it is listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from unittest import TestCase, TestSuite

from twisted.trial.runner import TestLoader

#: Modules left out, each with the reason why one run of it tells all.
RUN_ONCE = {
    "tests.test_benchmarks": "programs beside the package; they call what other tests call, and need no old release",
    "tests.test_benchmarks_usage": "texts of the system, and a process of this Python",
    "tests.test_changelog": "text, and towncrier, of which no release is asked for",
    "tests.test_contributing": "commands for developers, who have the newest of everything",
    "tests.test_docs": "text, and the commands of its pages, which call what other tests call",
    "tests.test_examples": "programs that call what other tests call; those of a release run where it is built",
    "tests.test_forking": "processes of tests",
    "tests.test_figures": "text, made of a file",
    "tests.test_readme": "text, held against constants",
    "tests.test_session": "text, made of a file",
    "tests.describe.test_events": "text, of the package's own files",
    "tests.operation.test_worker_processes": "processes that are killed; what workers do has tests of its own",
    "tests.operation.test_monitoring_files": "text, and a program from outside that reads it",
    "tests.operation.test_page_in_browser": "a browser, which sees what the tests of the page and the site hold",
    "tests.operation.test_balancer": "processes, and a program from outside; what clients do then has tests of its own",
    "tests.operation.test_day": "the same with all that there is; each of it has tests of its own",
    "tests.operation.test_container": "a process in namespaces; what it runs has tests of its own",
    "tests.operation.test_log_processes": "a process, and a program from outside; the log has tests of its own",
    "tests.operation.test_systemd": "units of systemd, and what runs of it; what it is told has tests of its own",
    "tests.operation.test_redis_processes": "processes beside a server of Redis; the store has tests of its own",
    "tests.programs.test_cli": "processes, their outputs and descriptors; what they run has tests of its own",
    "tests.programs.test_client_processes": "processes of commands whose parts have tests of their own",
    "tests.programs.test_load": "many processes at once, and the system's limits; each limit has tests of its own",
    "tests.programs.test_pipe_processes": "programs from outside; what the pipe does has tests of its own",
    "tests.programs.test_server_processes": "processes that start; their options and services have tests of their own",
    "tests.programs.test_service_user": "processes of root's and of others; who may what has tests of its own",
    "tests.programs.test_who_processes": "processes around checkers, keys and memories that have tests of their own",
    "tests.transfer.test_broken_transfers": "processes that are killed; what uploads do then has tests of its own",
    "tests.transfer.tree.test_processes": "processes that are killed, and full disks; sessions have tests of their own",
}


def each(suite: TestSuite) -> Iterator[TestCase]:
    for test in suite:
        if isinstance(test, TestSuite):
            yield from each(test)
        else:
            yield test


def is_run_once(case: type[TestCase]) -> bool:
    """Tell whether one run of the tests of a class tells all."""
    return case.__module__ in RUN_ONCE or case.__name__.endswith("Version1")


def testSuite() -> TestSuite:
    """All tests but those that are run once. Trial calls this, by its name."""
    loaded = TestLoader().loadByName("tests", recurse=True)
    return TestSuite(test for test in each(loaded) if not is_run_once(type(test)))
