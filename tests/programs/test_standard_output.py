"""
Standard output for a stream of bytes, on real pipes, terminals, sockets and files.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import socket
import sys
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from sodiumtwist.programs.standard_output import (
    FileOutput,
    Output,
    SharedOutput,
    SocketOutput,
    StreamOutput,
    open_output,
)
from sodiumtwist.transfer.pipes import PipeWriter, has_left

LARGE = os.urandom(1 << 18)


class OutputTests(TestCase):
    """What a payload takes to be written, and that nothing changes for whoever shares the descriptor."""

    def keep(self, *fds: int) -> None:
        for fd in fds:
            self.addCleanup(os.close, fd)

    async def assert_slow(self, output: Output, shared: int, read: int) -> None:
        """A large payload is written as fast as it is read; the descriptor that it came from still blocks."""
        self.assertTrue(os.get_blocking(shared))
        written: Deferred[None] = output.write(LARGE)
        await deferLater(reactor, 0)
        self.assertFalse(written.called)
        os.set_blocking(read, False)
        got = bytearray()
        while len(got) < len(LARGE):
            try:
                got += os.read(read, 1 << 16)
            except BlockingIOError:
                await deferLater(reactor, 0)
        await written
        self.assertEqual(got, LARGE)
        self.assertTrue(os.get_blocking(shared))
        output.close()

    async def test_pipe(self) -> None:
        """It is opened anew where the system has that; else it is given no more than it takes."""
        for opened_anew in (True, False):
            read, shared = os.pipe()
            self.keep(read, shared)
            if opened_anew:
                output = open_output(shared, reactor)
                self.assertIs(type(output), PipeWriter if sys.platform == "linux" else SharedOutput)
            else:
                with patch.object(os, "open", side_effect=PermissionError):
                    output = open_output(shared, reactor)
                self.assertIs(type(output), SharedOutput)
            await self.assert_slow(output, shared, read)

    async def test_socket(self) -> None:
        """The reader sees the end, and the other direction goes on."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            output = open_output(ours.fileno(), reactor)
            self.assertIs(type(output), SocketOutput)
            await self.assert_slow(output, ours.fileno(), theirs.fileno())
            self.assertEqual(os.read(theirs.fileno(), 1), b"")
            theirs.send(b"x")
            self.assertEqual(ours.recv(1), b"x")

    async def test_terminal(self) -> None:
        there, shared = pty.openpty()
        self.keep(there, shared)
        output = open_output(shared, reactor)
        await output.write(b"line\n")
        self.assertTrue(os.get_blocking(shared))
        self.assertEqual(os.read(there, 10), b"line\r\n")
        output.close()

    async def test_file(self) -> None:
        """It goes on where it is: a file to which others append is not begun anew."""
        path = self.mktemp()
        shared = os.open(path, os.O_WRONLY | os.O_CREAT)
        self.keep(shared)
        os.write(shared, b"header\n")
        output = open_output(shared, reactor)
        self.assertIs(type(output), FileOutput)
        await output.write(LARGE)
        output.close()
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"header\n" + LARGE)

    async def test_reader_leaves(self) -> None:
        """Then and before, that is an error of writing."""
        for leaves_first in (True, False):
            read, shared = os.pipe()
            self.keep(shared)
            if leaves_first:
                os.close(read)
            output = open_output(shared, reactor)
            written = output.write(LARGE)
            if not leaves_first:
                os.close(read)
            await self.assertFailure(written, BrokenPipeError)
            self.assertTrue(has_left(shared))
            output.close()

    async def test_not_for_writing(self) -> None:
        shared = os.open(os.devnull, os.O_RDONLY)
        self.keep(shared)
        await self.assertFailure(open_output(shared, reactor).write(b"x"), OSError)

    def test_closed(self) -> None:
        """Standard output that was closed at the start leads nowhere, which would lose all without a word."""
        self.patch(sys, "stdout", None)
        self.assertRaisesRegex(OSError, "it is closed; >/dev/null drops what comes", StreamOutput, reactor)

    def test_no_more_than_fits(self) -> None:
        """A pipe that blocks is never given what would."""
        read, shared = os.pipe()
        self.keep(read)
        output = SharedOutput(shared, reactor, None)
        self.assertEqual(output._take(memoryview(LARGE)) % select.PIPE_BUF, 0)
        self.assertRaises(BlockingIOError, output._take, memoryview(b"x"))
        self.assertFalse(fcntl.fcntl(shared, fcntl.F_GETFL) & os.O_NONBLOCK)
        output.close()
