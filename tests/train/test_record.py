from dataclasses import replace

import pytest
import torch

from resnet_lab.core.errors import PluginError
from resnet_lab.device import choose
from resnet_lab.train.record import require_same_kernels


def test_a_run_resumes_with_the_kernels_that_it_had() -> None:
    cuda = replace(choose("cpu", "fp32"), device=torch.device("cuda"))
    names = ["lab-fast 1.0: Fast x 2"]
    used = replace(cuda, kernels=tuple(names))
    plain = {"device": {"type": "cuda"}}
    fast = {"device": {"type": "cuda", "kernels": names}}
    require_same_kernels(plain, cuda, "runs/a")
    require_same_kernels(fast, used, "runs/a")
    require_same_kernels(fast, choose("cpu"), "runs/a")
    with pytest.raises(PluginError) as error:
        require_same_kernels(fast, cuda, "runs/a")
    assert str(error.value) == (
        "runs/a: it was trained with kernels of lab-fast 1.0: Fast x 2, and now there are no kernels of plugins, so "
        "that it would not resume bit for bit; install the same plugins, or leave one out with --no-plugin"
    )
    with pytest.raises(PluginError, match="with no kernels of plugins, and now there are kernels of lab-fast"):
        require_same_kernels(plain, used, "runs/a")
