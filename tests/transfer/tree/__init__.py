"""
Tests of files under their names, and of the dialogue about them.
"""
