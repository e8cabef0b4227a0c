"""Study ResNet architectures: the effects of changes to their parts, their certainty and their costs."""

import sys
from importlib import import_module
from inspect import Signature, signature
from types import ModuleType
from typing import TYPE_CHECKING, Any

import lazy_loader

if TYPE_CHECKING:
    from resnet_lab.interactive import Evaluation as Evaluation
    from resnet_lab.interactive import Report as Report
    from resnet_lab.interactive import Run as Run
    from resnet_lab.interactive import Study as Study
    from resnet_lab.interactive import evaluate as evaluate
    from resnet_lab.interactive import report as report
    from resnet_lab.interactive import study as study
    from resnet_lab.interactive import train as train
    from resnet_lab.network import ModelSpec as ModelSpec
    from resnet_lab.network import build as build
    from resnet_lab.network import features as features
    from resnet_lab.network import load as load
    from resnet_lab.network import save as save
    from resnet_lab.network import zoo as zoo

CALLABLE = ("report", "study", "train")
"""Packages that can be called: each is also the function of its name in `resnet_lab.interactive`."""

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=CALLABLE,
    submod_attrs={
        "interactive": ["Evaluation", "Report", "Run", "Study", "evaluate"],
        "network": ["ModelSpec", "build", "features", "load", "save", "zoo"],
    },
)


class _CallablePackage(ModuleType):
    """A package that, called, is the function of its name in `resnet_lab.interactive`."""

    @property
    def _function(self) -> Any:
        return getattr(import_module("resnet_lab.interactive"), self.__name__.rpartition(".")[2])

    @property
    def __signature__(self) -> Signature:
        return signature(self._function)

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return self._function(*arguments, **settings)


class _Root(ModuleType):
    """This package, which makes those callable as they are imported: Python sets each as an attribute of it."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in CALLABLE and isinstance(value, ModuleType):
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Root
