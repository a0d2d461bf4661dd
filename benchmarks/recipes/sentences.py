"""MiniLM and newsgroup posts, for the recipes beside this file: do sentences stay near what they were?"""

import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AutoTokenizer

from wieldy import Data
from wieldy.core.data import Metric

sys.path.insert(0, str(Path(__file__).parents[1]))
import registry

LENGTH, BATCH = 64, 50
VALIDATED, TESTED = 200, 500
Tokens = tuple[NDArray[np.int64], NDArray[np.int64]]


def trained() -> nn.Module:
    """Return all-MiniLM-L6-v2 with its published weights."""
    return registry.sentences()


def cosine(output: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each pair of sentences, which are of length one."""
    return (output * wanted).sum(axis=1)


def data() -> Data:
    """Return 1,300, 200 and 500 posts; the targets are what the network made of them."""
    tokens, mask = tokenised(posts())
    embeddings = embedded(tokens, mask)

    def rows(first: int, last: int | None) -> tuple[Tokens, NDArray[np.float32]]:
        part = slice(first, last)
        return (tokens[part], mask[part]), embeddings[part]

    train = len(tokens) - VALIDATED - TESTED
    sets = rows(0, train), rows(train, -TESTED), rows(len(tokens) - TESTED, None)
    return Data(*sets, metric=Metric(name="cosine", scores=cosine, labels=False))


def posts() -> list[str]:
    """Return the text of two newsgroups without headers, in an order of its own."""
    path = registry.wheel("dmba==0.2.4") / "dmba" / "csvFiles" / "AutoAndElectronics.zip"
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if not name.endswith("/"))
        texts = [archive.read(name).decode("latin1").split("\n\n", 1)[-1] for name in names]
    return [texts[index] for index in np.random.default_rng(0).permutation(len(texts))]


def tokenised(texts: list[str]) -> Tokens:
    """Return the first tokens of each text, and which of them are there."""
    tokenizer = AutoTokenizer.from_pretrained(registry.minilm_folder())
    found = tokenizer(texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="np")
    return found["input_ids"].astype(np.int64), found["attention_mask"].astype(np.int64)


def embedded(tokens: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return what the network makes of texts."""
    network = trained()
    with torch.no_grad():
        parts = [
            network(torch.from_numpy(tokens[i : i + BATCH]), torch.from_numpy(mask[i : i + BATCH])).numpy()
            for i in range(0, len(tokens), BATCH)
        ]
    return np.concatenate(parts)
