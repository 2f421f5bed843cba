"""
The programs' clocks, when somebody sets the wall clock.
"""

from __future__ import annotations

import os
import socket
import sys
import time

from twisted.internet.testing import MemoryReactorClock
from twisted.python import runtime

from sodiumtwist import SodiumServerProtocol
from sodiumtwist.programs import tap, tunneltap
from sodiumtwist.programs.door import DOOR_TIME

from ..pair import MemoryTransport, build
from ..processes import PUBLIC, SECRET, ProcessTestCase
from ..wall_clock import WallReactor
from .test_tap import TapTestCase

#: A twistd whose ``time.time`` is ahead by what the file ``$STEP`` says.
SET_TWISTD = """
import os, time
real = time.time
def moved():
    with open(os.environ["STEP"]) as file:
        return real() + float(file.read())
time.time = moved
from twisted.scripts.twistd import run
run()
"""

#: Runs a command as ``sodiumtwist`` does.
RUN = """
import time
from sodiumtwist.programs.running import run
async def command(reactor, settings):
    print(reactor.seconds is time.monotonic)
run(command, None)
"""


class WallTapReactor(WallReactor, MemoryReactorClock):
    """A reactor to listen with."""

    def __init__(self) -> None:
        MemoryReactorClock.__init__(self)
        WallReactor.__init__(self)


class ServiceTests(TapTestCase):
    """Services."""

    def test_reactor_of_a_program(self) -> None:
        """Both services have their reactor count by the monotonic clock."""
        for module, arguments in (
            (tap, ["--discard", "-k", SECRET]),
            (tunneltap, ["--listen", "tcp:0", "--to", "tcp:h:1", "--server-key", PUBLIC, "-P", "x"]),
        ):
            reactor = MemoryReactorClock()
            reactor.seconds = runtime.seconds  # type: ignore[method-assign]
            options = module.Options()
            options.parseOptions(arguments)
            module.makeService(options, reactor)
            self.assertIs(reactor.seconds, time.monotonic, module)

    def test_stopping_within_an_application(self) -> None:
        """Where the reactor runs already and keeps its clock, stopping takes as long all the same."""
        for step in (3600, -3600):
            reactor = WallTapReactor()
            reactor.be_the_reactor(self)
            reactor.running = True
            service = tap.makeService(self.parse("-k", SECRET), reactor)
            service.startService()
            protocol = build(service._factory, SodiumServerProtocol)
            protocol.makeConnection(MemoryTransport(protocol))
            stopped = service.stopService()
            reactor.set_and_wake(step)
            reactor.watch()
            # The connection might still have logged in.
            reactor.let_pass(DOOR_TIME)
            reactor.let_pass(3.75)
            self.assertNoResult(stopped)
            reactor.let_pass(0.5)
            self.successResultOf(stopped)


class ProcessTests(ProcessTestCase):
    """Real processes."""

    def set_clock(self, seconds: int) -> None:
        with open(self.path("new"), "w") as file:
            file.write(str(seconds))
        os.rename(self.path("new"), self.path("step"))

    def test_command(self) -> None:
        command = self.run_process([sys.executable, "-c", RUN])
        self.assertEqual((command.wait(), command.output, command.errors), (0, ["True"], []))

    def test_server(self) -> None:
        """A step back keeps no stranger, and a step forward ends no connection."""
        self.set_clock(0)
        server = self.run_process(
            [sys.executable, "-c", SET_TWISTD, "-n", "--pidfile=", "sodium", "--discard", "--key", SECRET]
            + ["--endpoint", "tcp:0:interface=127.0.0.1", "--auth-timeout", "0.5"],
            env={**os.environ, "STEP": self.path("step")},
        )
        self.find_endpoint(server)
        client = self.start_client("ping", "--count", "2", "--interval", "0.5")
        client.wait_for("seq=1")
        self.set_clock(3600)
        # It wakes the server, too.
        port = int(self.endpoint.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 20) as stranger:
            self.set_clock(-3600)
            self.assertEqual(stranger.recv(1), b"")
        self.assertEqual(client.wait(), 0)
