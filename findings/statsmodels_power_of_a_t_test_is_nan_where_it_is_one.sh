#!/usr/bin/env bash
# statsmodels 0.15.0 with scipy 1.17.1: TTestPower().power returns nan, without error or warning, for many sizes at which
# the power is one, such as 140 observations and an effect of one standard deviation, and not for 100 or 1,000.
#
# It adds the noncentral t distribution's two tails, and scipy's nct.cdf is nan far out in the lower one for some
# noncentralities above 8, though the tail is there 0 to 50 digits. nan compares as False with any power that is wanted,
# so that a search for the smallest sample can pass over sizes that would do. The same tail as nct.sf of the mirrored
# distribution is finite. Seen, of 1,000 sizes and effects below: 260 are nan.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q statsmodels==0.15.0 scipy==1.17.1 numpy==2.4.6 pandas==2.3.3
"$folder/venv/bin/python" - <<'PYTHON'
import math
import sys
import warnings

from scipy.stats import nct, t
from statsmodels.stats.power import TTestPower

warnings.simplefilter("error")
effects = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0)
found = {(n, effect): TTestPower().power(effect, n, 0.05) for n in range(10, 1001, 10) for effect in effects}
missing = [key for key, power in found.items() if math.isnan(power)]
print(f"nan at {len(missing)} of {len(found)}; at an effect of 1:", {n: float(found[n, 1.0]) for n in (100, 140, 1000)})
mirrored = [nct.sf(t.isf(0.025, n - 1), n - 1, -effect * n**0.5) for n, effect in missing]
as_seen = (len(missing), math.isnan(found[140, 1.0]), found[100, 1.0] > 0.999, found[1000, 1.0] > 0.999)
sys.exit((*as_seen, max(mirrored) < 1e-15) != (260, True, True, True, True))
PYTHON
