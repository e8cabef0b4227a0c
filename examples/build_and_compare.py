"""Build two networks that differ in one part, and show that everything else is bitwise the same."""

import torch

import resnet_lab
from resnet_lab.network import measure

plain = resnet_lab.build("resnet18", num_classes=50, seed=0)
gated = resnet_lab.build("resnet18", num_classes=50, seed=0, attn="cbam@3,4")

shared = plain.state_dict()
added = [name for name in gated.state_dict() if name not in shared]
same = all(torch.equal(gated.state_dict()[name], tensor) for name, tensor in shared.items())
print(f"CBAM adds {len(added)} tensors; the other {len(shared)} start equal: {same}")

spec = resnet_lab.zoo.get("resnet18").modified(num_classes=50)
for name, changed in {"plain": spec, "CBAM in stages 3 and 4": spec.modified(attn="cbam@3,4")}.items():
    cost = measure(changed)
    print(f"{name}: {cost.parameters:,} parameters, {cost.macs:,} MACs")
