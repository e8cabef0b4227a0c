import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from resnet_lab.data.batches import Batches, channel_statistics, decode, flip, rotate90, to_array
from resnet_lab.device import choose
from resnet_lab.errors import DataError
from resnet_lab.images import ImageSet
from resnet_lab.watcher import Watcher

CPU = choose("cpu", "fp32")
NOISE = np.random.default_rng(0).integers(0, 256, (7, 3, 6, 6), dtype=np.uint8)


def batches(number: int, batch_size: int, **options: object) -> Batches:
    """Images whose every pixel is their own number."""
    pixels = torch.arange(number, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous()
    return Batches(
        pixels, np.arange(number), mean=(0, 0, 0), std=(1, 1, 1), batch_size=batch_size, placement=CPU, **options
    )  # fmt: skip


def image_set(*images: Image.Image) -> ImageSet:
    names = tuple(str(index) for index in range(len(images)))
    return ImageSet("set", ("a", "b"), names, np.zeros(len(images), np.int64), lambda index: images[index])


def test_decoding_squashes_as_torchvision_does() -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 50, 3), dtype=np.uint8))
    reference = v2.functional.resize(image, [32, 32], interpolation=v2.InterpolationMode.BILINEAR)
    pixels = decode(image_set(image, image.transpose(Image.Transpose.ROTATE_90)), np.array([0]), size=32, channels=3)
    assert np.array_equal(pixels[0].permute(1, 2, 0), np.asarray(reference))


def test_order_and_progress_of_decoding() -> None:
    images = image_set(*(Image.new("L", (3, 3), 10 * number) for number in range(9)))
    told: list[object] = []

    class Listener(Watcher):
        def begin(self, what: str, total: int) -> None:
            told.append((what, total))

        def advance(self) -> None:
            told.append("one")

    pixels = decode(images, np.array([5, 0, 8]), size=2, channels=1, watcher=Listener())
    assert pixels[:, 0, 0, 0].tolist() == [50, 0, 80]
    assert told == [("decoding", 3), "one", "one", "one"]


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda x: x),
        (2, np.fliplr),
        (3, lambda x: np.rot90(x, 2)),
        (4, np.flipud),
        (5, lambda x: x.swapaxes(0, 1)),
        (6, lambda x: np.rot90(x, -1)),
        (7, lambda x: np.rot90(x, 2).swapaxes(0, 1)),
        (8, np.rot90),
    ],
)
def test_images_are_seen_upright(tmp_path: Path, orientation: int, upright: Callable[..., np.ndarray]) -> None:
    """The eight values of EXIF tag 0x0112 (CIPA DC-008, section 4.6.4), written out with numpy."""
    stored = NOISE[0].transpose(1, 2, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        found = to_array(turned, 6, 3)
    assert np.array_equal(found, upright(stored).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("mode", "colour", "rgb"),
    [
        ("L", 100, (100, 100, 100)),
        ("LA", (100, 255), (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("F", 100.0, (100, 100, 100)),
        ("RGB", (10, 200, 30), (10, 200, 30)),
        ("RGBA", (10, 200, 30, 255), (10, 200, 30)),
        ("CMYK", (245, 55, 225, 0), (10, 200, 30)),
        ("P", (10, 200, 30), (10, 200, 30)),
    ],
)
def test_every_mode_becomes_the_channels_asked_for(
    mode: str, colour: float | tuple[int, ...], rgb: tuple[int, int, int]
) -> None:
    """Grey is the luma of ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B."""
    image = Image.new(mode, (5, 4), colour)
    assert np.array_equal(to_array(image, 2, 3), np.broadcast_to(np.reshape(rgb, (3, 1, 1)), (3, 2, 2)))
    luma = np.full((1, 2, 2), np.dot((0.299, 0.587, 0.114), rgb))
    np.testing.assert_allclose(to_array(image, 2, 1), luma, atol=0.5)


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bit_greys_keep_their_shades(tmp_path: Path, channels: int) -> None:
    Image.fromarray(np.array([[0, 64 * 257], [128 * 257, 65535]], dtype=np.uint16)).save(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as image:
        found = to_array(image, 2, channels)
    assert found.tolist() == [[[0, 64], [128, 255]]] * channels


def test_other_channels_are_refused() -> None:
    with pytest.raises(DataError) as failure:
        to_array(Image.new("L", (2, 2)), 2, 4)
    assert str(failure.value) == "images have 1 channel (greyscale) or 3 (RGB), the network wants 4"


def test_more_images_than_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**18}.__getitem__)
    with pytest.raises(DataError) as failure:
        decode(image_set(), np.arange(10_000), size=224, channels=3)
    assert str(failure.value) == (
        "set: 10000 images at 224 pixels take 1 GiB and this machine has 1; choose a smaller size"
    )


def test_statistics_equal_a_float64_reference() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (50, 3, 9, 9), dtype=np.uint8)
    mean, std = channel_statistics(torch.from_numpy(pixels))
    scaled = pixels.astype(np.float64) / 255
    assert mean == pytest.approx(scaled.mean((0, 2, 3)), rel=1e-13)
    assert std == pytest.approx(scaled.std((0, 2, 3)), rel=1e-13)


def test_normalisation_equals_torchvision_s() -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    served = Batches(
        torch.from_numpy(NOISE), np.arange(7), mean=mean, std=std, batch_size=3, placement=CPU
    )  # fmt: skip
    x = torch.cat([x for x, _ in served.in_order()])
    reference = v2.functional.normalize(v2.functional.to_dtype(torch.from_numpy(NOISE), scale=True), mean, std)
    torch.testing.assert_close(x, reference, rtol=1e-5, atol=2e-6)
    assert x.dtype == torch.float32
    assert [len(y) for _, y in served.in_order()] == [3, 3, 1]


@pytest.mark.parametrize(("number", "batch_size"), [(10, 3), (10, 10), (10, 64), (65, 64), (200, 7)])
def test_an_epoch_has_every_image_once_in_even_batches(number: int, batch_size: int) -> None:
    served = batches(number, batch_size)
    epoch = list(served.training(1))
    sizes = [len(y) for _, y in epoch]
    assert len(epoch) == len(served) == -(-number // batch_size)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    order = torch.cat([y for _, y in epoch])
    assert sorted(order.tolist()) == list(range(number))
    pixels = torch.cat([x for x, _ in epoch])[:, 0, 0, 0] * 255
    assert pixels.round().long().tolist() == order.tolist(), "an image goes with its label"


def test_order_is_a_pure_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat([y for _, y in batches(50, 8, seed=seed).training(epoch)]).tolist()

    served = batches(50, 8, seed=1)
    list(served.training(1))
    assert torch.cat([y for _, y in served.training(5)]).tolist() == order(1, 5)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (1, 2, 3)}) == 6


def test_flip_mirrors_half_of_the_images() -> None:
    batch = torch.from_numpy(np.repeat(NOISE[:1], 400, 0))
    flipped = flip(batch, torch.Generator().manual_seed(0))
    mirrored = v2.functional.horizontal_flip(batch[0])
    kinds = Counter(
        "same" if torch.equal(x, batch[0]) else "mirrored" if torch.equal(x, mirrored) else "?" for x in flipped
    )
    assert set(kinds) == {"same", "mirrored"}
    assert 150 < kinds["same"] < 250


def test_rotate90_turns_by_four_angles() -> None:
    batch = torch.from_numpy(np.repeat(NOISE[:1], 400, 0))
    references = [np.rot90(NOISE[0], quarter, (1, 2)) for quarter in range(4)]
    kinds = Counter(
        next(q for q in range(4) if np.array_equal(x, references[q]))
        for x in rotate90(batch, torch.Generator().manual_seed(0)).numpy()
    )
    assert set(kinds) == {0, 1, 2, 3}
    assert min(kinds.values()) > 60


def test_each_image_of_a_batch_is_augmented_by_itself() -> None:
    batch = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (64, 3, 6, 6), dtype=np.uint8))
    turns, mirrors = set(), set()
    turned = rotate90(batch, torch.Generator().manual_seed(1))
    mirrored = flip(batch, torch.Generator().manual_seed(1))
    for x, by_turn, by_mirror in zip(batch, turned, mirrored, strict=True):
        turns |= {q for q in range(4) if np.array_equal(by_turn, np.rot90(x.numpy(), q, (1, 2)))} or {None}
        mirrors |= {
            m for m in (False, True) if torch.equal(by_mirror, v2.functional.horizontal_flip(x) if m else x)
        } or {None}
    assert (turns, mirrors) == ({0, 1, 2, 3}, {False, True})


def test_augmentation_is_applied_in_training_alone() -> None:
    served = Batches(
        torch.from_numpy(NOISE), np.arange(7), mean=(0, 0, 0), std=(1, 1, 1), batch_size=7, placement=CPU,
        augment=("rotate90", "flip"), seed=3,
    )  # fmt: skip
    plain = torch.cat([x for x, _ in served.in_order()])
    torch.testing.assert_close(plain, torch.from_numpy(NOISE) / 255, rtol=1e-6, atol=1e-6)
    (x, y), (again, _) = next(served.training(1)), next(served.training(1))
    assert torch.equal(x, again)
    assert not torch.allclose(x, plain[y])
    torch.testing.assert_close(x.flatten(1).sort().values, plain[y].flatten(1).sort().values)
