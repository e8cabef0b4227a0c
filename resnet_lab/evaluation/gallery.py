"""Gallery of works, each with maps of the evidence for classes and the training images most similar to it."""

from dataclasses import dataclass

from resnet_lab.core.choices import MapMethod


@dataclass(frozen=True)
class GalleryPicture:
    """An image, scaled to a square file as networks get it.

    Attributes:
        width, height: of the original where the square shows all of it; else 1 and 1, its own shape.
        webp: the bytes of a WebP file.
    """

    path: str
    width: int
    height: int
    webp: bytes


@dataclass(frozen=True)
class Map:
    """Map of the evidence for a class in a work, over the work in grey.

    Attributes:
        network: number of the run that it is of, from 0.
        webp: as that of the work's picture.
    """

    name: str
    network: int
    probability: float
    webp: bytes


@dataclass(frozen=True)
class Neighbour:
    """A training image, and its cosine distance in [0, 2] from the work in the features before the classifier."""

    picture: GalleryPicture
    distance: float


@dataclass(frozen=True)
class GalleryWork:
    """One work.

    Attributes:
        number: among the predictions.
        maps: of the predicted and of the true class; or of what each of two networks takes it for.
        neighbours: nearest training images of the predicted class, the nearest first.
    """

    number: int
    picture: GalleryPicture
    maps: tuple[Map, ...]
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True)
class Gallery:
    """Works, and what the maps have of detail.

    Attributes:
        side: of the pictures, in pixels.
        method: of the maps.
        layers: that the maps are of, one for each network.
        positions: height and width of these layers' outputs.
        candidates: training images among which the nearest were searched.
        without_neighbours: why there are none; empty where there are.
    """

    works: tuple[GalleryWork, ...]
    side: int
    method: MapMethod
    layers: tuple[str, ...]
    positions: tuple[tuple[int, int], ...]
    candidates: int = 0
    without_neighbours: str = ""
