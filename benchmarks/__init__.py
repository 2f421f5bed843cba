"""
How fast sodiumtwist is beside what else could be used: ``python -m benchmarks`` in a clone.

Figures that are compared are measured in turn (A B C A B C …), after a warm-up: so whatever the machine does
meanwhile, it does to all of them. Medians are printed, and ratios with the smallest and the largest of all rounds.
All traffic stays on loopback addresses. All payloads come from one seed.

Beside a time stands what it cost, where the system tells that. "CPU" is the processor time of both ends together, of
user and system, with all their processes, and as a ratio how much of it the first row takes for each second of another.
"wire" is what TCP carried, there and back. Each table's first line has their units.

A whole run takes about twenty minutes on two cores that do nothing else. What else they do is noticed, and said below
each table that it touches and at the end. --quick takes some seconds for each of these; --rounds 1 is a quick look at
figures of the usual size.

=================  ================================================================================
``crypto``         secretstream through ``core.v1.records``, beside libsodium itself
``core``           bytes to events and back, without sockets
``bulk``           from a client's process to a server's, until that has confirmed every byte
``serial``         100-byte requests, one at a time
``in-flight``      100-byte requests, 128 at once
``answers``        100-byte requests that 64 KiB answer, 16 at once
``connections``    connect, authenticate, one request answered, close
``send``           a file, by ``sodiumtwist send`` to ``twistd sodium`` on a RAM disk, beside scp and rsync
``trees``          the same with 10,000 files of 4 KiB in 100 folders
``tunnel``         redis-benchmark through a tunnel to a redis, beside stunnel and spiped
``ping``           how soon one is answered, alone and beside a connection that sends flat out
``start``          the commands, from the start of their process to its end
``scale``          many connections: throughput, memory, time to accept them
``workers``        logins and requests of a server that is one process, and of one that is two
``distance``       transfers over a line that takes its time
=================  ================================================================================
"""
