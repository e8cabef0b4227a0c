from .building import build_report as build_report
from .building import write_plots as write_plots
