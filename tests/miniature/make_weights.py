# Writes tests/miniature/{transformer.pt,umt5.safetensors}; the VAE and the tokenizer are those of
# models/tests/fixtures.
#
# Made with Python 3.11, torch 2.9.1, diffusers 0.35.2, transformers 4.57.1, safetensors 0.8.0:
#
#   pip install -r benches/requirements.txt diffusers==0.35.2 transformers==4.57.1
#   python tests/miniature/make_weights.py
"""The whole real stack at tiny width with random weights: diffusers' Wan transformer saved as
Self-Forcing saves its students (a torch.save of `generator_ema`, bf16, Wan's names below `model.`),
and transformers' umT5 encoder under Hugging Face's names."""

from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import save_file
from transformers import UMT5Config, UMT5EncoderModel

HERE = Path(__file__).resolve().parent
TEXT_WIDTH, WORDS = 24, 448
# diffusers' names to Wan's, in this order.
NAMES = [
    ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
    ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
    ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
    ("condition_embedder.time_proj", "time_projection.1"),
    ("attn1.", "self_attn."),
    ("attn2.", "cross_attn."),
    ("to_out.0", "o"),
    ("to_q", "q"),
    ("to_k", "k"),
    ("to_v", "v"),
    ("norm2.", "norm3."),
    ("ffn.net.0.proj", "ffn.0"),
    ("ffn.net.2", "ffn.2"),
    ("proj_out", "head.head"),
]


def wan_name(name):
    if name == "scale_shift_table":
        return "head.modulation"
    for theirs, wan in NAMES:
        name = name.replace(theirs, wan)
    return name.replace("scale_shift_table", "modulation")


def transformer():
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=3,
        out_channels=3,
        text_dim=TEXT_WIDTH,
        freq_dim=16,
        ffn_dim=40,
        num_layers=3,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        eps=1e-6,
        rope_max_seq_len=64,
    )
    for name, weight in model.named_parameters():
        if (
            name.endswith("norm_q.weight")
            or name.endswith("norm_k.weight")
            or name.endswith("norm2.weight")
        ):
            weight.copy_(1 + 0.1 * torch.randn_like(weight))
        elif weight.dim() > 1:
            weight.copy_(torch.randn_like(weight) * weight[0].numel() ** -0.5)
        else:
            weight.copy_(0.1 * torch.randn_like(weight))
    weights = {
        f"model.{wan_name(name)}": tensor.bfloat16().contiguous()
        for name, tensor in model.state_dict().items()
    }
    torch.save({"generator_ema": weights}, HERE / "transformer.pt")


def text_encoder():
    config = UMT5Config(
        vocab_size=WORDS,
        d_model=TEXT_WIDTH,
        num_heads=2,
        d_kv=12,
        d_ff=32,
        num_layers=2,
        feed_forward_proj="gated-gelu",
        relative_attention_num_buckets=32,
        relative_attention_max_distance=128,
        dropout_rate=0.0,
    )
    model = UMT5EncoderModel(config)
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):
            weight.copy_(1 + 0.1 * torch.randn_like(weight))
        elif "relative_attention_bias" in name or name == "shared.weight":
            weight.copy_(torch.randn_like(weight))
        else:
            weight.copy_(0.6 * torch.randn_like(weight) * weight.shape[1] ** -0.5)
    save_file(
        {
            name: tensor.bfloat16().contiguous().clone()
            for name, tensor in model.state_dict().items()
        },
        HERE / "umt5.safetensors",
    )


if __name__ == "__main__":
    torch.manual_seed(20263)
    with torch.no_grad():
        transformer()
        text_encoder()
