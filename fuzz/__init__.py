"""
Coverage-guided fuzzing of :mod:`sodiumtwist.core`, and of the file dialogue, with atheris, which has wheels for CPython
3.11 to 3.13::

    pip install -e '.[test]' atheris
    python fuzz/run.py --runs 20000             # all targets, as long as that takes
    python fuzz/streams.py -max_total_time=600 /tmp/streams fuzz/corpus/streams

A target is a file with a function ``one_input(data)``. It must return, whatever the bytes. An exception is a
finding, and libFuzzer writes the bytes to a file. To see it again, run the target with that file as its argument.
When it is understood, put the file into ``corpus/``: ``tests/test_fuzz.py`` plays all files there, without atheris.
New inputs of a longer run go to the first folder that is named, here ``/tmp/streams``.
"""
