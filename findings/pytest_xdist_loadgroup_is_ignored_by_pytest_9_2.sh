#!/usr/bin/env bash
# pytest-xdist 3.8.0 with pytest 9.2.0: --dist loadgroup spreads the tests of one xdist_group over all processes.
#
# xdist writes the group behind the test's id by setting item._nodeid; pytest 9.2 keeps the id elsewhere, so that the
# attribute is set and read by nobody. No error and no warning: each process makes the group's fixtures for itself.
# With pytest 9.0.2 the same tests stay together. Seen: 6 tests of one group in 1 process (9.0.2), in 2 (9.2.0).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/test_group.py" <<'PYTHON'
import os
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("together")


@pytest.mark.parametrize("number", range(6))
def test_process(number):
    time.sleep(0.3)
    Path(os.environ["SEEN"], os.environ["PYTEST_XDIST_WORKER"]).touch()
PYTHON
processes() {
    python3 -m venv "$folder/venv-$1"
    "$folder/venv-$1/bin/pip" install -q "pytest==$1" pytest-xdist==3.8.0
    mkdir "$folder/seen-$1"
    (cd "$folder" && SEEN="$folder/seen-$1" "venv-$1/bin/pytest" -q -n 2 --dist loadgroup test_group.py >/dev/null)
    find "$folder/seen-$1" -type f | wc -l
}
before=$(processes 9.0.2)
now=$(processes 9.2.0)
echo "processes that ran a group's tests: pytest 9.0.2: $before, pytest 9.2.0: $now"
[ "$before" = 1 ] && [ "$now" = 2 ]
