"""
The programs: ``sodiumtwist``, ``twistd sodium`` and ``twistd sodium-tunnel``.
"""
