"""
Sizes, rates and times in units that people read. What programs read, such as JSON, has plain numbers.
"""

from __future__ import annotations

#: Each is a thousand of the one before it.
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")

#: Each is 1024 of the one before it.
_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def describe_size(size: float) -> str:
    """
    Say how many bytes: ``2 B``, ``12.3 MB``. A thousand of one unit are one of the next.

    :param size: in bytes.
    """
    if size < 999.5:
        return f"{size:.0f} B"
    size, unit = size / 1000, 1
    # What is more would be shown as 1000.0, which is the next unit's 1.0.
    while size >= 999.95 and unit + 1 < len(_UNITS):
        size, unit = size / 1000, unit + 1
    return f"{size:.1f} {_UNITS[unit]}"


def describe_rate(size: float, seconds: float) -> str:
    """
    Say how fast bytes went: ``12.3 MB/s``.

    :param size: how many went.
    :param seconds: in which time; 0 for a time too short to be measured.
    """
    return f"{describe_size(size / seconds if seconds else 0)}/s"


def describe_limit(size: int) -> str:
    """
    Say how many bytes there may be, and so that it is known again: ``10 GiB`` for ``10G`` on a command line.

    :param size: in bytes.
    """
    number, unit = size, 0
    while number and not number % 1024 and unit + 1 < len(_BINARY_UNITS):
        number //= 1024
        unit += 1
    return f"{number} {_BINARY_UNITS[unit]}" if unit else describe_size(size)


def describe_seconds(seconds: float) -> str:
    """
    Say how long something took: ``0.213 s``, ``4 min 12 s``, ``2 h 3 min``.
    """
    if seconds < 60:
        return f"{seconds:.3f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_of_hour = divmod(minutes, 60)
    return f"{hours} h {minutes_of_hour} min" if hours else f"{minutes} min {rest} s"
