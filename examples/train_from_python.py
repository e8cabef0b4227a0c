"""Train from Python, read what came of it, and use the network.

usage: python train_from_python.py FOLDER
"""

import sys
from pathlib import Path

import torch

import resnet_lab
from resnet_lab.network import checkpoint
from resnet_lab.train import TrainConfig, train

folder = Path(sys.argv[1])
spec = resnet_lab.zoo.get("resnet20").modified(input_size=8, attn="eca")
result = train(spec, "digits", TrainConfig(epochs=2, lr=1e-2, schedule="one_cycle", seed=0), folder=folder)
print(f"epoch {result.best_epoch} was the best on the validation part")
print(f"test: accuracy {result.test.accuracy:.2f}, macro F1 {result.test.macro_f1:.2f}")

model = resnet_lab.load(folder / "best.safetensors")
metadata, _ = checkpoint.read(folder / "best.safetensors")
with torch.inference_mode():
    logits = model(torch.zeros(1, 3, 8, 8))  # N C H W, normalised by metadata.mean and metadata.std
print(f"{len(metadata.classes)} classes, {tuple(logits.shape)} logits")
