"""
Version 1 of the protocol, that of the C programs: its messages, its handshake and its records.
"""
