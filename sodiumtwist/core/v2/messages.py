"""
What the three messages of the handshake carry: their fields, then extensions, then padding.

All integers are big-endian. Each function that reads takes whole payloads, which were opened before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from unicodedata import normalize

from ..credentials import LOGIN_SIZE, PASSPHRASE_SIZE, encode_text
from ..errors import MalformedPDU

#: One extension: its type, and its value.
Extension = tuple[int, bytes]

#: The third message is padded to a multiple of this, so that its size does not tell how long a passphrase is.
CREDENTIALS_STEP = 512
#: The padding of the first two messages has less than so many bytes.
PADDING_LIMIT = 1024

_TIME = Struct(">Q")
_SIZE = Struct(">H")
_EXTENSION = Struct(">BH")

#: Kinds of credentials.
_NONE, _LOGIN = 0, 1


@dataclass(frozen=True)
class Offer:
    """
    Message 1: what a client says first.

    :ivar time: seconds since the epoch.
    :ivar suites: the numbers of the suites it has, known here or not.
    """

    time: int
    suites: tuple[int, ...]


class _Fields:
    """
    Takes fields from the front of a payload.

    :param payload: what to read.
    :param what: the message's name, for errors.
    """

    def __init__(self, payload: bytes, what: str) -> None:
        self._payload, self._what = payload, what
        self._offset = 0

    def take(self, size: int) -> bytes:
        """
        Take so many bytes.

        :raises MalformedPDU: when there are fewer.
        """
        start, self._offset = self._offset, self._offset + size
        if self._offset > len(self._payload):
            raise MalformedPDU(f"{self._what} ends within its fields")
        return self._payload[start : self._offset]

    def number(self, layout: Struct) -> int:
        """Take a number."""
        number: int = layout.unpack(self.take(layout.size))[0]
        return number

    def byte(self) -> int:
        """Take a number of one byte."""
        return self.take(1)[0]

    def text(self, name: str, size: int) -> str:
        """
        Take a text.

        :param name: the field's name, for the error.
        :param size: how many bytes it has.
        :raises MalformedPDU: when it is not UTF-8, or holds a NUL.
        """
        encoded = self.take(size)
        if b"\0" in encoded:
            raise MalformedPDU(f"the {name} holds a NUL character")
        try:
            # Strictly: with replacements, two different logins could become the same one.
            return encoded.decode("utf-8")
        # Without its cause: a UnicodeDecodeError shows the bytes, which may be a passphrase.
        except UnicodeDecodeError:
            raise MalformedPDU(f"the {name} is not UTF-8") from None

    def skip_extensions(self) -> None:
        """
        Pass over the extensions, of which none is known yet. What is behind them is padding.

        :raises MalformedPDU: when they do not fill the size that stands before them.
        """
        left = self.number(_SIZE)
        extensions = _Fields(self.take(left), f"the part for extensions in {self._what}")
        while left:
            extensions.byte()
            size = extensions.number(_SIZE)
            extensions.take(size)
            left -= _EXTENSION.size + size


def _pack_extensions(extensions: Sequence[Extension]) -> bytes:
    packed = b"".join(_EXTENSION.pack(number, len(value)) + value for number, value in extensions)
    return _SIZE.pack(len(packed)) + packed


def pack_offer(offer: Offer, padding: int = 0, extensions: Sequence[Extension] = ()) -> bytes:
    """
    Make the payload of message 1.

    :param padding: how many bytes of padding.
    :param extensions: none is known yet; tests send some all the same.
    """
    suites = bytes((len(offer.suites), *offer.suites))
    return _TIME.pack(offer.time) + suites + _pack_extensions(extensions) + bytes(padding)


def unpack_offer(payload: bytes) -> Offer:
    """
    Read the payload of message 1.

    :raises MalformedPDU: when it can't be right; an offer of no suite is not.
    """
    fields = _Fields(payload, "the client's offer")
    time = fields.number(_TIME)
    suites = tuple(fields.take(fields.byte()))
    if not suites:
        raise MalformedPDU("the client offers no suite")
    fields.skip_extensions()
    return Offer(time, suites)


def pack_choice(suite: int, padding: int = 0, extensions: Sequence[Extension] = ()) -> bytes:
    """
    Make the payload of message 2.

    :param suite: the number of the suite that the server chose.
    :param padding: how many bytes of padding.
    :param extensions: none is known yet; tests send some all the same.
    """
    return bytes((suite,)) + _pack_extensions(extensions) + bytes(padding)


def unpack_choice(payload: bytes) -> int:
    """
    Read the payload of message 2.

    :return: the number of the suite, known here or not.
    :raises MalformedPDU: when it can't be right.
    """
    fields = _Fields(payload, "the server's choice")
    suite = fields.byte()
    fields.skip_extensions()
    return suite


def _encode(what: str, text: str, size: int) -> bytes:
    # The same letters can be typed in several ways, and the server compares bytes.
    return encode_text(what, normalize("NFC", text) if isinstance(text, str) else text, size)


def pack_credentials(login: str, passphrase: str, extensions: Sequence[Extension] = ()) -> bytes:
    """
    Make the payload of message 3.

    :param login: up to 255 bytes of UTF-8, no NUL.
    :param passphrase: up to 4096 bytes of UTF-8, no NUL. When both are empty, the payload says that there are none.
    :param extensions: none is known yet; tests send some all the same.
    :return: a multiple of 512 bytes.
    :raises LocalProtocolError: when one of the two can't be sent.
    """
    encoded_login, encoded_passphrase = (
        _encode("login", login, LOGIN_SIZE),
        _encode("passphrase", passphrase, PASSPHRASE_SIZE),
    )
    if encoded_login or encoded_passphrase:
        fields = bytes((_LOGIN, len(encoded_login))) + encoded_login
        fields += _SIZE.pack(len(encoded_passphrase)) + encoded_passphrase
    else:
        fields = bytes((_NONE,))
    fields += _pack_extensions(extensions)
    return fields + bytes(-len(fields) % CREDENTIALS_STEP)


def unpack_credentials(payload: bytes) -> tuple[str, str]:
    """
    Read the payload of message 3. Its size need not be a multiple of anything.

    :return: the login and the passphrase; both are empty where the client gives none.
    :raises MalformedPDU: when it can't be right.
    """
    fields = _Fields(payload, "the message with the credentials")
    login = passphrase = ""
    kind = fields.byte()
    if kind > _LOGIN:
        raise MalformedPDU(f"credentials of kind {kind}, which is unknown")
    if kind == _LOGIN:
        login = fields.text("login", fields.byte())
        size = fields.number(_SIZE)
        if size > PASSPHRASE_SIZE:
            raise MalformedPDU(f"a passphrase of {size} bytes; it has at most {PASSPHRASE_SIZE}")
        passphrase = fields.text("passphrase", size)
    fields.skip_extensions()
    return login, passphrase
