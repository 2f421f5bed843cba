"""
The transport of a connection: what can be done with it that Twisted has no words for, and the sizes that suit a
socket. Whatever here reaches into Twisted's objects does so nowhere else in the package, but for ports that are
shared, in :mod:`~sodiumtwist.protocol.ports`.
"""

from __future__ import annotations

import errno
import fcntl
import select
import selectors
import socket
import struct
import sys
import termios
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any, TypeGuard

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer, ITransport
from twisted.protocols.policies import ProtocolWrapper

from ..core.inbox import Buffer
from ..core.v2.pdus import HEADER_SIZE
from ..core.v2.sealing import HEAD_SIZE, TAG_SIZES
from ..core.wire import PDU_OVERHEAD
from ..interfaces import ISodiumTransport, IStreamTransport
from .direct import CoreConnection, DirectReading, start_tls

#: How many bytes are read from a socket at once, where Twisted takes 65536: a whole PDU of the
#: largest chunks that our programs send, and with what a ``bytes`` object has on top still less than
#: the 128 KiB from which the C library maps memory anew for each.
READ_SIZE = 131000

#: How many bytes a socket is given at once, where Twisted gives it 131072: a PDU of the largest size is a
#: few more, and would take a second call for them. Also how much is sent without waiting for the reactor
#: each time it calls us: it has other connections to serve.
SEND_SIZE = 4 * 131072

#: With large messages on their way, so many bytes wait in the system's queue of a socket until it takes no more, and
#: as many are received ahead. What is small waits behind them.
SHORT_QUEUE = 131072

#: So much is received ahead for each second that a packet and its confirmation take, if that is more: otherwise far
#: peers would have to wait for us.
QUEUE_PER_SECOND = 128 * 1024 * 1024

#: Python has no name for it on Linux before 3.12.
_TCP_NOTSENT_LOWAT = 25

#: How often TCP asks a machine that does not answer before it gives the connection up.
KEEPALIVE_PROBES = 4

#: The payload of a PDU that one read takes whole, in bytes, whichever version is spoken: what files and streams are cut
#: into.
CHUNK_SIZE = READ_SIZE - max(PDU_OVERHEAD, HEADER_SIZE + HEAD_SIZE + 2 * max(TAG_SIZES.values()))


def is_bare_socket(transport: Any) -> TypeGuard[FileDescriptor]:
    """Tell whether what is written to a transport goes to its socket as it is: after ``startTLS`` it does not."""
    return isinstance(transport, FileDescriptor) and not getattr(transport, "TLS", False)


def half_closes(transport: ITransport) -> bool:
    """
    Tell whether a transport's ``loseWriteConnection`` ends one direction and leaves the other:
    sockets' does, TLS and other wrappers hand it to the socket below and lose what they hold.
    """
    return not getattr(transport, "TLS", False) and (
        isinstance(transport, FileDescriptor) or ISodiumTransport.providedBy(transport)
    )


def is_tls(transport: ITransport) -> bool:
    """
    Tell whether a transport is TLS's. It ends in order when its peer has said so, also when we closed first: what
    came before that was delivered.
    """
    # Not imported here: that brings in OpenSSL, which most programs need not load.
    tls = sys.modules.get("twisted.protocols.tls")
    return tls is not None and isinstance(transport, tls.TLSMemoryBIOProtocol)


def _socket_under(transport: Any) -> Any:
    """Return the socket's transport that is a transport, or is under it, as under TLS; ``None`` where there is none."""
    while transport is not None and not isinstance(transport, FileDescriptor):
        transport = getattr(transport, "transport", None)
    return transport


def _handle_under(transport: Any) -> Any:
    """Return the socket of a transport, or of what is under it; ``None`` where there is none."""
    return getattr(_socket_under(transport), "getHandle", lambda: None)()


def _reset_when_closed(handle: Any, reset: bool) -> None:
    """
    Say how a socket ends when it is closed: with a reset that drops what the system has not sent, or in order.

    :param handle: the socket.
    :param reset: whether it is to be a reset.
    """
    # With no time to linger in the system resets. The socket may be broken already.
    with suppress(OSError):
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))


def _kernel_holds(handle: Any) -> int:
    """
    Tell how many bytes the system has to send, or has sent and nobody has confirmed.

    :param handle: a socket.
    :raises OSError: when it can't be known.
    """
    return int.from_bytes(fcntl.ioctl(handle, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _kernel_confirmed(handle: Any) -> int | None:
    """
    Tell how many bytes the peer's system has confirmed.

    :param handle: a socket.
    :return: ``None`` where it can't be known: only Linux tells, and only of TCP.
    :raises OSError: when it can't be known.
    """
    if sys.platform != "linux" or handle.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    # tcpi_bytes_acked, which counts our first packet, of no bytes, for one.
    info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
    return max(0, struct.unpack_from("Q", info, 120)[0] - 1) if len(info) == 128 else None


def _round_trip(handle: Any) -> float | None:
    """
    Tell how many seconds a packet and its confirmation took at least.

    :param handle: a socket.
    :return: ``None`` where it can't be known.
    :raises OSError: when it can't be known.
    """
    # tcpi_min_rtt, in microseconds.
    info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 152)
    return struct.unpack_from("I", info, 148)[0] / 1e6 if len(info) == 152 else None


def shorten_queues(transport: Any) -> None:
    """
    Have the system hold little of what we write and of what we are to read. It would take megabytes, of which each
    direction of a large message fills all, and behind which a small message waits. What the network itself needs, it
    still may hold. Only Linux can do that; elsewhere, and of what is no TCP socket, nothing is asked.

    :param transport: of a socket, or a wrapper around one.
    """
    handle = _handle_under(transport)
    if sys.platform != "linux" or getattr(handle, "family", None) not in (socket.AF_INET, socket.AF_INET6):
        return
    # It may be broken already, which the reactor is about to find out.
    with suppress(OSError):
        handle.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, SHORT_QUEUE)
        seconds = _round_trip(handle)
        if seconds is not None:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, max(SHORT_QUEUE, int(seconds * QUEUE_PER_SECOND)))


def _tells(handle: Any, what: int) -> bool:
    """
    Ask the system about a socket, without taking anything from it.

    :param handle: the socket.
    :param what: what to look for, as in poll().
    """
    look = select.poll()
    look.register(handle, what)
    return any(event & what for _, event in look.poll(0))


def _has_error(handle: Any) -> bool:
    """
    Tell whether the system knows of an error that has broken a connection. It goes on to tell whoever reads or writes.

    :param handle: a socket.
    """
    return _tells(handle, select.POLLERR)


#: What endpoints call the host or the path that they are for; the first that is there counts.
_PLACES = ("_hostText", "_host", "host", "_interface", "interface", "_path", "path", "_address")


def describe_endpoint(endpoint: Any) -> str:
    """
    Say on one line what an endpoint is, and where it leads or listens, as far as that can be known. Its own repr is not
    asked: one of somebody else's may show anything, a passphrase included.

    :return: ``TCP4ClientEndpoint 127.0.0.1:5555``, or the name of the class alone.
    """
    name = type(endpoint).__name__.strip("_")
    attributes = getattr(endpoint, "__dict__", {})
    below = attributes.get("_wrappedEndpoint")  # as of tls: and haproxy:
    if below is not None:
        return f"{name} of {describe_endpoint(below)}"
    place = next((attributes[each] for each in _PLACES if attributes.get(each)), "")
    if isinstance(place, bytes):
        place = place.decode("utf-8", "replace")
    where = place if isinstance(place, str) and place.isascii() and place.isprintable() else ascii(place)
    port = attributes.get("_port", attributes.get("port"))
    if not isinstance(port, int):
        return f"{name} {where}".rstrip()
    return f"{name} {f'[{where}]' if ':' in where else where or '*'}:{port}"


def _do_nothing() -> None:
    pass


def uses_select(reactor: Any) -> bool:
    """
    Tell whether a reactor watches descriptors with select(), which takes none from a certain number on. Which one it
    is does not depend on its name: asyncio's may have any selector, and others are made of Twisted's own.
    """
    selector = getattr(getattr(reactor, "_asyncioEventloop", None), "_selector", None)
    if isinstance(selector, selectors.SelectSelector):
        return True
    # Not isinstance(), for which modules would be imported that no other reactor needs.
    modules = {kind.__module__ for kind in type(reactor).__mro__}
    return not modules.isdisjoint({"twisted.internet.selectreactor", "twisted.internet._threadedselect"})


@cache  # each connection needs them, and nearly always for the same time
def _keepalive_options(seconds: float) -> list[tuple[int, int, int]]:
    """What to set of a socket: levels, options and values."""
    # The names that Linux and the BSDs have; macOS has another one for the first. What a system has not, it does its
    # own way.
    wanted = {
        "TCP_KEEPIDLE": round(seconds),
        "TCP_KEEPALIVE": round(seconds),
        "TCP_KEEPINTVL": max(1, round(seconds / KEEPALIVE_PROBES)),
        "TCP_KEEPCNT": KEEPALIVE_PROBES,
    }
    numbers = [
        (socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in wanted.items() if hasattr(socket, name)
    ]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *numbers]


def keep_alive(transport: Any, seconds: float) -> None:
    """
    Have the system ask the other one whether it is still there, when no packet came for a time: a machine that lost
    its power or its network says no goodbye. It asks :data:`KEEPALIVE_PROBES` times in as many seconds again; so a
    connection with such a machine breaks after twice the time.

    Where the transport is TLS or another wrapper, the socket below is told so. Of UNIX sockets, and of what has no
    socket, nothing is asked: what is at the other end is on this machine.

    :param transport: of a socket, or a wrapper around one. An end of ours tells its own.
    :param seconds: how long the time is; 0 leaves a socket as it is.
    """
    # What has none below it is no socket; nor is a stream of ours, which keeps to itself what it has.
    handle = _handle_under(transport)
    if not seconds or getattr(handle, "family", None) not in (socket.AF_INET, socket.AF_INET6):
        return
    # It may be broken already, which the reactor is about to find out.
    with suppress(OSError):
        for level, option, value in _keepalive_options(seconds):
            handle.setsockopt(level, option, value)


class TransportBelow:
    """
    A connection's transport.

    :param transport: a socket's, TLS's, or one of ours.
    :ivar transport: it.
    :ivar unplaced: whether it is not known yet for whom it speaks: a proxy's says so with its first bytes.
    """

    __slots__ = ("_gated", "_pipe_broken", "transport", "unplaced")

    def __init__(self, transport: IStreamTransport) -> None:
        self.transport = transport
        self.unplaced = False
        self._gated = self._pipe_broken = False

    @property
    def is_bare_socket(self) -> bool:
        """Whether what is written to it goes to a socket as it is. ``startTLS`` ends that."""
        return is_bare_socket(self.transport)

    def send_small_packets(self) -> None:
        """Have no packet wait for others to fill it up: what belongs together is written together."""
        set_no_delay = getattr(self.transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            with suppress(OSError):  # some Twisted versions have it for UNIX sockets, which have not
                set_no_delay(True)

    def shorten_queues(self) -> None:
        """Large messages share it with small ones, which are not to wait for what the system holds of those."""
        shorten_queues(self.transport)

    def read_up_to(self, size: int) -> None:
        """
        Read no more than this at once.

        :param size: in bytes. Transports that are no sockets don't know such a size.
        """
        # Twisted documents bufferSize as the class's; an instance may have its own, which it looks up each time.
        if hasattr(self.transport, "bufferSize"):
            self.transport.bufferSize = size

    def open_gate(
        self, gate: IPushProducer, close: Callable[[], None], end: weakref.ref[Any], connection: CoreConnection | None
    ) -> None:
        """
        Begin to write.

        :param gate: is told when the transport takes no more, and when it does again.
        :param close: closes in order.
        :param end: who writes.
        :param connection: for which is read into memory of the core's; ``None`` where all is read by Twisted.
        """
        # Not imported here: whoever has a socket of its class has it.
        tcp: Any = sys.modules.get("twisted.internet.tcp")
        own: Any = getattr(type(self.transport), "doRead", None)
        if connection is not None and tcp is not None and own is tcp.Connection.doRead:
            vars(self.transport)["doRead"] = DirectReading(weakref.ref(self.transport), end, connection)
        self.transport.registerProducer(gate, True)
        self._gated = True
        if is_bare_socket(self.transport):
            # Twisted cuts what it holds into pieces of this size for each call of send().
            self.transport.SEND_LIMIT = SEND_SIZE
            bare: Any = self.transport
            bare.startTLS = partial(start_tls, end)
        # The loseConnection of TLS and the like waits until the producer unregisters that we are to them. Who has only
        # the transport, as ClientService does, would wait for ever. And a socket's says no end of version 2.
        self.transport.loseConnection = close  # type: ignore[method-assign]

    def close_gate(self) -> None:
        """Write no more: a producer that stays registered keeps Twisted from closing."""
        if self._gated:
            self._gated = False
            vars(self.transport).pop("loseConnection", None)
            self.transport.unregisterProducer()

    def close_later(self) -> None:
        """Let nobody close it who has only the transport: it lingers, and to close now would cut that short."""
        vars(self.transport)["loseConnection"] = _do_nothing

    @property
    def is_closing(self) -> bool:
        """Whether somebody has closed the transport itself."""
        return bool(getattr(self.transport, "disconnecting", False))

    @property
    def is_over_above(self) -> bool:
        """
        Whether what is above a socket, as TLS, has closed that without us, for its peer has ended it: it takes nothing
        more. Twisted goes on to close the socket only when its producer has left, where that was paused.
        """
        closed: bool = not self.is_closing and getattr(_socket_under(self.transport), "disconnecting", False)
        return closed

    def take_error(self) -> int:
        """Return the number of the error that has broken a socket's connection, which it tells only once; else 0."""
        bare: Any = self.transport
        if not is_bare_socket(self.transport):
            return 0
        error: int = bare.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return error

    @property
    def is_broken(self) -> bool:
        """
        Whether the connection of a socket that is not closed yet was broken, its own or the one below it. The reactor
        does not tell of that while nothing is read or written.
        """
        handle = _handle_under(self.transport)
        return handle is not None and _has_error(handle)

    @property
    def peer_has_left(self) -> bool:
        """
        Whether a socket's peer has ended its direction, or broken the connection, though what came before is not read
        yet. Not all systems tell of such an end.
        """
        handle = _handle_under(self.transport)
        return handle is not None and _tells(handle, select.POLLERR | getattr(select, "POLLRDHUP", 0))

    def unread(self) -> int:
        """Tell how many bytes have come that are to be read; of what is no socket it is not known, and told as none."""
        bare: Any = self.transport
        if not is_bare_socket(self.transport):
            return 0
        try:
            waiting = fcntl.ioctl(bare.getHandle(), termios.FIONREAD, bytes(4))
        # It is closed: ValueError.
        except (AttributeError, OSError, ValueError):
            return 0
        return int.from_bytes(waiting, sys.byteorder)

    def confirmed(self) -> tuple[int | None, int]:
        """
        Tell how many bytes the peer's system has confirmed, ``None`` where that can't be known; and how many are left.
        To be asked while the socket is open, which it still is when a transport stops its producers.
        """
        handle = _handle_under(self.transport)
        try:
            if getattr(handle, "family", None) == socket.AF_UNIX:
                # Its kernel does not count in bytes that were sent. But it takes none for a peer that has closed.
                return None, self.held() if self._pipe_broken else 0
            return _kernel_confirmed(handle), self.unsent()
        except (AttributeError, OSError):
            return None, 0

    @property
    def in_tls_handshake(self) -> bool:
        """Whether there is TLS below whose own handshake is not over."""
        tls = sys.modules.get("twisted.protocols.tls")
        layer: Any = self.transport
        if tls is None:
            return False
        # A socket's transport on which TLS was started has it for its protocol.
        if getattr(layer, "TLS", False):
            layer = getattr(layer, "protocol", layer)
        while isinstance(layer, ProtocolWrapper) and not isinstance(layer, tls.TLSMemoryBIOProtocol):
            layer = layer.transport
        return isinstance(layer, tls.TLSMemoryBIOProtocol) and not layer._handshakeDone

    def half_closes(self) -> bool:
        """Tell whether it can end one direction and leave the other."""
        return half_closes(self.transport)

    def close(self) -> None:
        """Close in order."""
        vars(self.transport).pop("loseConnection", None)
        self.transport.loseConnection()

    def abort(self) -> None:
        """Close at once, where the transport can; else as soon as it can."""
        abort = getattr(self.transport, "abortConnection", None) or self.transport.loseConnection
        abort()

    def free_descriptor(self) -> None:
        """
        Close the socket of a connection that was broken off while it was being made. Twisted does so in the reactor's
        next turn, and accepts all that wait before: they would take the descriptors of those that are let in. Not for
        others: what the reactor has yet to tell of a descriptor would be taken for one of the same number.
        """
        bare: Any = self.transport
        if is_bare_socket(self.transport) and getattr(bare, "_aborting", False):
            handle = bare.getHandle()
            _reset_when_closed(handle, True)
            handle.close()

    def held(self) -> int:
        """Tell how many bytes Twisted holds that were written and are not in a kernel's buffer yet."""
        size = 0
        transport: Any = self.transport
        # TLS has what it holds itself, and what it has handed on. A wrapper has the attributes of what it wraps, too.
        while isinstance(transport, ProtocolWrapper):
            size += sum(map(len, vars(transport).get("_appSendBuffer", ())))
            transport = transport.transport
        # What Twisted has in one piece already waits beside the rest.
        return size + len(getattr(transport, "dataBuffer", b"")) + getattr(transport, "_tempDataLen", 0)

    def tells_when_empty(self) -> bool:
        """
        Tell whether Twisted holds something that was written. If it does, the gate is told that the transport is full,
        and that it is not when all has left. Of what is above no socket it is not known.
        """
        below = _socket_under(self.transport)
        if below is None or below.producer is None or not self.held():
            return False
        # Whoever is in between, as TLS, passes on that it takes more only to whom it has paused.
        below.producerPaused = True
        below.producer.pauseProducing()
        return True

    def ask_for_turn(self) -> bool:
        """
        Have the gate told that a bare socket takes more as soon as it does, and Twisted holds nothing for it.

        :return: whether that will be; it will not where the connection ends, or is no bare socket's any more.
        """
        transport: Any = self.transport
        if (
            not (self._gated and transport.connected)
            or getattr(transport, "TLS", False)
            or getattr(transport, "_aborting", False)
        ):
            return False
        # Twisted tells whoever it has paused, when its buffer is empty, as it may be already.
        transport.producerPaused = True
        transport.startWriting()
        return True

    def say_if_full(self, size: int) -> None:
        """
        Tell the gate that no more is taken, as a socket's transport does when it holds more than it reads at once.

        :param size: how many bytes wait for the turn that was asked for.
        """
        transport: Any = self.transport
        if size > transport.bufferSize:
            transport.producer.pauseProducing()

    def unsent(self) -> int:
        """
        Tell how many bytes the socket still holds, its kernel's buffer included; 0 where that can't be known.
        """
        below = _socket_under(self.transport)
        try:
            waiting = _kernel_holds(below.getHandle())
        except (AttributeError, TypeError, OSError):
            return 0
        # The end of our direction, which Twisted is yet to send, counts for one.
        return waiting + self.held() + (below._writeDisconnecting and not below._writeDisconnected)

    def read_rest(self, more: Callable[[], bool]) -> None:
        """
        Read what came before the connection broke. To be called when the transport stops its producers, which is the
        last moment that its socket is open: a write that fails ends it with what came before unread, and so does a
        reset while it is paused. The system keeps no more than its buffer, some megabytes.

        :param more: returns whether to go on.
        """
        below = _socket_under(self.transport)
        # Whoever has closed it here, wants no more.
        if below is None or below.disconnecting or getattr(below, "_aborting", False):
            return
        try:
            while more() and (data := below.getHandle().recv(READ_SIZE)):
                below.protocol.dataReceived(data)
        except OSError:
            pass  # there is no more, but what broke it

    def read_at_once(self) -> bytes:
        """
        Read what a socket has already, no more than :meth:`read_up_to` says, without waiting for the reactor to find
        it ready.

        :return: nothing where nothing has come, or the end has, which the reactor finds; and where it is no socket.
        :raises ConnectionLost: when the connection is broken, which a socket tells once: the reactor would read an
            end in order instead.
        """
        transport: Any = self.transport
        if not is_bare_socket(self.transport) or not transport.connected or getattr(transport, "_aborting", False):
            return b""
        try:
            data: bytes = transport.getHandle().recv(transport.bufferSize)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as error:
            raise ConnectionLost(str(error)) from None
        return data

    def end_writing(self) -> None:
        """End our direction: at once where all is with the system, for the reactor would take a round for that."""
        transport: Any = self.transport
        if (
            not is_bare_socket(self.transport)
            or transport.dataBuffer
            or transport._tempDataLen
            or not transport.connected
            or transport._writeDisconnecting
            or getattr(transport, "_sendmsgQueue", None)
        ):
            transport.loseWriteConnection()
            return
        # What Twisted does when it finds nothing left to write.
        transport._writeDisconnecting = True
        transport._closeWriteConnection()
        transport._writeDisconnected = True

    def reset_when_dropped(self, drop: bool) -> None:
        """
        Say what a socket's peer is to see when the socket is closed and nobody has ended it before, as when this
        process is killed: a reset, or an end that looks as if all was sent.

        :param drop: whether it is to be a reset. UNIX sockets know none.
        """
        if is_bare_socket(self.transport):
            bare: Any = self.transport
            with suppress(AttributeError):
                _reset_when_closed(bare.getHandle(), drop)
            # Twisted would send an end before, also for an exception, and for all that is left when the reactor stops.
            bare._shouldShutdown = not drop

    def send_at_once(self, data: Buffer) -> bytes:
        """
        Give a socket what it takes now, without waiting for the reactor to find it ready: that saves the
        reactor a round, and the peer gets to work earlier.

        :param data: to send. When the transport still holds what was written before, or may not write,
            nothing is sent. The transport is a bare socket's.
        :return: what is left to be written.
        :raises ConnectionLost: when the connection is broken, which a socket tells once: the reactor would read an
            end in order instead.
        """
        transport: Any = self.transport
        if (
            # Bytes that Twisted holds go first: those it was given, and those it has begun to send.
            transport.dataBuffer
            or transport._tempDataLen
            or not transport.connected
            # startTLS was called meanwhile: what we have is to be encrypted first.
            or getattr(transport, "TLS", False)
            or getattr(transport, "_aborting", False)
            # A UNIX socket has file descriptors to send with the next bytes.
            or getattr(transport, "_sendmsgQueue", None)
        ):
            return bytes(data)
        try:
            # What is left is copied only then: it may lie where something else is sealed next.
            return bytes(data[transport.getHandle().send(data) :])
        except (BlockingIOError, InterruptedError):
            return bytes(data)
        except BrokenPipeError:
            # Also where the peer has closed in order before; the reactor reads that.
            self._pipe_broken = True
            return bytes(data)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return bytes(data)
            raise ConnectionLost(str(error)) from None
