#!/usr/bin/env python3
"""Milliseconds per alternation of the built program beside the same work in PyTorch, on this CPU.

    cargo build --release && pip install -r benches/requirements.txt
    python benches/compare.py [--recipe recipes/physics-world/distill.toml] \\
        [--alternations 20] [--rounds 2] [--cores 1 2]

Both sides run in turn, `--rounds` times, on the same number of cores; each part's median over all
alternations is compared. What PyTorch's script leaves out (teacher clips as positives, the mismatch
loss, the evaluation at the end) is switched off for the program too. Leave the machine alone while
it runs."""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PARTS = ["rollout", "discriminator", "flow"]


def program(recipe, alternations, cores):
    """Runs the program; returns milliseconds per part and alternation, and the recipe as the run
    resolved it."""
    with tempfile.TemporaryDirectory() as runs:
        settings = [
            f"run.shards={cores}",
            f"afd.alternations={alternations}",
            "afd.warmup_steps=2",
            "afd.teacher_positives=0",
            "afd.reference_weight=0",
            "discriminator.mismatch_weight=0",
            "evaluation.clips_per_prompt=4",
            "evaluation.holdout_steps=0",
            "run.checkpoint_every=1000000",
        ]
        command = [
            str(ROOT / "target/release/afd"),
            "distill",
            str(recipe),
            "--runs",
            runs,
            "--name",
            "bench",
            "--backend",
            "flex",
        ]
        command += [word for setting in settings for word in ("--set", setting)]
        subprocess.run(
            command,
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "RAYON_NUM_THREADS": str(cores)},
        )
        run = pathlib.Path(runs) / "bench"
        lines = [json.loads(line) for line in (run / "timings.jsonl").read_text().splitlines()]
        resolved = tomllib.loads((run / "recipe.resolved.toml").read_text())
        sizes = json.loads(next(run.glob("checkpoints/0*/student/config.json")).read_text())[
            "student"
        ]
    # The first alternation pays for the first touch of all memory.
    return (
        [line["milliseconds"] for line in lines if line["phase"] == "alternation"][1:],
        resolved,
        sizes,
    )


def pytorch(resolved, sizes, alternations, cores):
    afd, discriminator, clip = resolved["afd"], resolved["discriminator"], resolved["clip"]
    stride = resolved["codec"]["stride"]
    shift = resolved["sampler"]["timestep_shift"]
    steps = [step / 1000 for step in resolved["sampler"]["denoising_step_list"]]
    numbers = {
        "threads": cores,
        "alternations": alternations,
        "frames": clip["frames"],
        "channels": sizes["latent_channels"],
        "height": clip["height"] // stride,
        "columns": clip["width"] // stride,
        "codec-stride": stride,
        "patch": sizes["patch"],
        "width": sizes["width"],
        "layers": sizes["layers"],
        "heads": sizes["heads"],
        "feed-forward": sizes["feed_forward_width"],
        "text-rows": resolved["text"]["length"],
        "text-width": sizes["text_width"],
        "frequency-width": sizes["frequency_width"],
        "frames-per-block": sizes["frames_per_block"],
        "prompts": afd["prompts_per_alternation"],
        "rollouts": afd["rollouts_per_prompt"],
        "teacher-clips": afd["teacher_clips_per_prompt"],
        "discriminator-steps": afd["discriminator_steps"],
        "flow-steps": afd["flow_steps"],
        "discriminator-width": discriminator["width"],
    }
    words = [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
    words += ["--discriminator-channels", *map(str, discriminator["channels"])]
    words += ["--sigmas", *(str(shift * step / (1 + (shift - 1) * step)) for step in steps)]
    command = [sys.executable, str(ROOT / "benches/pytorch_alternation.py"), *words]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)[
        "median_milliseconds"
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--recipe", type=pathlib.Path, default=ROOT / "recipes/physics-world/distill.toml"
    )
    parser.add_argument("--alternations", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    print("| cores | part | afd (flex), ms | PyTorch, ms | afd / PyTorch |\n|---|---|---|---|---|")
    for cores in args.cores:
        ours, theirs = [], []
        for _ in range(args.rounds):
            measured, resolved, sizes = program(args.recipe, args.alternations, cores)
            ours += measured
            theirs.append(pytorch(resolved, sizes, args.alternations, cores))
        total = [0.0, 0.0]
        for part in PARTS:
            pair = [
                statistics.median(line[part] for line in ours),
                statistics.median(line[part] for line in theirs),
            ]
            total = [sum(values) for values in zip(total, pair)]
            print(f"| {cores} | {part} | {pair[0]:.0f} | {pair[1]:.0f} | {pair[0] / pair[1]:.2f} |")
        print(
            f"| {cores} | alternation | {total[0]:.0f} | {total[1]:.0f} "
            f"| {total[0] / total[1]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
