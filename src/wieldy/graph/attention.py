"""torch's MultiheadAttention written out: its own forward folds heads into the batch, which must stay."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PlainAttention(nn.MultiheadAttention):
    """A MultiheadAttention, with its tensors under their names, that keeps batch and heads apart."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return what attention yields, and its weights where they are asked for; see torch's own."""
        same = query is key and key is value
        if not self.batch_first:
            query, key, value = (side.transpose(0, 1) for side in (query, key, value))
        q, k, v = (
            self._together(query) if same and self._qkv_same_embed_dim else self._apart(query, key, value)
        )
        if is_causal and attn_mask is None:
            attn_mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).triu(1)
        mask = _mask(key_padding_mask, attn_mask)
        weights = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) * self.head_dim**-0.5
            weights = (scores if mask is None else scores + mask).softmax(-1)
            heads = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        found = self.out_proj(heads.transpose(1, 2).flatten(2))
        return found if self.batch_first else found.transpose(0, 1), weights

    def _together(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by one matrix, each (batch, heads, length, width)."""
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (
            packed.reshape(*x.shape[:2], 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        )
        return q, k, v

    def _apart(self, *sides: Tensor) -> list[Tensor]:
        weights = (
            self.in_proj_weight.chunk(3)
            if self._qkv_same_embed_dim
            else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        )
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return [
            F.linear(x, weight, bias).reshape(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)
            for x, weight, bias in zip(sides, weights, biases, strict=True)
        ]


def _mask(padding: Tensor | None, among: Tensor | None) -> Tensor | None:
    """Return what is added to the scores: (batch or 1, 1, lengths or 1, lengths), or None."""
    found = None
    if among is not None:
        found = _added(among)
    if padding is not None:
        of_keys = _added(padding)[:, None, None, :]
        found = of_keys if found is None else found + of_keys
    return found


def _added(mask: Tensor) -> Tensor:
    """Truths say what must not be looked at."""
    if mask.dtype != torch.bool:
        return mask
    return torch.where(mask, torch.finfo(torch.float32).min / 4, 0.0)  # two of them still add up to a float


def write_out_attention(model: nn.Module) -> None:
    """Let every MultiheadAttention of torch's own in `model` work in its plain form, in place."""
    for module in model.modules():
        if type(module) is nn.MultiheadAttention and module.bias_k is None and not module.add_zero_attn:
            module.__class__ = PlainAttention
