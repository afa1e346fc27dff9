"""A process that has no file descriptors left."""

import contextlib
import os
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def descriptors(left: int) -> Iterator[None]:
    """This process may open so many more, and no others, until the block ends."""
    free = [os.dup(0) for _ in range(left + 1)]  # the lowest that are free, which the next ones would get
    for descriptor in free:
        os.close(descriptor)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(free), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
