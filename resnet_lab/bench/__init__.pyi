from .arms import BenchArm as BenchArm
from .arms import arms_of as arms_of
from .config import BenchConfig as BenchConfig
from .measuring import BenchResult as BenchResult
from .measuring import bench as bench
