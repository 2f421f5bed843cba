"""
Version 2 of the protocol: its handshake, its records and its dialogue.
"""
