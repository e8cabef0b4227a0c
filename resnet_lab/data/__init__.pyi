from .config import DataConfig as DataConfig
from .preparation import Prepared as Prepared
from .preparation import prepare as prepare
from .sources import open_images as open_images
