from .config import TrainConfig as TrainConfig
from .config import data_config as data_config
from .config import train_config as train_config
from .trainer import TrainResult as TrainResult
from .training import find_rate as find_rate
from .training import resume as resume
from .training import train as train
