"""
The programs that are compared, each in a module of its own. They run in processes of :mod:`benchmarks.child`.

``serve(directory, answer_size=0)`` listens on a loopback address, and tells what clients need to know. ``directory``
holds what :mod:`benchmarks.certificate` made. Requests are answered by as many bytes as ``answer_size`` tells; without
it they are sent back. What it tells as ``note`` stands beside its figure in ``connections``. ``run(directory, server,
task)`` does a :class:`~benchmarks.tasks.Task` with that server and tells what it took.
"""
