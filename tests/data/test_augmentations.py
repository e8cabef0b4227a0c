"""Compared with torchvision on single images, the papers' formulas in numpy, and torchvision's own distributions."""

from collections.abc import Callable, Iterator
from math import exp, floor, inf, log, nan, sqrt

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

from resnet_lab.core.errors import ConfigError
from resnet_lab.data import augmentations, image_by_image
from resnet_lab.data.augmentations import (
    Augmentations,
    Crop,
    Cutmix,
    Flip,
    Jitter,
    Mixup,
    Rotate90,
    parse_augmentations,
)
from resnet_lab.data.draws import Draws
from resnet_lab.data.erasing import Erase
from resnet_lab.data.image_by_image import PixelAugmentation
from resnet_lab.data.policies import RandAugment, TrivialAugment
from resnet_lab.data.random_boxes import Box, random_boxes

POLICIES = [RandAugment(magnitude=20), RandAugment(ops="timm", magnitude=7, std=2, p=0.5), TrivialAugment()]
ERASED = [Erase(p=0.8), Erase(p=0.8, mode="rand", count=3), Erase(p=0.8, mode="pixel", count=2)]
PIXEL = [Flip(), Rotate90(), Crop(), Jitter(hue=0.2), *POLICIES, *ERASED]
SHAPES = [(3, 24), (1, 24), (3, 17), (1, 1), (3, 2)]


def images(number: int, channels: int = 3, size: int = 24, seed: int = 0) -> Tensor:
    """Random pixels N C S S, in the memory of N S S C, as the cache holds them."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (number, size, size, channels), dtype=torch.uint8, generator=generator)
    return pixels.permute(0, 3, 1, 2)


def draws_of(number: int, seed: int = 0) -> Draws:
    return Draws(seed, 1, np.arange(number))


def pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


# Geometry


def box_by_torchvisions_loop(
    numbers: list[float], size: int, scale: tuple[float, float], ratio: tuple[float, float], *, whole: bool
) -> Box | None:
    """The loop of torchvision's `RandomResizedCrop.make_params`, on given numbers."""
    for attempt in range(10):
        area = size * size * (scale[0] + (scale[1] - scale[0]) * numbers[attempt])
        aspect = exp(log(ratio[0]) + (log(ratio[1]) - log(ratio[0])) * numbers[10 + attempt])
        width, height = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        largest = size if whole else size - 1
        if 0 < width <= largest and 0 < height <= largest:
            return floor(numbers[20] * (size - height + 1)), floor(numbers[21] * (size - width + 1)), height, width
    return None


@pytest.mark.parametrize(("channels", "size"), [*SHAPES, (3, 65)])
def test_crop_is_torchvisions(channels: int, size: int) -> None:
    batch, draws = images(30, channels, size), draws_of(30)
    cropped = Crop(scale=0.2)(batch.clone(), draws)
    for image, got, numbers in zip(batch, cropped, draws.uniform("crop", 22).tolist(), strict=True):
        box = box_by_torchvisions_loop(numbers, size, (0.2, 1), (3 / 4, 4 / 3), whole=True) or (0, 0, size, size)
        wanted = vision.resized_crop(
            image.contiguous(), *box, [size, size], interpolation=v2.InterpolationMode.BILINEAR, antialias=True
        )
        assert torch.equal(got, wanted)


def shares_and_ratios(boxes: list[Box], size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    _, _, heights, widths = np.array(boxes, dtype=float).T
    return heights * widths / size**2, np.log(widths / heights)


def made(transform: v2.Transform, size: int, number: int, names: str) -> list[Box]:
    image = torch.zeros(3, size, size)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = [transform.make_params([image]) for _ in range(number)]
    return [tuple(int(parameters[name]) for name in names.split()) for parameters in made]  # type: ignore[misc]


def test_crop_boxes_are_spread_as_torchvisions() -> None:
    ours = random_boxes(draws_of(3000), "crop", (0.35, 1), (3 / 4, 4 / 3), 224, 224)
    theirs = made(v2.RandomResizedCrop(224, scale=(0.35, 1)), 224, 3000, "top left height width")
    assert_same_spread([box or (0, 0, 224, 224) for box in ours], theirs, 224)


def test_erased_boxes_are_spread_as_torchvisions() -> None:
    ours = random_boxes(draws_of(3000), "box of erase", (0.02, 0.33), (1 / 3.3, 1 / 0.3), 224, 223)
    theirs = made(v2.RandomErasing(), 224, 3000, "i j h w")
    assert_same_spread([box for box in ours if box is not None], [box for box in theirs if box[3] < 224], 224)


def assert_same_spread(ours: list[Box], theirs: list[Box], size: int) -> None:
    assert len(ours) > 2900
    for here, there in zip(shares_and_ratios(ours, size), shares_and_ratios(theirs, size), strict=True):
        assert stats.ks_2samp(here, there).pvalue > 0.01
    for side in (0, 1):
        assert stats.ks_2samp([box[side] for box in ours], [box[side] for box in theirs]).pvalue > 0.01


def test_a_box_lies_inside_and_may_touch_every_edge() -> None:
    boxes = [box for box in random_boxes(draws_of(3000), "crop", (0.05, 0.9), (0.5, 2), 9, 9) if box is not None]
    tops, lefts, heights, widths = np.array(boxes).T
    assert (tops.min(), lefts.min()) == (0, 0)
    assert ((tops + heights).max(), (lefts + widths).max()) == (9, 9)


def test_no_box_where_none_fits() -> None:
    assert random_boxes(draws_of(5), "crop", (1, 1), (2, 2), 8, 8) == [None] * 5


# Colour


@pytest.mark.parametrize(("channels", "size"), SHAPES)
def test_jitter_is_torchvisions(channels: int, size: int) -> None:
    batch, draws = images(20, channels, size), draws_of(20)
    jittered = Jitter(brightness=0.3, contrast=1.5, saturation=0.5, hue=0.1)(batch.clone(), draws)
    ranges = [(0.7, 1.3), (0.0, 2.5), (0.5, 1.5), (-0.1, 0.1)]
    adjust = [vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation, vision.adjust_hue]
    orders = set()
    for image, got, numbers in zip(batch, jittered, draws.uniform("jitter", 8).tolist(), strict=True):
        order = sorted(range(4), key=lambda kind: numbers[4 + kind])
        orders.add(tuple(order))
        for kind in order:
            low, high = ranges[kind]
            image = adjust[kind](image, low + (high - low) * numbers[kind])
        assert torch.equal(got, image)
    assert len(orders) > 10


def test_jitter_without_strength_changes_nothing() -> None:
    batch = images(4)
    assert torch.equal(Jitter(brightness=0, contrast=0, saturation=0)(batch.clone(), draws_of(4)), batch)


def test_brightness_of_one_pixel_is_multiplied_within_its_range() -> None:
    batch = torch.full((3000, 1, 1, 1), 100, dtype=torch.uint8)
    values = Jitter(brightness=0.2, contrast=0)(batch.clone(), draws_of(3000)).ravel().numpy()
    assert (values.min(), values.max()) == (80, 119)  # 80 to 120, cut to whole numbers
    assert stats.chisquare(np.bincount(values)[80:]).pvalue > 0.001


@pytest.mark.parametrize(("channels", "size"), SHAPES)
def test_erase_is_torchvisions_with_the_mean_colour(channels: int, size: int) -> None:
    batch, draws = images(40, channels, size), draws_of(40)
    chosen, numbers = draws.uniform("erase").ravel() < 0.6, draws.uniform("box of erase", 22).tolist()
    changed = 0
    for number, got in enumerate(Erase(p=0.6)(batch.clone(), draws)):
        image = batch[number]
        box = box_by_torchvisions_loop(numbers[number], size, (0.02, 0.33), (1 / 3.3, 1 / 0.3), whole=False)
        if chosen[number] and box is not None:
            mean = np.round(image.numpy().mean(axis=(1, 2), keepdims=True)).astype(np.uint8)
            image = vision.erase(image, *box, torch.from_numpy(mean))
            changed += 1
        assert torch.equal(got, image)
    assert changed > 10 or size < 3


def test_an_image_of_one_colour_survives_erasing() -> None:
    batch = torch.full((5, 3, 8, 8), 77, dtype=torch.uint8)
    assert torch.equal(Erase(p=1.0)(batch.clone(), draws_of(5)), batch)


def test_erased_colours_are_normal_about_the_images_own() -> None:
    """In `rand` one colour each, in `pixel` one for each pixel; both cut off where bytes end."""
    batch = images(300, size=20) // 2 + 60  # so that few are cut off
    mean, spread = batch.double().mean((2, 3)), batch.double().std((2, 3), correction=0)
    for mode in ("rand", "pixel"):
        erased = Erase(p=1.0, mode=mode)(batch.clone(), draws_of(300))
        scores = []
        for image, after, middle, width in zip(batch, erased, mean, spread, strict=True):
            changed = (image != after).any(dim=0)
            rows, columns = np.flatnonzero(changed.any(dim=1)), np.flatnonzero(changed.any(dim=0))
            if not len(rows):
                continue
            box = after[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].double()
            if mode == "rand":
                assert (box == box[:, :1, :1]).all()
                box = box[:, :1, :1]
            scores.append(((box - middle[:, None, None]) / width[:, None, None]).flatten())
        found = torch.cat(scores).numpy()
        inside = found[np.abs(found) < 1.5]
        cut = stats.truncnorm(-1.5, 1.5)
        assert stats.kstest(inside[:: 1 + len(inside) // 800], cut.cdf).pvalue > 0.01
        assert len(inside) / len(found) == pytest.approx(np.diff(stats.norm.cdf([-1.5, 1.5]))[0], abs=0.05)


def test_several_boxes_share_the_area() -> None:
    """Their number is drawn from 1 to `count` alike, and each is so many times smaller."""
    boxes, _, _ = Erase(p=1.0, count=3)._drawn(draws_of(3000), 200)
    number = boxes.any(dim=2).sum(dim=1)
    assert stats.chisquare(number.bincount(minlength=4)[1:]).pvalue > 0.001
    shares = boxes[..., 2:].double().prod(dim=2) / 200**2
    for many in (1, 2, 3):
        drawn = shares[number == many][:, :many].flatten().numpy()
        assert stats.kstest(drawn, stats.uniform(0.02 / many, 0.31 / many).cdf).pvalue > 0.001


def test_one_box_is_the_same_however_it_is_filled() -> None:
    batch = images(40) // 2
    places = [
        (erased(batch.clone(), draws_of(40)) != batch).any(dim=1)
        for erased in (Erase(p=0.5), Erase(p=0.5, mode="rand"))
    ]
    assert (places[0] == places[1]).float().mean() > 0.99  # where a colour is not by chance the pixel's own


# What holds of all that change pixels


@pytest.mark.parametrize("augmentation", PIXEL, ids=repr)
@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation_does_not_depend_on_the_batch(augmentation: PixelAugmentation, channels: int) -> None:
    batch = images(12, channels)
    together = augmentation(batch.clone(), draws_of(12))
    assert torch.equal(augmentation(batch.clone(), draws_of(12)), together)
    for chosen in ([7], [3, 11, 0], list(reversed(range(12)))):
        apart = augmentation(batch[chosen].clone(), Draws(0, 1, np.array(chosen)))
        assert torch.equal(apart, together[chosen])
    assert not torch.equal(augmentation(batch.clone(), draws_of(12, seed=1)), together)


@pytest.mark.parametrize("augmentation", PIXEL, ids=repr)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_type_and_layout_stay_and_no_new_memory_is_asked_for(
    augmentation: PixelAugmentation, layout: torch.memory_format
) -> None:
    batch = images(6).contiguous(memory_format=layout)
    stride = batch.stride()
    after = augmentation(batch, draws_of(6))
    assert after.dtype == torch.uint8
    assert after.stride() == stride
    assert after.data_ptr() == batch.data_ptr()
    assert torch.equal(after, augmentation(images(6), draws_of(6)))  # the layout makes no difference


@pytest.mark.parametrize("augmentation", PIXEL, ids=repr)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_changed_together_and_one_by_one_are_the_same(
    monkeypatch: pytest.MonkeyPatch, augmentation: PixelAugmentation, channels: int
) -> None:
    """GPU and CPU code paths agree: in every pixel where none is computed, else up to rounding."""
    batch = images(40, channels)
    one_by_one = augmentation(batch.clone(), draws_of(40))
    monkeypatch.setattr(image_by_image, "in_memory", lambda batch: False)
    together = augmentation(batch.clone(), draws_of(40))
    assert together.dtype == torch.uint8
    if isinstance(augmentation, Crop | Jitter):
        # torchvision rounds the rows of a crop before its columns, in memory
        assert (together.int() - one_by_one.int()).abs().max() <= (1 if isinstance(augmentation, Crop) else 3)
        assert (together == one_by_one).float().mean() > (0.8 if isinstance(augmentation, Crop) else 0.95)
    else:
        assert torch.equal(together, one_by_one)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("augmentation", [Flip(), Rotate90(), Erase(p=0.8)], ids=repr)
def test_the_gpu_makes_the_same_pixels(augmentation: PixelAugmentation) -> None:
    batch = images(12)
    assert torch.equal(augmentation(batch.cuda(), draws_of(12)).cpu(), augmentation(batch.clone(), draws_of(12)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("augmentation", [Crop(), Jitter(hue=0.2)], ids=repr)
def test_the_gpu_rounds_like_the_processor(monkeypatch: pytest.MonkeyPatch, augmentation: PixelAugmentation) -> None:
    """That does the same steps."""
    batch = images(12)
    there = augmentation(batch.cuda(), draws_of(12)).cpu()
    monkeypatch.setattr(image_by_image, "in_memory", lambda batch: False)
    here = augmentation(batch.clone(), draws_of(12))
    assert (there.int() - here.int()).abs().max() <= 3
    assert (there == here).float().mean() > 0.95


# Mixtures


def normalised(number: int, size: int = 16) -> tuple[Tensor, Tensor]:
    """Images N C S S, and one class each."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn((number, 3, size, size), generator=generator), torch.eye(number)


def test_mixup_is_the_papers_formula() -> None:
    x, y = normalised(20)
    mixed, targets = Mixup(alpha=0.4, p=0.7)(x, y, draws_of(20))
    chosen, uniform, _ = draws_of(20).uniform("mixup", 3).T.numpy()
    changed = 0
    for number in range(20):
        weight = stats.beta(0.4, 0.4).ppf(uniform[number]) if chosen[number] < 0.7 else 1.0
        others = [other for other in range(20) if other != number and targets[number, other] > 0]
        assert len(others) == (weight < 1)
        wanted = weight * x[number].double()
        for partner in others:
            wanted += (1 - weight) * x[partner].double()
            changed += 1
        assert torch.allclose(mixed[number].double(), wanted, atol=1e-5)
        assert targets[number, number] == pytest.approx(weight, abs=1e-6)
        assert targets[number].sum() == pytest.approx(1, abs=1e-6)
    assert 5 < changed < 20


def test_the_weights_of_mixup_are_spread_as_beta() -> None:
    x, y = torch.zeros(2, 1, 1, 1), torch.eye(2)
    for alpha in (0.2, 1.0, 3.0):
        weights = [Mixup(alpha=alpha)(x, y, Draws(0, epoch, np.arange(2)))[1].diag() for epoch in range(300)]
        assert stats.kstest(torch.cat(weights).numpy(), stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_cutmix_pastes_a_rectangle_and_weighs_the_targets_by_its_area() -> None:
    x, y = normalised(40)
    mixed, targets = Cutmix(p=0.8)(x, y, draws_of(40))
    changed = 0
    for number in range(40):
        foreign = (mixed[number] != x[number]).all(dim=0)
        assert targets[number, number] == pytest.approx(1 - float(foreign.float().mean()), abs=1e-6)
        if not foreign.any():
            assert torch.equal(mixed[number], x[number])
            continue
        changed += 1
        rows, columns = foreign.any(dim=1), foreign.any(dim=0)
        assert torch.equal(foreign, rows[:, None] & columns)
        assert all((np.diff(np.flatnonzero(side)) == 1).all() for side in (rows.numpy(), columns.numpy()))
        (partner,) = (other for other in range(40) if other != number and targets[number, other] > 0)
        assert torch.equal(mixed[number][:, foreign], x[partner][:, foreign])
        assert targets[number].sum() == pytest.approx(1, abs=1e-6)
    assert 20 < changed < 40


def test_the_rectangles_of_cutmix_are_spread_as_torchvisions() -> None:
    x, y = torch.zeros(400, 1, 64, 64), torch.eye(400)
    ours = np.concatenate([Cutmix()(x, y, Draws(0, epoch, np.arange(400)))[1].diag().numpy() for epoch in range(4)])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transform = v2.CutMix(num_classes=2)
        theirs = [transform.make_params([x])["lam_adjusted"] for _ in range(1600)]
    assert stats.ks_2samp(ours, theirs).pvalue > 0.01


@pytest.mark.parametrize("mixing", [Mixup(), Cutmix()], ids=repr)
def test_a_mixture_depends_on_who_is_in_the_batch_not_on_their_order(mixing: Mixup | Cutmix) -> None:
    x, y = normalised(15)
    before = x.clone()
    mixed, targets = mixing(x, y, draws_of(15))
    assert torch.equal(x, before)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(0))
    again, again_targets = mixing(x[order], y[order], Draws(0, 1, order.numpy()))
    assert torch.equal(again, mixed[order])
    assert torch.equal(again_targets, targets[order])


@pytest.mark.parametrize("number", [2, 3, 17])
def test_everyone_has_another_for_a_partner_and_is_one_himself(number: int) -> None:
    partners = augmentations._partners(draws_of(number).uniform("mixup", 3)[:, 2])
    assert sorted(partners.tolist()) == list(range(number))
    assert (partners != torch.arange(number)).all()


@pytest.mark.parametrize("mixing", [Mixup(), Cutmix()], ids=repr)
def test_an_image_that_is_alone_stays_as_it_is(mixing: Mixup | Cutmix) -> None:
    x, y = normalised(1)
    mixed, targets = mixing(x, y, draws_of(1))
    assert torch.equal(mixed, x)
    assert torch.equal(targets, y)


# What a user writes


def test_what_is_written_is_what_is_done() -> None:
    texts = ["mixup(alpha=0.1, p=1)", "crop(scale=0.5)", "flip", "rotate90", "jitter(hue=0.1)", "erase(p=1)", "cutmix"]
    assert parse_augmentations(texts) == Augmentations(
        pixel=(Crop(scale=0.5), Flip(), Rotate90(), Jitter(hue=0.1), Erase(p=1.0)),
        mixing=(Mixup(alpha=0.1), Cutmix(alpha=1.0, p=1.0)),
    )
    assert parse_augmentations([]) == Augmentations()


def refusals() -> Iterator[tuple[list[str], str]]:
    yield ["flop"], "unknown augmentation 'flop'; did you mean 'flip' or 'crop'?"
    yield (
        ["zzz"],
        "unknown augmentation 'zzz'; known: crop, cutmix, erase, flip, jitter, mixup, randaugment, rotate90, "
        "trivialaugment",
    )
    yield ["flip", "crop", "flip"], "flip is listed twice; leave one of the two out"
    yield ["crop(0.5)"], "component 'crop(0.5)' is not of the form name or name(key=value, ...)"
    yield (
        ["jitter(colour=1)"],
        "jitter(colour=1): augmentation jitter has no parameter 'colour'; known: brightness, contrast, hue, saturation",
    )
    yield ["crop(size=1)"], "crop(size=1): augmentation crop has no parameter 'size'; known: scale"
    yield ["rotate90(p=1)"], "rotate90(p=1): augmentation rotate90 has no parameter 'p'; known: none"
    yield (
        ["crop(scale=big)"],
        "crop(scale=big): augmentation crop: parameter 'scale': input should be a valid number, got 'big'",
    )
    yield (
        ["flip(p=true)"],
        "flip(p=true): augmentation flip: parameter 'p': input should be a valid number, got True",
    )
    yield ["crop(scale=0)"], "crop(scale=0.0): scale must be above 0 and at most 1"
    yield ["crop(scale=1.1)"], "crop(scale=1.1): scale must be above 0 and at most 1"
    yield ["flip(p=-0.1)"], "flip(p=-0.1): p must be from 0 to 1"
    yield ["erase(p=2)"], "erase(p=2.0): p must be from 0 to 1"
    yield ["jitter(brightness=-1)"], "jitter(brightness=-1.0): brightness must be 0 or more"
    yield ["jitter(contrast=-1)"], "jitter(contrast=-1.0): contrast must be 0 or more"
    yield ["jitter(saturation=-1)"], "jitter(saturation=-1.0): saturation must be 0 or more"
    yield ["jitter(hue=0.6)"], "jitter(hue=0.6): hue must be from 0 to 0.5"
    yield ["mixup(alpha=0)"], "mixup(alpha=0.0): alpha must be above 0"
    yield ["cutmix(alpha=-1)"], "cutmix(alpha=-1.0): alpha must be above 0"
    yield ["cutmix(p=1.5)"], "cutmix(p=1.5): p must be from 0 to 1"
    yield ["erase(count=0)"], "erase(count=0): count must be from 1 to 100"
    yield (
        ["erase(mode=black)"],
        "erase(mode=black): augmentation erase: parameter 'mode': input should be 'const', 'rand' or 'pixel', got "
        "'black'",
    )
    yield ["randaugment(num_ops=0)"], "randaugment(num_ops=0): num_ops must be from 1 to 20"
    yield (
        ["randaugment(magnitude=31)"],
        "randaugment(magnitude=31.0): magnitude must be from 0 to 30 with ops=torchvision",
    )
    yield (
        ["randaugment(ops=timm,magnitude=11)"],
        "randaugment(magnitude=11.0): magnitude must be from 0 to 10 with ops=timm",
    )
    yield ["randaugment(std=-1)"], "randaugment(std=-1.0): std must be 0 or more"
    yield ["randaugment(p=2)"], "randaugment(p=2.0): p must be from 0 to 1"


@pytest.mark.parametrize(("texts", "sentence"), list(refusals()))
def test_what_cannot_be_is_one_sentence(texts: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_augmentations(texts)
    assert str(refusal.value) == f"augment: {sentence}"


@pytest.mark.parametrize("make", [Flip, Erase, Crop, Jitter, Mixup, Cutmix, RandAugment])
@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_non_finite_parameters_are_refused(make: Callable[..., object], value: float) -> None:
    fields = make.__dataclass_fields__  # type: ignore[attr-defined]
    for name in (name for name, field in fields.items() if isinstance(field.default, float)):
        with pytest.raises(ConfigError, match=rf"\({name}={value}\): {name} must be "):
            make(**{name: value})
