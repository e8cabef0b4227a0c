"""Trained networks for others: files that other programs run, a model card, and the hub. Each file is checked first."""

from resnet_lab.export.exporting import FORMATS, Exported, Format, export
from resnet_lab.export.subject import ExportError

__all__ = ["FORMATS", "ExportError", "Exported", "Format", "export"]
