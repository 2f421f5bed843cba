"""
The programs that are compared, each in a module of its own. They run in processes of :mod:`benchmarks.child`.

``serve(directory)`` listens on a loopback address, and tells what clients need to know. ``directory``
holds what :mod:`benchmarks.certificate` made. ``run(directory, server, task)`` does a
:class:`~benchmarks.tasks.Task` with that server and tells the seconds that it took.
"""
