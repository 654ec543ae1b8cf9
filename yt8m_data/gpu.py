"""Candidates for nearest neighbours from a GPU, by FAISS's brute-force search (`faiss.knn_gpu`); it is in the extra `gpu`."""

import functools
import logging
from typing import Any

import numpy as np

try:
    import faiss
except ModuleNotFoundError:  # the extra `cpu` has none
    faiss = None  # type: ignore[assignment]

MEMORY = 2 << 30  # bytes of a GPU's memory that vectors and queries each may take at a time; FAISS cuts what is larger into tiles
MOST = 2048  # neighbours that FAISS selects on a GPU

_log = logging.getLogger(__name__)
_broken: list[str] = []  # why the GPU was given up


def ready(width: int) -> bool:
    """Tell whether there is a GPU that finds `width` neighbours, and has not failed in this process."""
    return _resources() is not None and not _broken and width <= MOST


def candidates(vectors: np.ndarray, sought: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Find the `width` likely neighbours of rows among all: rows int64 [Q, width], nearest first, and squared distances float32.

    Returns None where the GPU failed, of which one line is logged; it is not asked again in this process.

    Args:
      vectors: float32 [N, D], C-contiguous.
      sought: float32 [Q, D], likewise.
      width: at most N, and one for which it is `ready`.
    """
    try:
        distances, rows = faiss.knn_gpu(
            _resources(), sought, vectors, width, metric=faiss.METRIC_L2, vectorsMemoryLimit=MEMORY, queriesMemoryLimit=MEMORY
        )
    except RuntimeError as error:  # what FAISS makes of CUDA's errors: no memory, no driver, a device that is gone
        _broken.append(str(error))
        _log.error("the GPU failed, so this process seeks neighbours on its CPU from now on: %s", " ".join(str(error).split()))
        return None
    return rows, distances


@functools.cache
def _resources() -> Any:
    """Make the one StandardGpuResources of this process; None without a GPU."""
    if faiss is None or not faiss.get_num_gpus():
        return None
    return faiss.StandardGpuResources()
