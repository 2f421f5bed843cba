"""
A terminal of its own for a program that asks there.
"""

from __future__ import annotations

import os
import pty
import signal
import termios


def on_terminal(command: list[str], directory: str, answers: tuple[bytes, ...]) -> tuple[int, bytes]:
    """
    Run a command on a terminal of its own and type.

    :param directory: where it runs.
    :param answers: what to type each time that something is asked for, with a colon behind it.
    :return: its status, and all that the terminal shows. It shows again what is typed then.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        # As in tests.processes: who ignores Ctrl-C hands that down.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.chdir(directory)
        os.execv(command[0], command)
    shown = b""
    with os.fdopen(terminal, "r+b", buffering=0) as file:
        for answer in answers:
            while not shown.endswith(b": "):
                shown += os.read(terminal, 1000)
            shown += b"\n"
            file.write(answer)
        try:
            while data := os.read(terminal, 1000):
                shown += data
        except OSError:
            pass  # the terminal is gone
        assert termios.tcgetattr(terminal)[3] & termios.ECHO
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown
