"""BufferPool come back when nothing looks at them any more, and never before."""

import gc
import threading

import torch

from octshard.devices.buffers import BufferPool


def test_memory_is_used_again_once_nobody_holds_it() -> None:
    buffers = BufferPool()
    first = buffers.empty((2, 3, 4), torch.uint8)
    assert (first.shape, first.dtype) == ((2, 3, 4), torch.uint8)
    place = first.data_ptr()
    second = buffers.empty((2, 3, 4), torch.uint8)
    assert second.data_ptr() != place
    del first
    gc.collect()
    assert buffers.empty((4, 6), torch.uint8).data_ptr() == place  # 24 bytes, whatever their shape


def test_a_view_a_numpy_array_or_a_storage_keeps_it() -> None:
    buffers = BufferPool()
    for hold in (
        lambda t: t[1:],
        lambda t: t.numpy(),
        lambda t: t.untyped_storage(),
        lambda t: t.detach().view(torch.int8),
    ):
        tensor = buffers.empty((8,), torch.uint8)
        place = tensor.data_ptr()
        holder = hold(tensor)
        del tensor
        gc.collect()
        assert buffers.empty((8,), torch.uint8).data_ptr() != place
        del holder
        gc.collect()


def test_threads_never_share_one() -> None:
    buffers = BufferPool()
    clashes: list[int] = []

    def work(mark: int) -> None:
        for _ in range(300):
            tensor = buffers.empty((64,), torch.uint8)
            tensor.fill_(mark)
            if not bool((tensor == mark).all()):
                clashes.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not clashes


def test_wider_numbers_share_the_memory_of_as_many_bytes() -> None:
    buffers = BufferPool()
    first = buffers.empty((2, 3, 4), torch.int16)
    assert (first.shape, first.dtype) == ((2, 3, 4), torch.int16)
    first[:] = -2
    place = first.data_ptr()
    del first
    gc.collect()
    assert buffers.empty((48,), torch.uint8).data_ptr() == place
