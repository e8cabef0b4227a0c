"""Saved results name the processor and the versions, and nothing that tells whose machine it was."""

from typing import Any

KEPT = ("machine", "system", "python_version")


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    cpu = machine_info.get("cpu", {})
    kept = {key: machine_info[key] for key in KEPT}
    machine_info.clear()
    machine_info.update(kept, cpu={key: cpu.get(key) for key in ("brand_raw", "count", "arch")})


def pytest_benchmark_update_commit_info(config: Any, commit_info: dict[str, Any]) -> None:
    for key in ("project", "branch"):
        commit_info.pop(key, None)
