"""Changes of all images of a batch in few large steps, which suits a GPU. Legend: N batch, C channels, S size.

Each image has numbers of its own. What torchvision does to one image, these do to all, up to rounding; the single steps
are its functions' of the same names in `torchvision.transforms.v2.functional`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Groups(NamedTuple):
    """Images by choice, their sizes known to the host: a mask on a GPU would have to be waited for.

    Attributes:
        order: numbers of the images, those of choice 0 first, int64, (N,).
        ends: of each choice's images in it.
    """

    order: Tensor
    ends: tuple[int, ...]

    def of(self, choice: int) -> Tensor:
        """Numbers of its images."""
        return self.order[self.ends[choice - 1] if choice else 0 : self.ends[choice]]


def grouped(choices: Tensor, number: int) -> Groups:
    """Group images by choices from 0 to `number` - 1, int64 on the CPU, shape (N,)."""
    return Groups(choices.argsort(stable=True), tuple(choices.bincount(minlength=number).cumsum(0).tolist()))


def in_groups(batch: Tensor, groups: Groups, ways: Mapping[int, Callable[..., Tensor]], *own: Tensor) -> Tensor:
    """The images of each choice changed in its way, those of any other left as they are.

    Args:
        groups: on the batch's device.
        ways: take some of the images, and what these have of `own`.
    """
    for choice, way in ways.items():
        if len(group := groups.of(choice)):
            batch[group] = way(batch[group], *(each[group] for each in own))
    return batch


def inside(boxes: Tensor, size: int) -> Tensor:
    """Whether each pixel is in its image's box: bool, shape (N, 1, S, S).

    Args:
        boxes: top, left, height, width, shape (N, 4).
    """
    places = torch.arange(size, device=boxes.device)
    first, sides = boxes[:, :2, None], boxes[:, 2:, None]  # N 2 1
    rows, columns = ((places >= first) & (places < first + sides)).unbind(1)  # N S
    return (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)


def mean_colours(batch: Tensor) -> Tensor:
    """Mean of each channel of bytes, halves rounded to even, (N, C, 1, 1): in integers, as not all have float64."""
    number = batch.shape[-2] * batch.shape[-1]
    doubled = 2 * batch.sum((2, 3), keepdim=True, dtype=torch.int64) + number
    rounded = doubled.div(2 * number, rounding_mode="floor")
    odd_half = (doubled % (2 * number) == 0) & (rounded % 2 == 1)
    return (rounded - odd_half.long()).to(batch.dtype)


def resized_crop(batch: Tensor, boxes: Tensor) -> Tensor:
    """Each image's box (N, 4), as `inside` has it, enlarged to the whole image: nothing is there to be antialiased."""
    size = batch.shape[-1]
    places = (torch.arange(size, device=batch.device) + 0.5) / size
    first, sides = boxes[:, :2, None].float(), boxes[:, 2:, None].float()  # N 2 1
    within = (
        (places * sides - 0.5).clamp(min=0).minimum(sides - 1)
    )  # from the middle of a box's first pixel to its last
    rows, columns = ((2 * (first + within) + 1) / size - 1).unbind(1)  # N S, on grid_sample's scale of [-1, 1]
    shape = (len(batch), size, size)
    grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=-1)  # N S S 2
    return F.grid_sample(batch.float(), grid, align_corners=False).round_().to(batch.dtype)


def adjust_brightness(batch: Tensor, factors: Tensor) -> Tensor:
    """Scale brightness by factors of shape (N, 1, 1, 1), like the functions below."""
    return _in_bytes(batch * factors)


def adjust_contrast(batch: Tensor, factors: Tensor) -> Tensor:
    """Nearer to the image's mean grey, or farther from it."""
    grey = _grey(batch) if batch.shape[1] == 3 else batch.float()
    return _in_bytes(torch.lerp(grey.mean((1, 2, 3), keepdim=True), batch.float(), factors))


def adjust_saturation(batch: Tensor, factors: Tensor) -> Tensor:
    """Nearer to each pixel's grey, or farther from it."""
    return _in_bytes(torch.lerp(_grey(batch), batch.float(), factors)) if batch.shape[1] == 3 else batch


def adjust_hue(batch: Tensor, factors: Tensor) -> Tensor:
    """Turned by shares of the colour circle: to HSV and back, Smith 1978, doi:10.1145/965139.807361."""
    if batch.shape[1] != 3:
        return batch
    image = batch / 255
    (red, green, blue), (low, high) = _channels(image), image.aminmax(dim=1, keepdim=True)
    spread = high - low
    divisor = spread.where(spread > 0, 1)
    sector = torch.where(
        high == red,
        (green - blue) / divisor,
        torch.where(high == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    offsets = torch.arange(5, 0, -2, device=batch.device).view(3, 1, 1)  # made there, where a list would be waited for
    place = (sector + 6 * factors + offsets) % 6
    return ((high - spread * place.minimum(4 - place).clamp(0, 1)) * 255.999).to(batch.dtype)


def adjust_sharpness(batch: Tensor, factors: Tensor) -> Tensor:
    """Nearer to a blurred image, or farther from it; the outermost pixels stay."""
    if batch.shape[-1] <= 2:
        return batch
    image = batch.float()
    inner = image[..., 1:-1, 1:-1]
    blurred = ((9 * F.avg_pool2d(image, 3, 1) + 4 * inner) / 13).round_()
    image[..., 1:-1, 1:-1] = inner + (1 - factors) * (blurred - inner)
    return _in_bytes(image)


def posterize(batch: Tensor, masks: Tensor) -> Tensor:
    """The leading bits of each byte alone, by numbers with these bits set."""
    return batch & masks.to(torch.uint8)


def solarize(batch: Tensor, thresholds: Tensor) -> Tensor:
    """Bytes from a threshold on inverted."""
    return torch.where(batch >= thresholds, 255 - batch, batch)


def solarize_add(batch: Tensor, added: Tensor) -> Tensor:
    """A number added to bytes below 128: timm's."""
    return torch.where(batch < 128, _in_bytes(batch + added), batch)


def equalize(batch: Tensor) -> Tensor:
    """Each channel's bytes spread evenly, as Pillow does it; those of too few pixels below the highest stay."""
    bytes_, number = batch.flatten(2).long(), batch.shape[-2] * batch.shape[-1]
    counts = bytes_.new_zeros((*bytes_.shape[:2], 256)).scatter_add_(2, bytes_, torch.ones_like(bytes_))  # N C 256
    step = (number - counts.gather(2, bytes_.amax(2, keepdim=True))).div(255, rounding_mode="floor")  # N C 1
    below = counts.cumsum(2) - counts
    table = (below + step // 2).div(step.clamp(min=1), rounding_mode="floor").clamp(0, 255)
    spread = table.gather(2, bytes_).view(batch.shape).to(batch.dtype)
    return torch.where(step[..., None] > 0, spread, batch)


def warp(batch: Tensor, matrices: Tensor, mode: str) -> Tensor:
    """Each pixel (x, y) taken from where a matrix (N, 2, 3) has it, black outside; x and y are from the middle.

    Args:
        mode: nearest or bilinear.
    """
    size = batch.shape[-1]
    places = torch.arange(size, device=batch.device) - (size - 1) / 2
    by_x, by_y, moved = matrices[:, None, None].unbind(-1)  # N 1 1 2
    grid = (by_x * places[:, None] + by_y * places[:, None, None] + moved) / (size / 2)  # N S S 2, within [-1, 1]
    return F.grid_sample(batch.float(), grid, mode, align_corners=False).round_().to(batch.dtype)


def noise(keys: Tensor, channels: int, size: int) -> Tensor:
    """Normally distributed numbers (N, C, S, S), a function of keys (N, 2) below 2^32 and place.

    MurmurHash3's finaliser, twice, in integers, so that every device hashes alike.
    """
    places = torch.arange(channels * size**2, device=keys.device)
    hashed = _finalised(_finalised((places + keys[:, :1]) & 0xFFFFFFFF) ^ keys[:, 1:])
    uniform = ((hashed >> 8).float() + 0.5) * 2.0**-24  # as many bits as float32 holds
    return ((2 * uniform - 1).erfinv() * 2**0.5).view(-1, channels, size, size)


def _finalised(hashed: Tensor) -> Tensor:
    hashed = ((hashed ^ (hashed >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    hashed = ((hashed ^ (hashed >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return hashed ^ (hashed >> 16)


def _channels(batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return batch[:, :1], batch[:, 1:2], batch[:, 2:]


def _grey(batch: Tensor) -> Tensor:
    red, green, blue = _channels(batch)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).floor_()


def _in_bytes(image: Tensor) -> Tensor:
    return image.clamp_(0, 255).to(torch.uint8)
