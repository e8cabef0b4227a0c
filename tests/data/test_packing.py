import numpy as np
import torch

from resnet_lab.data.batch_transforms import Groups
from resnet_lab.data.packing import Packed
from resnet_lab.data.pooled_memory import PooledMemory


def test_a_tree_comes_back_as_it_was_in_memory_of_its_own() -> None:
    labels = torch.arange(5)
    decided = torch.rand(3, 2), Groups(torch.tensor([2, 0, 1]), (1, 3))
    tree = (labels, (decided, None, 7), torch.ones(3, dtype=torch.bool))
    packed = Packed(tree, PooledMemory())
    labels.zero_()
    (got, ((numbers, groups), nothing, seven), flags) = packed.to(torch.device("cpu"))
    assert np.array_equal(got, [0, 1, 2, 3, 4])
    assert got.dtype == torch.int64
    assert torch.equal(numbers, tree[1][0][0])
    assert isinstance(groups, Groups)
    assert (groups.order.tolist(), groups.ends) == ([2, 0, 1], (1, 3))
    assert (nothing, seven) == (None, 7)
    assert torch.equal(flags, tree[2])


def test_nothing_is_packed() -> None:
    assert Packed((None, ()), PooledMemory()).to(torch.device("cpu")) == (None, ())
