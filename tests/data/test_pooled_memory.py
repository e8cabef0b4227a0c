import gc

import torch

from resnet_lab.data.pooled_memory import KEPT, PooledMemory, memory_for
from resnet_lab.device import choose


def test_memory_comes_back_with_the_last_tensor_on_it() -> None:
    memory = memory_for(choose("cpu", "fp32"))
    first = memory.take((3, 5), torch.float32)
    assert (first.shape, first.dtype) == ((3, 5), torch.float32)
    place, view = first.data_ptr(), first[1:]
    del first
    assert memory.take((3, 5), torch.float32).data_ptr() != place, "a slice holds it"
    del view
    gc.collect()
    assert memory.take((30,), torch.uint8).data_ptr() == place, "half as many bytes, of another type"


def test_memory_of_another_size_is_not_wasted() -> None:
    memory = PooledMemory()
    place = memory.take((100,), torch.uint8).data_ptr()
    small, large = memory.take((49,), torch.uint8), memory.take((101,), torch.uint8)
    assert place not in (small.data_ptr(), large.data_ptr())


def test_a_pool_forgets_the_oldest() -> None:
    memory = PooledMemory()
    held = [memory.take((8,), torch.int64) for _ in range(2 * KEPT)]
    for number, tensor in enumerate(held):
        tensor.fill_(number)
    assert [int(tensor[3]) for tensor in held] == list(range(2 * KEPT))
    assert len(memory._arrays) == KEPT
