from .errors import ResNetLabError as ResNetLabError
from .images import ImageSet as ImageSet
from .run_folder import Run as Run
from .watcher import Watcher as Watcher
