"""A disk without room, while it is looked at."""

import contextlib
import resource
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def little_room(size: int) -> Iterator[None]:
    """Bound every file that this process writes, told as a full disk is: by the write.

    Around what is tested alone: what the test run tells between tests may go to a file as well.

    Args:
        size: Bytes.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
