import numpy as np
import pytest
import torch
from resnet_lab_large_kernel import large_kernel
from scipy.signal import correlate2d

from resnet_lab.plugin_api import SpecError
from resnet_lab.testing import conformance

test_conforms = conformance("convolution", "large_kernel")
test_conforms_at_13 = conformance("convolution", "large_kernel(kernel_size=13)", skip={"cost": "measured at 7"})


@pytest.mark.parametrize("size", [(9, 12), (5, 4), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel_size", [3, 7, 13])
def test_formula(size, stride, kernel_size):
    """SciPy's correlation, one channel of one image at a time, of which every stride-th row and column is kept."""
    torch.manual_seed(0)
    module = large_kernel(3, 3, stride, 1, True, kernel_size=kernel_size).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    weight, bias, values = (each.detach().numpy() for each in (module.weight, module.bias, x))
    out = module(x).detach().numpy()
    for image, channel in np.ndindex(2, 3):
        plane = correlate2d(values[image, channel], weight[channel, 0], mode="same") + bias[channel]
        np.testing.assert_allclose(out[image, channel], plane[::stride, ::stride], rtol=1e-12, atol=1e-12)


def test_kernel_size_is_7_unless_given():
    """A single bright pixel lights those within 3 of it, and no other, by the filter turned about."""
    module = large_kernel(1, 1, 1, 1, False)
    x = torch.zeros(1, 1, 15, 15)
    x[0, 0, 7, 7] = 1
    expected = torch.zeros(15, 15)
    expected[4:11, 4:11] = module.weight[0, 0].flip(0, 1)
    torch.testing.assert_close(module(x)[0, 0], expected)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("bias", [False, True])
def test_parameters(groups, bias):
    """49 weights a channel, and a bias where it is asked for, in whatever groups."""
    assert sum(p.numel() for p in large_kernel(6, 6, 1, groups, bias).parameters()) == 6 * (49 + bias)


@pytest.mark.parametrize("kernel_size", [-7, 0, 1, 2, 6])
def test_refused_kernel_size(kernel_size):
    with pytest.raises(SpecError) as error:
        large_kernel(2, 2, 1, 1, False, kernel_size=kernel_size)
    assert str(error.value) == (
        f"convolution large_kernel(kernel_size={kernel_size}): kernel_size must be odd and at least 3, so that the "
        "filter has a middle"
    )
