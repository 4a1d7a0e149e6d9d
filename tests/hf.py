"""Small models of the families that people take from Hugging Face, with random weights: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Made = tuple[nn.Module, dict[str, Tensor]]
STEPS = 6


def _tokens(batch: int) -> dict[str, Tensor]:
    lengths = torch.arange(batch) % STEPS
    mask = (torch.arange(STEPS) <= STEPS - 1 - lengths[:, None]).long()  # padded at the end
    return {"input_ids": torch.randint(32, (batch, STEPS)), "attention_mask": mask}


def bert(attention: str, batch: int) -> Made:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=16, attn_implementation=attention,
    )  # fmt: skip
    return BertModel(config), _tokens(batch)


def vit(attention: str, batch: int) -> Made:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=8, patch_size=4,
        attn_implementation=attention,
    )  # fmt: skip
    return ViTModel(config), {"pixel_values": torch.randn(batch, 3, 8, 8)}


def wav2vec2(attention: str, batch: int) -> Made:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, conv_dim=(8, 8),
        conv_stride=(5, 2), conv_kernel=(10, 3), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        attn_implementation=attention,
    )  # fmt: skip
    return Wav2Vec2Model(config), {"input_values": torch.randn(batch, 200)}


def whisper(attention: str, batch: int) -> Made:
    from transformers import WhisperConfig, WhisperModel

    config = WhisperConfig(
        d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=24, decoder_ffn_dim=24, num_mel_bins=8, max_source_positions=10, vocab_size=32, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, attn_implementation=attention,
    )  # fmt: skip
    return WhisperModel(config).encoder, {"input_features": torch.randn(batch, 8, 20)}


def llama(attention: str, batch: int) -> Made:
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=16, use_cache=False, attn_implementation=attention,
    )  # fmt: skip
    return LlamaModel(config), _tokens(batch)


FAMILIES: dict[str, Callable[[str, int], Made]] = {
    "bert": bert, "vit": vit, "wav2vec2": wav2vec2, "whisper": whisper, "llama": llama,
}  # fmt: skip
