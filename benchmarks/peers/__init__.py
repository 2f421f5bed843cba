"""
What is compared, a module each, in processes of :mod:`benchmarks.child`.

``serve(directory)`` listens on a loopback address, and tells what clients need to know; ``directory``
has what :mod:`benchmarks.certificate` made. ``run(directory, server, task)`` does a
:class:`~benchmarks.tasks.Task` with it and tells the seconds it took.
"""
