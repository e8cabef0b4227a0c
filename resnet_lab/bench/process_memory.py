"""Memory that an arm takes in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence

from resnet_lab.bench.arms import BenchArm
from resnet_lab.bench.config import Mode
from resnet_lab.core.children import python_module
from resnet_lab.core.errors import ConfigError
from resnet_lab.core.system_memory import peak_memory
from resnet_lab.network.spec import ModelSpec

CALLS = 3


def resident(arm: BenchArm, mode: Mode, device: str, no_plugin: Sequence[str]) -> int:
    """Bytes by which the most that a new process held grew from before the network was made; of a GPU, its own peak.

    Raises:
        ConfigError: the process ended without a result, perhaps for lack of memory.
    """
    request = {
        "arm": {
            "name": arm.name, "batch": arm.batch, "maker": arm.maker, "precision": arm.precision,
            "compile": arm.compile, "channels_last": arm.channels_last,
            "recomputes": arm.recomputes, "spec": arm.spec.to_json(),
        },
        "mode": mode, "device": device, "no_plugin": list(no_plugin),
    }  # fmt: skip
    done = subprocess.run(
        python_module("resnet_lab.bench.process_memory"),
        input=json.dumps(request),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it was ended"])[-1]
        raise ConfigError(f"{arm.name}: a process of its own failed ({last}); leave --process-memory out")
    return int(done.stdout)


def main() -> None:
    """Read what `resident` writes, and print the bytes."""
    from resnet_lab.bench.timed_networks import NetworkCache, ready
    from resnet_lab.device import choose
    from resnet_lab.network.plugins import load

    request = json.load(sys.stdin)
    arm = BenchArm(**{**request["arm"], "spec": ModelSpec.from_json(request["arm"]["spec"])})
    registry, target = load(without=request["no_plugin"]), choose(request["device"]).device
    before = peak_memory()
    call = ready(arm, request["mode"], NetworkCache(registry), request["device"])
    for _ in range(CALLS):
        call()
    if target.type == "cuda":
        import torch

        print(torch.cuda.max_memory_allocated(target))
    else:
        print(peak_memory() - before)


if __name__ == "__main__":
    main()
