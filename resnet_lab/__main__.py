"""`resnet-lab`, and `python -m resnet_lab`."""

import io
import os
import sys


def main() -> None:
    """Run the command line, which takes a moment to import, and may be stopped in it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="replace")  # as on Windows where the output goes to a file
    try:
        from resnet_lab.cli import main as run
    except KeyboardInterrupt:
        print("resnet-lab: stopped", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    if not sys.flags.safe_path and sys.path[0] != os.path.dirname(os.path.dirname(__file__)):
        del sys.path[0]  # the current folder, which may be untrusted and hold an html.py
    main()
