"""Pictures made square, and their modes. Legend: S size."""

from PIL import Image, ImageOps

from resnet_lab.data.image_format import ImageFormat

WHITE = (255, 255, 255)

MAX_RESIZED = 2**22
"""Pixels of a whole picture that is resized before its middle is cut out."""


def squared(image: Image.Image, image_format: ImageFormat) -> Image.Image:
    """The picture as S x S pixels of its mode, as the format fits it."""
    size, fit = image_format.size, image_format.fit
    if fit == "crop" and image_format.resize:
        return _middle(image, image_format)
    if fit == "crop":
        return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    if fit == "pad":
        white = WHITE[0] if image.mode == "L" else WHITE
        return ImageOps.pad(image, (size, size), Image.Resampling.BILINEAR, color=white)
    return image.resize((size, size), Image.Resampling.BILINEAR)


def _middle(image: Image.Image, image_format: ImageFormat) -> Image.Image:
    """Centre crop as made by torchvision's `Resize(image_format.resize)` and `CenterCrop(image_format.size)`."""
    size, shorter = (image_format.size, image_format.size), min(image.size)
    width, height = (image_format.resize * side // shorter for side in image.size)
    left, top = round((width - image_format.size) / 2), round((height - image_format.size) / 2)
    if width * height <= MAX_RESIZED:
        whole = image.resize((width, height), Image.Resampling.BILINEAR)
        return whole.crop((left, top, left + image_format.size, top + image_format.size))
    across, down = image.width / width, image.height / height  # of a strip the middle alone, at most 2 levels apart
    box = left * across, top * down, (left + image_format.size) * across, (top + image_format.size) * down
    return image.resize(
        size, Image.Resampling.BILINEAR, box=(*box[:2], min(box[2], image.width), min(box[3], image.height))
    )


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Convert to a mode, without the copy that `convert` makes where there is nothing to convert."""
    return image if image.mode == mode else image.convert(mode)


def on_white(image: Image.Image) -> Image.Image:
    """Transparent pixels as most pages show them."""
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, (*WHITE, 255)), image).convert("RGB")
