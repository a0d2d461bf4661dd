"""One thread for torch: small tensors gain nothing from more, and lose much on a machine that others use."""

import torch

torch.set_num_threads(1)
