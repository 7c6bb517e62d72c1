"""Memory for batches that is used again: fresh pages for every batch would cost as much as reading it.

A buffer returns to the pool when the last tensor, view or running transfer that uses it is gone. There is no
call that returns it, so it cannot be returned too early.
"""

import math
import threading
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class BufferPool:
    """Tensors on the host, not initialised; safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: dict[int, list[np.ndarray]] = {}

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor whose memory returns to the pool when its last user drops it."""
        size = math.prod(shape) * dtype.itemsize
        with self._lock:
            free = self._free.setdefault(size, [])
            raw = free.pop() if free else np.empty(size, np.uint8)
        # torch holds the view for as long as it holds the memory, through every tensor that shares it
        view = raw[:]
        weakref.finalize(view, self._free[size].append, raw).atexit = False
        return torch.from_numpy(view).view(dtype).reshape(*shape)
