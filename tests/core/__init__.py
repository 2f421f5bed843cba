"""
Tests of the core: no time passes, nothing leaves the process.
"""
