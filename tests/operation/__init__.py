"""
Tests of what is needed by whoever is on call.
"""
