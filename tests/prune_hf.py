"""Families of Hugging Face from small configurations, each with a head of its own, so that every width may shrink."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Made = tuple[nn.Module, tuple[Tensor, ...]]


class Headed(nn.Module):
    """The first result of a model, and a linear layer over its channels."""

    def __init__(self, model: nn.Module, argument: str, width: int, channels: int, **options: Any) -> None:
        super().__init__()
        self.model, self.argument, self.channels, self.options = model, argument, channels, options
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.model(**{self.argument: x}, **self.options)[0].movedim(self.channels, -1))


class Detector(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        result = self.model(pixel_values=x)
        return result.logits, result.pred_boxes


def tokens(model: nn.Module, width: int = 32) -> Made:
    options = {"use_cache": False} if hasattr(model.config, "use_cache") else {}
    return Headed(model, "input_ids", width, -1, **options), (torch.randint(48, (2, 12)),)


def images(model: nn.Module, width: int, channels: int, size: int = 32) -> Made:
    return Headed(model, "pixel_values", width, channels), (torch.randn(2, 3, size, size),)


def bert() -> Made:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=48, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=32,
    )  # fmt: skip
    return tokens(BertModel(config, add_pooling_layer=False))


def gpt2() -> Made:
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(
        vocab_size=48, n_embd=32, n_layer=2, n_head=4, n_positions=32, bos_token_id=0, eos_token_id=0
    )  # fmt: skip
    return tokens(GPT2Model(config))


def llama() -> Made:
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=48, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, max_position_embeddings=32,
    )  # fmt: skip
    return tokens(LlamaModel(config))


def t5_encoder() -> Made:
    from transformers import T5Config, T5EncoderModel

    return tokens(T5EncoderModel(T5Config(vocab_size=48, d_model=32, d_kv=8, num_layers=2, num_heads=4, d_ff=64)))


def vit() -> Made:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )  # fmt: skip
    return images(ViTModel(config, add_pooling_layer=False), 32, -1)


def swin() -> Made:
    from transformers import SwinConfig, SwinModel

    config = SwinConfig(image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4)
    return images(SwinModel(config, add_pooling_layer=False), 32, -1)


def convnext() -> Made:
    from transformers import ConvNextConfig, ConvNextModel

    return images(ConvNextModel(ConvNextConfig(hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 2, 1])), 48, 1)


def resnet() -> Made:
    from transformers import ResNetConfig, ResNetModel

    return images(ResNetModel(ResNetConfig(embedding_size=16, hidden_sizes=[32, 64], depths=[2, 2])), 64, 1)


def regnet() -> Made:
    from transformers import RegNetConfig, RegNetModel

    config = RegNetConfig(embedding_size=16, hidden_sizes=[32, 64], depths=[1, 2], groups_width=8)
    return images(RegNetModel(config), 64, 1)


def mobilenet_v2() -> Made:
    from transformers import MobileNetV2Config, MobileNetV2Model

    model = MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.35), add_pooling_layer=False)
    return images(model, 1280, 1)


def mobilevit() -> Made:
    from transformers import MobileViTConfig, MobileViTModel

    config = MobileViTConfig(
        image_size=64, hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 32, 64], num_attention_heads=4,
        patch_size=2,
    )  # fmt: skip
    return images(MobileViTModel(config), 64, 1, 64)


def segformer() -> Made:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        hidden_sizes=[16, 16, 32, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=32,
        num_labels=5,
    )  # fmt: skip
    return images(SegformerForSemanticSegmentation(config), 5, 1, 64)


def detr() -> Made:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], out_features=["stage4"]
    )
    config = DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=32,
        encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
        decoder_ffn_dim=64, num_queries=6, num_labels=4,
    )  # fmt: skip
    return Detector(DetrForObjectDetection(config)), (torch.randn(2, 3, 64, 64),)


def wav2vec2() -> Made:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, conv_dim=(16, 16, 16),
        conv_stride=(5, 2, 2), conv_kernel=(10, 3, 3), num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    return Headed(Wav2Vec2Model(config), "input_values", 32, -1), (torch.randn(2, 800),)


def whisper_encoder() -> Made:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=64, num_mel_bins=16,
        max_source_positions=20,
    )  # fmt: skip
    return Headed(WhisperEncoder(config), "input_features", 32, -1), (torch.randn(2, 16, 40),)


def clip() -> Made:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=32, patch_size=8
    )  # fmt: skip
    return images(CLIPVisionModel(config), 32, -1)


FAMILIES: dict[str, Callable[[], Made]] = {
    "bert": bert, "gpt2": gpt2, "vit": vit, "swin": swin, "convnext": convnext, "resnet": resnet, "regnet": regnet,
    "mobilenet v2": mobilenet_v2, "mobilevit": mobilevit, "segformer": segformer, "detr": detr, "wav2vec2": wav2vec2,
    "whisper encoder": whisper_encoder, "clip": clip, "t5 encoder": t5_encoder, "llama": llama,
}  # fmt: skip


def made(name: str) -> Made:
    """The net of that name in inference, and inputs."""
    torch.manual_seed(0)
    model, inputs = FAMILIES[name]()
    return model.eval(), inputs
