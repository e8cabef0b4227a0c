"""A tracker's whole course in a process of its own: `python tracked_course.py TRACKER FOLDER [ID]`.

It prints the id of the tracked run, and where the process has tried to connect to outside this machine. Without an ID
the course is interrupted after the first epoch; with one it resumes, and is finished after the second.
"""

import json
import sys
from pathlib import Path

connections: list[str] = []


def watch(event: str, arguments: tuple) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        place = arguments[1] if event != "socket.getaddrinfo" else (arguments[0],)
        if isinstance(place, tuple) and place[0] not in ("127.0.0.1", "::1", "localhost", None):
            connections.append(f"{event} {place}")


if __name__ == "__main__":
    sys.addaudithook(watch)
    from resnet_lab.network.component import Component
    from resnet_lab.network.plugins import load
    from resnet_lab.plugin_api import RunEnd, RunStart

    component, folder, before = sys.argv[1], Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None
    folder.mkdir(exist_ok=True)
    tracker = load(only=(), kinds=("tracker",)).bind("tracker", Component.parse(component), "course")()
    config = {"config": {"lr": 0.125, "optimizer": "sgd", "clip_norm": None}, "data": {"classes": ["a", "b"]}}
    answer = tracker.on_run_start(RunStart(folder.absolute(), folder.name, "parts", config, before))
    metrics = {"learning_rate": 0.125, "train_loss": 1.5, "val_loss": 0.75, "val_macro_accuracy": 0.5, "seconds": 2.0}
    files = (folder / "metrics.csv", folder / "curves.png")
    if before is None:
        tracker.on_epoch(1, metrics)
        tracker.on_finish(RunEnd("interrupted", "stopped by SIGINT", None, {}, (), None))
    else:
        from PIL import Image

        tracker.on_epoch(2, {**metrics, "val_loss": 0.25})
        files[0].write_text("epoch,val_loss\n1,0.75\n2,0.25\n")
        Image.new("RGB", (4, 3), "red").save(files[1])
        (folder / "best.safetensors").write_bytes(b"weights")
        test = {"accuracy": 0.875}
        tracker.on_finish(RunEnd("finished", "", 2, test, files, folder / "best.safetensors"))
    print(json.dumps({"id": answer, "connections": connections}))
