"""
Version 2 of the protocol: a hybrid post-quantum Noise handshake behind a veil, and records that seal together what
leaves together.
"""
