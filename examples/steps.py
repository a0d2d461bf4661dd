"""Every step of `wieldy.shrink` by itself, on the embedded network.

python examples/steps.py
"""

import torch

import wieldy
from wieldy.zoo.data.fashion import embedded
from wieldy.zoo.networks.residual import residual28

model, data = residual28(), embedded()
network = wieldy.trace(model, torch.zeros(1, 1, 28, 28))
wieldy.save(network, "original.wieldy", classes=data.classes)
stats = wieldy.collect(network, data)
plan = wieldy.search_plan(network, stats, wieldy.Budget(latency_ratio=0.7))
small = wieldy.apply_plan(network, plan, stats)
small = wieldy.fit(small, data, wieldy.Distill(teacher=model))
wieldy.save(small, "small.wieldy", classes=data.classes)
for evidence in wieldy.examine("small.wieldy", "original.wieldy", data):
    print(evidence.verdict, evidence.claim)
