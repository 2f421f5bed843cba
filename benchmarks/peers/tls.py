"""
Twisted's TLS 1.3, with a certificate that the client checks.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion, optionsForClientTLS

from ..certificate import CERTIFICATE, KEY, NAME
from ..child import HOST, run_in_reactor, serve_in_reactor
from ..payloads import payload
from ..tasks import Task
from .streams import CountingServer, work


def _read(directory: str, name: str) -> bytes:
    with open(os.path.join(directory, name), "rb") as file:
        return file.read()


def find_group(options: CertificateOptions) -> str:
    """
    Say by which group a server and a client with the usual settings agree on their keys. They shake hands in memory.

    :param options: the server's.
    """
    server, client = SSL.Connection(options.getContext()), SSL.Connection(CertificateOptions().getContext())
    server.set_accept_state()
    client.set_connect_state()
    for end, other in ((client, server), (server, client)):
        with suppress(SSL.WantReadError):
            end.do_handshake()
        other.bio_write(end.bio_read(65536))
    with suppress(SSL.Error):  # it knows no authority, and has agreed on the keys by then
        client.do_handshake()
    # Earlier releases of pyOpenSSL don't tell.
    return getattr(client, "get_group_name", lambda: None)() or "unknown"


def listen(reactor: Any, directory: str, factory: Factory) -> dict[str, Any]:
    """
    Listen.

    :param directory: has certificate and key.
    :param factory: of the server's ends.
    :return: the port, and a remark.
    """
    options = CertificateOptions(
        privateKey=crypto.load_privatekey(crypto.FILETYPE_PEM, _read(directory, KEY)),
        certificate=crypto.load_certificate(crypto.FILETYPE_PEM, _read(directory, CERTIFICATE)),
        raiseMinimumTo=TLSVersion.TLSv1_3,
    )
    port = reactor.listenSSL(0, factory, options, backlog=1024, interface=HOST)
    return {"port": port.getHost().port, "note": f"keys by {find_group(options)}"}


def endpoint(reactor: Any, directory: str, port: int) -> IStreamClientEndpoint:
    """
    Make the endpoint that connects there.

    :param directory: has the certificate, which is also that of the authority.
    :param port: where it listens.
    """
    authority = Certificate.loadPEM(_read(directory, CERTIFICATE))
    options = optionsForClientTLS(NAME, trustRoot=authority)
    return wrapClientTLS(options, TCP4ClientEndpoint(reactor, HOST, port))


def serve(directory: str, answer_size: int = 0) -> None:
    answer = payload(answer_size)
    serve_in_reactor(lambda reactor: listen(reactor, directory, Factory.forProtocol(lambda: CountingServer(answer))))


def run(directory: str, server: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    return run_in_reactor(lambda reactor: work(endpoint(reactor, directory, server["port"]), Task(**task)))
