"""Sources of images: folders, manifests, torchvision, Hugging Face, and registered data sets."""

from resnet_lab.data.sources.opening import open_images

__all__ = ["open_images"]
