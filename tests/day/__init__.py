"""
A day of operation, compressed to minutes: ``python -m tests.day --minutes 10``.

Three groups of three servers stand behind HAProxy: for files, for streams, and for requests. Clients of all kinds use
them all the time, and go on when they are broken off. Meanwhile servers are restarted, killed, and told to read anew
what files say; workers of theirs are killed; the disk fills up; HAProxy gets another configuration and is killed. At
the end nothing may be lost that was confirmed, and nothing acted on twice; servers that were there all day may have no
more descriptors than in the morning, and no more memory than before noon.

The program prints the figures, and ends with status 1 where something of that is not so.
"""
