"""
Run all targets for a while, with the same seed each time. The exit status is 1 when there was a finding::

    python fuzz/run.py [--runs 20000] [target ...]

The inputs of findings are kept in ``fuzz/findings``. When atheris is missing it says so and runs nothing.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = ["server_handshake", "client_handshake", "streams", "frames", "payloads", "records", "pdus", "files"]


def run(target: str, runs: int) -> bool:
    """Run one target on its corpus, and add nothing to that. Return whether it found nothing."""
    findings = HERE / "findings"
    findings.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as found:
        done = subprocess.run(
            [
                sys.executable,
                str(HERE / f"{target}.py"),
                f"-runs={runs}",
                "-seed=1",
                "-timeout=10",
                f"-artifact_prefix={findings / target}-",
                found,
                str(HERE / "corpus" / target),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    last = re.findall(r"^#(\d+)\tDONE +cov: (\d+)", done.stdout, re.MULTILINE)
    if done.returncode != 0 or not last:
        print(f"{done.stdout}\n{target}: found something, or did not run", flush=True)
        return False
    print(f"{target}: nothing found in {last[0][0]} inputs, coverage {last[0][1]}", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--runs", type=int, default=20_000, help="inputs to try for each target")
    parser.add_argument("targets", nargs="*", metavar="target", help=f"some of: {', '.join(TARGETS)}")
    options = parser.parse_args()
    if find_spec("atheris") is None:
        print("skipped: atheris, which the extra 'fuzz' has for Python 3.11 to 3.13 on Linux, is not installed")
        return 0
    return 0 if all([run(target, options.runs) for target in options.targets or TARGETS]) else 1


if __name__ == "__main__":
    sys.exit(main())
