"""Sphinx configuration."""

project = "resnet-lab"
copyright = "the resnet-lab contributors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "resnet-lab"
default_role = "code"
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
