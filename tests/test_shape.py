"""
The shape of what happens, counted: how many attributes one end has, how many calls of ours a DATA and a login take
and how often they move from one file to another, and how much a newcomer sees first.

The bounds are what is needed now. When something here fails, the house has become harder to follow.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import FrameType

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist
from sodiumtwist import SodiumServerProtocol

from .alone import new_peer_client
from .pair import MemoryTransport, build, make_server_factory
from .versions import each_version, spoken

PACKAGE = Path(sodiumtwist.__file__).parent
HERE = Path(__file__)


class Echo(SodiumServerProtocol):
    """An application; its calls are counted with ours."""

    def authenticated(self) -> None:
        pass

    def payload_received(self, payload: bytes) -> None:
        self.send_data(payload)


def trace(action: Callable[[], object]) -> list[str]:
    """
    List the calls of the package's functions, and of the application's here.

    :return: the file of each, in order; a generator is called once for each of its steps.
    """
    files: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            path = Path(frame.f_code.co_filename)
            if PACKAGE in path.parents or (path == HERE and frame.f_code.co_name in vars(Echo)):
                files.append(os.path.relpath(path, PACKAGE))

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return files


def moves(files: list[str]) -> int:
    """How often a call is in another file than the one before."""
    return sum(file != before for before, file in pairwise(files))


@each_version
class ServerShapeTests(SynchronousTestCase):
    """A server's end, of one version: to find out which one is spoken takes a few calls more."""

    def setUp(self) -> None:
        factory = make_server_factory(Clock(), Echo, versions=[spoken()])

        def connect() -> None:
            self.client = new_peer_client(time.time)
            self.server = build(factory, Echo)
            self.transport = MemoryTransport(self.server)
            self.server.makeConnection(self.transport)
            self.client.initiate()

        connect()
        self.log_in()  # what happens once in a process is not counted
        connect()

    def log_in(self) -> None:
        for _ in range(spoken()):
            self.server.dataReceived(self.client.data_to_send())
            list(self.client.receive_data(self.transport.take(10_000), 0.0))

    def send(self) -> None:
        self.client.send_data(bytes(100))
        self.server.dataReceived(self.client.data_to_send())

    def test_data(self) -> None:
        """From the bytes of a DATA to those of its answer."""
        self.log_in()
        self.send()
        self.client.send_data(bytes(100))
        data = self.client.data_to_send()
        self.transport.out.clear()
        files = trace(lambda: self.server.dataReceived(data))
        self.assertEqual(len(self.transport.out), len(data))
        self.assertIn("../tests/test_shape.py", files)
        calls, most = ((14, 10), (16, 16))[spoken() - 1]
        self.assertLessEqual(len(files), calls)
        self.assertLessEqual(moves(files), most)

    def test_login(self) -> None:
        """From the bytes of a login to the application's word that it is let in, the hello sent."""
        if spoken() == 2:
            self.server.dataReceived(self.client.data_to_send())
            list(self.client.receive_data(self.transport.take(10_000), 0.0))
        login = self.client.data_to_send()
        files = trace(lambda: self.server.dataReceived(login))
        self.assertTrue(self.transport.out)
        self.assertIs(self.server.is_authenticated, True)
        calls, most = ((51, 25), (113, 66))[spoken() - 1]
        self.assertLessEqual(len(files), calls)
        self.assertLessEqual(moves(files), most)

    def test_attributes(self) -> None:
        """Its own and its classes', and how many of them are flags; its parts count as one each."""
        self.log_in()
        names = set(vars(self.server))
        for kind in type(self.server).__mro__:
            if kind.__module__.startswith("sodiumtwist."):
                names |= {
                    name
                    for name, value in vars(kind).items()
                    if not name.startswith("__")
                    and not callable(value)
                    and not isinstance(value, (property, staticmethod))
                }
        flags = [name for name in names if isinstance(getattr(self.server, name), bool)]
        self.assertLessEqual(len(names), 20, sorted(names))
        self.assertLessEqual(len(flags), 2, flags)


class FirstSightTests(SynchronousTestCase):
    def test_folders_and_files(self) -> None:
        """What one sees first of the package."""
        seen = [name for name in os.listdir(PACKAGE) if name != "__pycache__"]
        self.assertLessEqual(len(seen), 16, sorted(seen))
