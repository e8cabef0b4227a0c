from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from resnet_lab.network import zoo
from resnet_lab.network.spec import ModelSpec


def trained(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, with statistics of its batch norms such as training leaves behind."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="session")
def resnet18() -> nn.Module:
    """Torchvision's, with random weights."""
    torch.manual_seed(0)
    return trained(torchvision.models.resnet18())


@pytest.fixture(scope="session")
def resnet18_file(resnet18: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet18.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def thin() -> nn.Module:
    """Torchvision's network with one bottleneck block a stage, with random weights."""
    torch.manual_seed(1)
    return trained(torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=7))


@pytest.fixture(scope="session")
def thin_file(thin: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "thin.pth"
    torch.save(thin.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def thin_spec() -> ModelSpec:
    return with_depth(zoo.get("resnet50"), 1).modified(num_classes=7, input_size=32, name="thin")


def with_depth(spec: ModelSpec, depth: int) -> ModelSpec:
    stages = tuple(stage.model_copy(update={"depth": depth}) for stage in spec.stages)
    return spec.model_copy(update={"stages": stages})


@pytest.fixture
def x() -> Tensor:
    """Two images of 32 x 32."""
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
