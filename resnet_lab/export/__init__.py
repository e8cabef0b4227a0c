"""Trained networks for others: files that other programs run, a model card, and the hub. Each file is checked first."""

from resnet_lab.export.exported_model import ExportError
from resnet_lab.export.exporting import FORMATS, Exported, Format, export

__all__ = ["FORMATS", "ExportError", "Exported", "Format", "export"]
