# Loads what tests/miniature.rs exported with diffusers, and compares velocities:
#
#   pip install -r benches/requirements.txt diffusers==0.35.2 peft==0.17.1
#   cargo test --workspace --test miniature && python scripts/check-export.py target/tmp/miniature
"""The merged transformer as diffusers' own, and the base transformer with the exported low-rank
factors loaded by PEFT, against afd's velocities.

Exit status 1 where one deviates by more than 1e-4 of the largest value: both sides compute in f32
from the same numbers."""

import sys
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file

TOLERANCE = 1e-4


def loaded(directory):
    model, report = WanTransformer3DModel.from_pretrained(
        directory, torch_dtype=torch.float32, output_loading_info=True
    )
    odd = {kind: names for kind, names in report.items() if names}
    if odd:
        sys.exit(f"{directory}: {odd}")
    return model.eval()


@torch.no_grad()
def deviation(model, found, expected):
    # [B, F, C, H, W] -> [B, C, F, H, W]
    latents = found["latents"].transpose(1, 2)
    velocity = model(latents, found["timesteps"], found["text"], return_dict=False)[0].transpose(
        1, 2
    )
    return ((velocity - expected).abs().max() / expected.abs().max()).item()


def main():
    directory = Path(sys.argv[1])
    found = load_file(directory / "velocity.safetensors")
    adapted = loaded(directory / "base-diffusers")
    plain = deviation(adapted, found, found["velocity.adapted"])
    adapted.load_lora_adapter(
        load_file(directory / "lora-diffusers/pytorch_lora_weights.safetensors"),
        prefix="transformer",
    )
    results = {
        "merged": deviation(
            loaded(directory / "merged-diffusers"), found, found["velocity.merged"]
        ),
        "base with factors": deviation(adapted, found, found["velocity.adapted"]),
    }
    for name, value in results.items():
        print(f"{name}: {value:.1e} of the largest value (tolerated: {TOLERANCE:.0e})")
    print(f"base without factors, for comparison: {plain:.1e}")
    sys.exit(max(results.values()) > TOLERANCE or plain < 10 * TOLERANCE)


if __name__ == "__main__":
    main()
