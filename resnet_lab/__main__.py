"""`python -m resnet_lab`."""

import os
import sys

if not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):
    del sys.path[0]  # the current folder, which may be a stranger's and hold an html.py

from resnet_lab.cli import main

main()
