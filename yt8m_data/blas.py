"""The threads of NumPy's matrix products."""

import functools
from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[object]:
    """Hold products to one thread until the block ends.

    OpenBLAS's threads wait for the next product on a core of their own for a while, which keeps it from other threads and processes.
    """
    return _controller().limit(limits=1, user_api="blas")


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
