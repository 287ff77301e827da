# The multiplications and additions of the full-size models as PyTorch counts them, without weights
# and without computing (meta tensors):
#
#   pip install -r benches/requirements.txt diffusers==0.35.2 transformers==4.57.1 peft==0.17.1
#   python scripts/count-operations.py
#
# src/plan/tests.rs and src/plan/codec.rs hold afd's formulas to what it prints.
"""Operations (2 for a multiplication with its addition) of one clip of 81 frames of 480 x 832 in
Wan2.1-1.3B and its VAE, of one prompt in umT5-XXL."""

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from peft import LoraConfig
from torch.utils.flop_counter import FlopCounterMode
from transformers import UMT5Config, UMT5EncoderModel

LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]


def count(name, run):
    counter = FlopCounterMode(display=False)
    with counter:
        result = run()
    print(
        f"{name:<60} {counter.get_total_flops():>22,}",
        {str(op): f"{n:,}" for op, n in counter.get_flop_counts()["Global"].items()},
    )
    return result


def transformer(rank):
    """Bidirectional; the diffusers defaults are the 14B model's."""
    with torch.device("meta"):
        model = WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30)
    model.requires_grad_(rank is None)
    if rank is not None:
        model.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=LAYERS))
    inputs = dict(
        hidden_states=torch.empty(1, 16, 21, 60, 104, device="meta"),
        timestep=torch.empty(1, device="meta"),
        encoder_hidden_states=torch.empty(1, 512, 4096, device="meta"),
        return_dict=False,
    )
    velocity = count(f"transformer forward, LoRA {rank}", lambda: model(**inputs)[0])
    count(f"transformer backward, LoRA {rank}", lambda: velocity.sum().backward())


with torch.device("meta"):
    vae = AutoencoderKLWan()
    count("VAE encode", lambda: vae.encode(torch.empty(1, 3, 81, 480, 832)))
    count("VAE decode", lambda: vae.decode(torch.empty(1, 16, 21, 60, 104)))
    text = UMT5EncoderModel(
        UMT5Config(
            vocab_size=256384,
            d_model=4096,
            d_kv=64,
            d_ff=10240,
            num_layers=24,
            num_heads=64,
            feed_forward_proj="gated-gelu",
        )
    )
    for rows in [64, 512]:
        count(
            f"umT5 encode, {rows} tokens",
            lambda: text(input_ids=torch.zeros(1, rows, dtype=torch.long)),
        )
for rank in [None, 64, 256]:
    transformer(rank)
