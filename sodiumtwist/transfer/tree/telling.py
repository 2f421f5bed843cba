"""
What a receiver tells of files, to their sender and to people.
"""

from __future__ import annotations

from collections.abc import Iterator

from .messages import FOLDER, HAVE, REFUSED, RESUME, Entry, Settled, Verdict
from .report import FAILED, REFUSED as WAS_REFUSED, STORED, THERE, WOULD_RESUME, WOULD_SEND, FileResult, Report

#: How many bytes what is told of files by one DATA has, roughly, at most.
OUTCOME_SIZE = 64 * 1024


def parts(files: list[Settled]) -> Iterator[list[Settled]]:
    """
    Share out what is told of files to the sender, so that each part fits a DATA. There is at least one.
    """
    part: list[Settled] = []
    size = 0
    for settled in files:
        size += 128 + len(settled.name) + 4 * len(settled.text)
        if part and size > OUTCOME_SIZE:
            yield part
            part, size = [], 128 + len(settled.name) + 4 * len(settled.text)
        part.append(settled)
    yield part


def report_verdict(report: Report, entry: Entry, verdict: Verdict) -> None:
    """
    Tell people of an entry that is settled by a verdict, or would not be where something is stored.
    """
    if verdict.what == REFUSED:
        result = FileResult(entry.path, entry.kind, WAS_REFUSED, code=verdict.code, text=verdict.text)
    elif entry.kind == FOLDER:
        return
    elif verdict.what == HAVE:
        result = FileResult(entry.path, entry.kind, THERE, verdict.name or entry.path, entry.size)
    else:
        outcome = WOULD_RESUME if verdict.what == RESUME else WOULD_SEND
        result = FileResult(entry.path, entry.kind, outcome, size=entry.size)
    report.settled(result)


def report_settled(report: Report, entry: Entry, settled: Settled) -> None:
    """
    Tell people of a file that is settled.
    """
    if settled.code:
        result = FileResult(entry.path, entry.kind, FAILED, code=settled.code, text=settled.text)
    else:
        name, digest = settled.name or entry.path, settled.digest.hex()
        result = FileResult(entry.path, entry.kind, STORED, name, settled.size, digest, text=settled.text)
    report.settled(result)
