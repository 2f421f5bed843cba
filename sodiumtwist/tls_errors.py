"""
What went wrong with TLS below us, for people.
"""

from __future__ import annotations

import sys


def describe_tls_error(error: BaseException | None) -> str | None:
    """
    Say on one line what went wrong with TLS, and what to do.

    :param error: the reason that a connection was lost for.
    :return: ``None`` when it is no error of TLS.
    """
    # Where TLS was used, these were imported; else there is nothing to explain.
    identity, ssl = sys.modules.get("service_identity"), sys.modules.get("OpenSSL.SSL")
    if identity is not None and isinstance(error, identity.VerificationError):
        return f"the server's certificate is not for the name {_name(error)}; connect by a name that it is for"
    if ssl is None or not isinstance(error, ssl.Error):
        return None
    reasons = [str(entry[-1]) for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    text = "; ".join(filter(None, reasons))
    if "certificate verify failed" in text:
        return (
            "the server's certificate is not trusted: it is out of its dates, or no authority known here has "
            "signed it (trustRoots=DIRECTORY names more)"
        )
    if "wrong version number" in text or "record layer failure" in text or "packet length too long" in text:
        return "what came is not TLS; is this the right port, and an endpoint with TLS?"
    return f"TLS failed: {text}" if text else "TLS failed: the connection was closed in it"


def _name(error: BaseException) -> str:
    for mismatch in getattr(error, "errors", ()):
        wanted = mismatch.mismatched_id
        name = getattr(wanted, "hostname", None) or getattr(wanted, "ip", None)
        if name is not None:
            return ascii(name.decode("ascii", "replace") if isinstance(name, bytes) else str(name))
    return "it was asked for by"
