"""The same training as louvre_genres.py, written plainly: torchvision's ResNet-18, float32, images decoded once.

usage: python benchmarks/plain_pytorch.py FOLDER OUT.json [SEEDS]
"""

import json
import sys
from pathlib import Path
from statistics import mean, stdev
from time import perf_counter

import torch
import torchvision
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from torch.nn import functional as F
from torchvision.transforms import v2

EPOCHS, BATCH, RATE, SIZE = 15, 32, 1e-3, 96


def main(source: str, out: str, seeds: int = 3) -> None:
    """Train once a seed on an 80/10/10 split, keep the best epoch by validation, score it on the test part."""
    to_tensor = v2.Compose([v2.Resize((SIZE, SIZE)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    data = torchvision.datasets.ImageFolder(source, to_tensor)
    images = torch.stack([image for image, _ in data])
    labels = torch.tensor(data.targets)
    runs = [train(images, labels, len(data.classes), seed) for seed in range(seeds)]
    scores = [run["macro_accuracy"] for run in runs]
    content = {
        "macro_accuracy": {"mean": mean(scores), "sd": stdev(scores), "n": len(scores), "values": scores},
        "seconds": [run["seconds"] for run in runs],
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
        "threads": torch.get_num_threads(),
    }
    Path(out).write_text(json.dumps(content, indent=1))
    print(json.dumps(content))


def train(images: torch.Tensor, labels: torch.Tensor, classes: int, seed: int) -> dict[str, float]:
    """One training; macro-averaged accuracy on the test part and seconds of training."""
    torch.manual_seed(seed)
    rest, test = train_test_split(range(len(labels)), test_size=0.1, stratify=labels, random_state=seed)
    taught, val = train_test_split(rest, test_size=1 / 9, stratify=labels[rest], random_state=seed)
    normalise = v2.Normalize(images[taught].mean((0, 2, 3)), images[taught].std((0, 2, 3)))
    model = torchvision.models.resnet18(num_classes=classes)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    steps = -(-len(taught) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * steps)

    @torch.inference_mode()
    def macro_accuracy(part: list[int]) -> float:
        model.eval()
        predicted = torch.cat([model(normalise(images[chunk])).argmax(1) for chunk in torch.tensor(part).split(64)])
        return float(balanced_accuracy_score(labels[part], predicted))

    best, best_state, start = -1.0, model.state_dict(), perf_counter()
    for _ in range(EPOCHS):
        model.train()
        for chunk in torch.tensor(taught)[torch.randperm(len(taught))].split(BATCH):
            x = images[chunk]
            mirrored = torch.rand(len(x)) < 0.5
            x[mirrored] = x[mirrored].flip(3)
            optimizer.zero_grad()
            F.cross_entropy(model(normalise(x)), labels[chunk]).backward()
            optimizer.step()
            schedule.step()
        if (accuracy := macro_accuracy(val)) > best:
            best, best_state = accuracy, {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seconds = perf_counter() - start
    model.load_state_dict(best_state)
    return {"macro_accuracy": macro_accuracy(test), "seconds": seconds}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 3)
