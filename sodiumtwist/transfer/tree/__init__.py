"""
Files under their names, whole folders of them, in both directions: the dialogue of version 2, and what it asks of the
disk.
"""
