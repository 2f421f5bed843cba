"""
Coverage-guided fuzzing of :mod:`sodiumtwist.core` with atheris, which has wheels for CPython 3.11 to 3.13::

    pip install -e '.[test]' atheris
    python fuzz/run.py --runs 20000             # all targets, as long as that takes
    python fuzz/streams.py -max_total_time=600 /tmp/streams fuzz/corpus/streams

A target is a file with a function ``one_input(data)``: whatever the bytes, it returns; an exception is a
finding, and libFuzzer writes the bytes to a file. Run the target with that file as its argument to see it
again, and put it into ``corpus/`` when it is understood: ``tests/test_fuzz.py`` plays all that is there,
without atheris. New inputs of a longer run go to the first folder named, here ``/tmp/streams``.
"""
