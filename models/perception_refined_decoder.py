"""The coarse prompt (Sec. 3.3): from features of the source image to tokens that replace text."""

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn
from transformers import CLIPVisionModel

CLIP_MEAN = 0.48145466, 0.4578275, 0.40821073  # of CLIP's training images in [0, 1]
CLIP_STD = 0.26862954, 0.26130258, 0.27577711
MAPPER_BLOCKS = 5  # of the CLIP embedder


class CrossAttentionFirstBlock(BasicTransformerBlock):
    """Cross-attention, self-attention, feed-forward; the query position is added before both attentions."""

    def forward(self, x: Tensor, position: Tensor, context: Tensor) -> Tensor:
        x = x + position
        x = x + self.attn2(self.norm2(x), encoder_hidden_states=context)
        x = x + position
        x = x + self.attn1(self.norm1(x))
        return x + self.ff(self.norm3(x))


class PerceptionRefinedDecoder(nn.Module):
    """Transformer decoder whose queries attend to the last feature map of the encoder.

    Args:
        num_tokens, dim: number N and width D of the prompt tokens.
        heads, depth: number of attention heads and of decoder blocks.
        feature_dim: channels C of the encoder's last map or pooled vector.
        feature_cells: number of cells of that map; 0 for the pooled vector.
        pose_dim: channels of the pose adapter's last map if it provides the queries; 0 for learned queries.
    """

    def __init__(
        self, num_tokens: int, dim: int, heads: int, depth: int, feature_dim: int, feature_cells: int, pose_dim: int
    ):
        super().__init__()
        self.queries = None if pose_dim else nn.Parameter(0.02 * torch.randn(num_tokens, dim))
        self.pose_projection = nn.Linear(pose_dim, dim, bias=False) if pose_dim else None
        self.query_position = nn.Parameter(0.02 * torch.randn(num_tokens, dim))
        self.feature_position = (
            nn.Parameter(0.02 * torch.randn(1, feature_cells, feature_dim)) if feature_cells else None
        )
        self.blocks = nn.ModuleList(
            CrossAttentionFirstBlock(dim, heads, dim // heads, cross_attention_dim=feature_dim) for _ in range(depth)
        )

    def forward(self, features: Tensor, pose: Tensor | None = None) -> Tensor:
        """Return the prompt (B, N, D), or (P, N, D) with pose queries, P = kB for k poses per image.

        Args:
            features: (B, C, h, w), or (B, C) if pooled.
            pose: (P, pose_dim, h', w') if it provides the queries.
        """
        context = features.flatten(2).mT if features.ndim == 4 else features[:, None]  # (B, h*w or 1, C)
        if self.feature_position is not None:
            context = context + self.feature_position
        if self.pose_projection is None:
            x = self.queries.expand(len(context), -1, -1)  # (B, N, D)
        else:
            x = self.pose_projection(pose.flatten(2).mT)  # (P, N, D)
            context = context.repeat(len(x) // len(context), 1, 1)
        for block in self.blocks:
            x = block(x, self.query_position, context)
        return x


class LinearPrompt(nn.Module):
    """One linear layer on the encoder's last map (`DEPTH` -2, the `swin` ablation)."""

    def __init__(self, feature_dim: int, dim: int):
        super().__init__()
        self.projection = nn.Linear(feature_dim, dim, bias=False)

    def forward(self, features: Tensor, pose: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> (B, h*w, D)."""
        return self.projection(features.flatten(2).mT)


class ZeroPrompt(nn.Module):
    """No coarse prompt: one zero token per cell of the last map (`DEPTH` -1, the `ape` ablation)."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, features: Tensor, pose: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> (B, h*w, D) of zeros that depend on the features, as DDP requires."""
        zeros = features.flatten(2).mT.mean(dim=2, keepdim=True) * 0.0  # (B, h*w, 1)
        return zeros.expand(-1, -1, self.dim)


class MapperAttention(nn.Module):
    """Attention over one token: the softmax of a single score is 1, so the output is the projected value.

    The queries and keys exist because the published checkpoint contains them.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.c_qkv = nn.Linear(dim, 3 * dim)
        self.c_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.c_qkv(x).chunk(3, dim=-1)  # each (B, N, D), one head
        return self.c_proj(nn.functional.scaled_dot_product_attention(query, key, value))


class MapperBlock(nn.Module):
    """Pre-norm transformer block of the CLIP embedder, under the published names."""

    def __init__(self, dim: int):
        super().__init__()
        self.attn = MapperAttention(dim)
        self.ln_1 = nn.LayerNorm(dim)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(dim, 4 * dim), "c_proj": nn.Linear(4 * dim, dim)})
        self.ln_2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp["c_proj"](nn.functional.gelu(self.mlp["c_fc"](self.ln_2(x))))


class CLIPPrompt(nn.Module):
    """A trained mapper from the frozen CLIP image embedding to one token of width D (`DEPTH` 0, `clip_model`)."""

    def __init__(self, clip: CLIPVisionModel, dim: int):
        super().__init__()
        self.clip = clip.requires_grad_(False)
        self.projection = nn.Linear(clip.config.hidden_size, dim, bias=False)
        self.blocks = nn.Sequential(*(MapperBlock(dim) for _ in range(MAPPER_BLOCKS)))
        self.final_norm = nn.LayerNorm(dim)
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "CLIPPrompt":
        super().train(mode)
        self.clip.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 3, H, W) in [-1, 1] -> (B, 1, D)."""
        pixels = (image * 0.5 + 0.5 - self.mean) / self.std
        pooled = self.clip(pixel_values=pixels).pooler_output[:, None]  # (B, 1, hidden)
        return self.final_norm(self.blocks(self.projection(pooled)))
