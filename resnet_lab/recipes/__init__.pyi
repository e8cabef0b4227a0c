from .recipe import Recipe as Recipe
from .recipe import names as names
from .recipe import read_recipe as read_recipe
from .settings import apply_settings as apply_settings
