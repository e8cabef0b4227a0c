"""`python -m resnet_lab`."""

from resnet_lab.cli import main

main()
