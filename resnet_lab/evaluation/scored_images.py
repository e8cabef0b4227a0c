"""Places of scored images in their source."""

import numpy as np
from numpy.typing import NDArray

from resnet_lab.core.columns import TextIndex
from resnet_lab.core.errors import DataError
from resnet_lab.data.preparation import Decoded
from resnet_lab.evaluation.predictions import Predictions


class ScoredImages:
    """The images that predictions are of, in the source that they were made on."""

    def __init__(self, predictions: Predictions, decoded: Decoded) -> None:
        self._predictions, self._decoded = predictions, decoded
        self._place = TextIndex(decoded.images.paths)

    def position(self, number: int) -> int:
        """Position of a predicted image in its source; raises `DataError` where its content has changed."""
        path = self._predictions.paths[number]
        position = self._place.get(path)
        if position is None or self._decoded.examined.digest(position) != self._predictions.digests[number]:
            raise DataError(f"{self._decoded.images.name}: {path} is no longer what was scored; restore it")
        return position

    def positions(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of several, shape (N,); raises like `position`."""
        return np.array([self.position(number) for number in numbers.tolist()], dtype=np.int64)
