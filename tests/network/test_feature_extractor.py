"""Feature maps against timm's on the same weights, and in torchvision's detectors and another project's decoders."""

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FeaturePyramidNetwork

from resnet_lab.core.errors import ConfigError, RunError, SpecError
from resnet_lab.network import FeatureExtractor, checkpoint, features, zoo
from resnet_lab.network.builder import build
from resnet_lab.network.plugins import load
from resnet_lab.network.spec import ModelSpec
from tests.device.networks import lived_in

REGISTRY = load(only=())
STAGES = ("layer1", "layer2", "layer3", "layer4")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def stored(folder: Path, spec: ModelSpec) -> Path:
    """Weights with the statistics of a trained network."""
    path = folder / f"{spec.name}.safetensors"
    classes = tuple(map(str, range(spec.head.num_classes)))
    checkpoint.save(path, lived_in(build(spec, registry=REGISTRY)), spec, classes=classes, mean=MEAN, std=STD)
    return path


def small(name: str = "resnet18", **changes: object) -> ModelSpec:
    """A network of the zoo, an eighth as wide."""
    spec = zoo.get(name).modified(num_classes=3, **changes)
    stages = tuple(
        stage.model_copy(update={"width": stage.width // 8, "out_channels": stage.out_channels // 8})
        for stage in spec.stages
    )
    return spec.model_copy(update={"stages": stages})


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("weights"), small())


@pytest.fixture(scope="module", params=["resnet18", "resnet50"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("whole"), zoo.get(request.param).modified(num_classes=3))


@pytest.mark.parametrize("output_stride", [None, 32, 16, 8])
def test_equals_timm_s_features(whole: Path, output_stride: int | None) -> None:
    ours = features(whole, ("layer4", "act1", *STAGES[:3]), output_stride=output_stride, registry=REGISTRY)
    theirs = timm.create_model(whole.stem, features_only=True, output_stride=output_stride or 32).eval()
    theirs.load_state_dict(checkpoint.load(whole, REGISTRY).state_dict(), strict=False)
    assert list(ours.channels) == theirs.feature_info.module_name() == ["act1", *STAGES]
    assert list(ours.channels.values()) == theirs.feature_info.channels()
    assert list(ours.strides.values()) == theirs.feature_info.reduction()
    assert not ours.training
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = ours(x), theirs(x)
    for each, other, stride in zip(found.values(), expected, ours.strides.values(), strict=True):
        scale = other.abs().max()  # the maps of unlike layers differ in scale by orders of magnitude
        torch.testing.assert_close(each / scale, other / scale, rtol=1e-5, atol=1e-5)
        assert each.shape[2:] == (64 // stride, 96 // stride)


def test_stages_by_default_and_no_more_of_the_network_than_is_needed(weights: Path) -> None:
    assert list(features(weights).channels) == list(STAGES)
    found = features(weights, ["layer2"])
    assert [name for name, _ in found.named_children()] == ["conv1", "bn1", "act1", "maxpool", "layer1", "layer2"]
    assert (found.channels, found.strides) == ({"layer2": 16}, {"layer2": 8})
    assert (found.mean, found.std, found.in_channels) == (MEAN, STD, 3)
    assert [name for name, _ in features(weights, "act1").named_children()] == ["conv1", "bn1", "act1"]


def test_a_network_of_small_images(tmp_path: Path) -> None:
    found = features(stored(tmp_path, zoo.get("resnet20")), ("act1", "layer1", "layer2", "layer3"))
    assert list(found.strides.values()) == [1, 1, 2, 4]
    encoder = found.encoder()
    assert not encoder.training
    assert (encoder.out_channels, encoder.output_stride) == ([3, 32, 64], 4)
    assert [each.shape for each in encoder(torch.zeros(1, 3, 8, 8))] == [(1, 3, 8, 8), (1, 32, 4, 4), (1, 64, 2, 2)]


def pyramid(found: FeatureExtractor) -> BackboneWithFPN:
    layers = {name: str(number) for number, name in enumerate(found.channels)}
    return BackboneWithFPN(found, layers, list(found.channels.values()), out_channels=16)


def test_torchvision_s_pyramids_agree(weights: Path) -> None:
    """From the module's children, as a backbone is taken apart, and from the dictionary that it returns."""
    found = features(weights)
    backbone = pyramid(found).eval()
    alone = FeaturePyramidNetwork(list(found.channels.values()), 16).eval()
    alone.load_state_dict(backbone.fpn.state_dict())
    x = torch.randn(1, 3, 64, 64)
    expected = alone(found(x))
    by_name = backbone(x)
    for name, each in zip(by_name, expected.values(), strict=False):
        torch.testing.assert_close(by_name[name], each)


def finite(model: nn.Module, losses: dict[str, Tensor]) -> None:
    """A step changes the backbone, by finite gradients."""
    sum(losses.values()).backward()
    gradients = {name: each.grad for name, each in model.backbone.body.named_parameters()}
    assert all(each is not None and each.isfinite().all() for each in gradients.values())
    assert gradients["conv1.weight"].abs().sum() > 0
    before = model.backbone.body.conv1.weight.clone()
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    assert not torch.equal(before, model.backbone.body.conv1.weight)


@pytest.mark.parametrize("make", [FasterRCNN, RetinaNet])
def test_a_training_step_of_torchvision_s_detectors(make: type[nn.Module], weights: Path) -> None:
    torch.manual_seed(0)
    found = features(weights)
    model = make(
        pyramid(found), num_classes=4, min_size=64, max_size=64, image_mean=list(found.mean), image_std=list(found.std)
    ).train()
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 48)]
    boxes = torch.tensor([[8.0, 8, 40, 40]])
    finite(model, model(images, [{"boxes": boxes, "labels": torch.tensor([k])} for k in (1, 3)]))
    model.eval()
    with torch.no_grad():
        assert [set(each) for each in model(images)] == [{"boxes", "labels", "scores"}] * 2


def package(weights: Path, monkeypatch: pytest.MonkeyPatch, layers: tuple[str, ...], stride: int | None) -> object:
    """segmentation_models.pytorch, in whose table of encoders the network stands as `ours`."""
    smp = pytest.importorskip("segmentation_models_pytorch", reason="segmentation-models-pytorch is not installed")
    row = {
        "encoder": lambda depth, **_: features(weights, layers[:depth], output_stride=stride).encoder(),
        "params": {},
        "pretrained_settings": {},
    }
    monkeypatch.setitem(smp.encoders.encoders, "ours", row)
    return smp


@pytest.mark.parametrize(
    ("decoder", "depth"), [("Unet", 5), ("Unet", 4), ("UnetPlusPlus", 5), ("FPN", 5), ("PSPNet", 3)]
)
def test_decoders_of_segmentation_models(
    decoder: str, depth: int, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smp = package(weights, monkeypatch, ("act1", *STAGES), None)
    channels = {"decoder_channels": (64, 32, 16, 8)} if depth == 4 else {}
    model = getattr(smp, decoder)("ours", encoder_weights=None, encoder_depth=depth, classes=4, **channels)
    assert model.encoder.out_channels == [3, 64, 8, 16, 32, 64][: depth + 1]
    scores = model(torch.randn(2, 3, 64, 96))
    assert scores.shape == (2, 4, 64, 96)
    scores.square().mean().backward()
    gradient = model.encoder.extractor.conv1.weight.grad
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


def test_a_dilated_encoder(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smp = package(weights, monkeypatch, ("act1", *STAGES), 16)
    model = smp.DeepLabV3Plus("ours", encoder_weights=None, encoder_output_stride=16, classes=2).eval()
    x = torch.randn(1, 3, 64, 64)
    assert [each.shape[2] for each in model.encoder(x)] == [64, 32, 16, 8, 4, 4]
    assert model(x).shape == (1, 2, 64, 64)
    with pytest.raises(ConfigError) as failure:
        smp.DeepLabV3Plus("ours", encoder_weights=None, encoder_output_stride=8)
    assert str(failure.value) == (
        "the encoder has output stride 16, and 8 is asked for; make it with features(..., output_stride=8)"
    )
    with pytest.raises(ConfigError) as failure:
        smp.Unet("ours", encoder_weights=None, in_channels=1)
    assert str(failure.value) == ("the weights are of images with 3 channels, and in_channels is 1; give in_channels=3")


def test_maps_that_do_not_halve(weights: Path, tmp_path: Path) -> None:
    for found, strides in (
        (features(weights), "4, 8, 16, 32 (layer1, layer2, layer3, layer4)"),
        (features(stored(tmp_path, zoo.get("resnet20")), "layer1"), "1 (layer1)"),
        (features(stored(tmp_path, small(stem="patchify")), ("act1", "layer1")), "4, 4 (act1, layer1)"),
    ):
        with pytest.raises(ConfigError) as failure:
            found.encoder()
        assert str(failure.value) == (
            f"an encoder's maps have strides that double, from 2, and these have {strides}; ask for more layers, "
            "act1 among them, or take a stem of stride 2"
        )


def test_what_the_network_does_not_have(weights: Path, tmp_path: Path) -> None:
    there = "choose from act1, layer1, layer2, layer3, layer4"
    for layers, got in {
        ("layer4", "layer5"): "no layer 'layer5' with a map",
        (): "no map for an empty list of layers",
        "fc": "no layer 'fc' with a map",
    }.items():
        with pytest.raises(ConfigError) as failure:
            features(weights, layers)
        assert str(failure.value) == f"{weights}: the network has {got}; {there}"
    for stride in (12, 2, 64):
        with pytest.raises(ConfigError) as failure:
            features(weights, output_stride=stride)
        assert str(failure.value) == f"output_stride {stride} is none of the strides of resnet18's stages: 4, 8, 16, 32"
    with pytest.raises(SpecError, match=r"stage 4: convolution ghost cannot be dilated by 2, which the stage or block"):
        features(stored(tmp_path, small(conv="ghost")), output_stride=16)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"empty is not a run folder: it holds no run\.json; name one that"):
        features(tmp_path / "empty")
