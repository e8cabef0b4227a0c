"""New plugins: a distribution that installs, works and passes its tests, to be changed from there."""

from resnet_lab.scaffold.writing import full_kind, new_plugin

__all__ = ["full_kind", "new_plugin"]
