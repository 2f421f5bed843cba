"""
Whom we know: addresses and URLs of servers, fingerprints of their keys, and servers by name.
"""
