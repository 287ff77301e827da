#!/usr/bin/env python3
"""Runs the same commands on several processors and compares the bytes of all that they write.

    cargo build --release
    scripts/exactness.py target/release/afd            # nine minutes on two cores
    scripts/exactness.py target/release/afd --quick    # two: Nehalem alone, and no `measure`
    scripts/exactness.py target/release/afd --write-flex-goldens

"native" is this machine. The others are emulated by qemu-x86_64 (Debian: qemu-user): Nehalem has
no AVX, Haswell has AVX2 and fused multiply-add, max is all that qemu knows, which is not AVX-512.
ffmpeg runs on the emulated processor, too. The golden recipe is cut to three alternations, unless
goldens are written.

Fails if anything differs that has to be equal. Without qemu-x86_64 it says so and does nothing.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests/golden"
EMULATED = ["Nehalem", "Haswell", "max"]
# The level of Rust's and the matrix kernels' choices that each stands for.
LEVELS = {"Nehalem": "x86-64-v2", "Haswell": "x86-64-v3"}
# Times, places and machines: not results.
VOLATILE = {"wall_seconds", "created", "command", "run", "commit"}


class Machine:
    """A processor to run things on, and a directory to run them in."""

    def __init__(self, name, program, place):
        self.name, self.program = name, program
        self.place = place / name
        self.place.mkdir()
        self.words = [] if name == "native" else ["qemu-x86_64", "-cpu", name]
        self.path = os.environ["PATH"]
        if self.words:
            # The program starts ffmpeg by name: this one is found first.
            tools = place / f"{name}-tools"
            tools.mkdir()
            for tool in ("ffmpeg", "ffprobe"):
                real = shutil.which(tool)
                if real:
                    wrapper = tools / tool
                    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(self.words)} {real} "$@"\n')
                    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
            self.path = f"{tools}:{self.path}"

    def afd(self, *arguments):
        command = [*self.words, str(self.program), *map(str, arguments)]
        ended = subprocess.run(
            command,
            cwd=self.place,
            env={**os.environ, "PATH": self.path},
            capture_output=True,
            text=True,
        )
        if ended.returncode:
            sys.exit(f"{self.name}: {' '.join(command)}\n{ended.stdout}{ended.stderr}")
        return ended.stdout


def digest(*values):
    whole = hashlib.sha256()
    for value in values:
        whole.update(value if isinstance(value, bytes) else value.encode())
    return whole.hexdigest()[:12]


def files(directory, pattern):
    found = sorted(path for path in directory.glob(pattern) if path.is_file())
    if not found:
        sys.exit(f"nothing matches {pattern} in {directory}")
    return digest(*(path.read_bytes() for path in found))


def numbers(path):
    """A JSON file without what is of this run and no result."""

    def kept(value):
        if isinstance(value, dict):
            return {key: kept(of) for key, of in value.items() if key not in VOLATILE}
        return [kept(of) for of in value] if isinstance(value, list) else value

    return digest(json.dumps(kept(json.loads(path.read_text())), sort_keys=True))


def last_state(run):
    states = [path for path in (run / "checkpoints").iterdir() if re.fullmatch(r"\d+", path.name)]
    return max(states) / "training_state/model.safetensors"


def clips(place, program):
    """A folder with a clip of every kind of decoder; made once, on this machine."""
    folder = place / "clips"
    machine = Machine("native", program, place / "making")
    prompts = {}
    for kind in ("frames", "gif"):
        machine.afd("teacher", "record", GOLDEN / "recipe.toml", "--clips", 1, "--format", kind,
                    "--out", place / kind)
        for line in (place / kind / "manifest.jsonl").read_text().splitlines():
            clip = json.loads(line)
            prompts.setdefault(kind, []).append((clip["prompt"], place / kind / clip["video"]))
    folder.mkdir()
    lines = []

    def take(prompt, path, name):
        lines.append(json.dumps({"prompt": prompt, "video": name}))
        if path.is_dir():
            shutil.copytree(path, folder / name)
        elif path != folder / name:
            shutil.copy(path, folder / name)

    for at, (prompt, path) in enumerate(prompts["frames"]):
        take(prompt, path, f"png-{at}.frames")
    for at, (prompt, path) in enumerate(prompts["gif"]):
        take(prompt, path, f"gif-{at}.gif")
    if shutil.which("ffmpeg"):
        prompt, path = prompts["frames"][0]
        picture = sorted(path.glob("*.png"))[0].name
        pattern = re.sub(r"\d+", lambda digits: f"%0{len(digits[0])}d", picture)
        first = str(int(re.search(r"\d+", picture)[0]))
        source = ["ffmpeg", "-v", "error", "-framerate", "24", "-start_number", first,
                  "-i", str(path / pattern)]
        # Noise on top, so that no decoder meets flat blocks only.
        noise = ["-vf", "noise=alls=60:all_seed=7"]
        for name, options in (
            ("film.mp4", [*noise, "-pix_fmt", "yuv420p", "-c:v", "libx264"]),
            ("full.mp4", [*noise, "-pix_fmt", "yuvj444p", "-c:v", "libx264"]),
            ("film.webm", [*noise, "-c:v", "libvpx-vp9", "-b:v", "500k"]),
            ("film.webp", [*noise, "-c:v", "libwebp_anim", "-quality", "60", "-loop", "0"]),
        ):
            subprocess.run([*source, *options, str(folder / name)], check=True)
            take(prompt, folder / name, name)
        frames = folder / "jpeg.frames"
        frames.mkdir()
        subprocess.run([*source, *noise, "-q:v", "4", "-start_number", first,
                        str(frames / pattern.replace(".png", ".jpg"))], check=True)
        for sidecar in path.glob("*"):
            if sidecar.suffix != ".png":
                shutil.copy(sidecar, frames / sidecar.name)
        lines.append(json.dumps({"prompt": prompt, "video": "jpeg.frames"}))
    else:
        print("SKIPPED: films, WebP and JPEG, without an ffmpeg to make them")
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def trained(machine, golden):
    """Both backends' runs: what is made, by name, and a hash of it; flex may differ by level."""
    recipe, made = GOLDEN / "recipe.toml", {}
    short = [] if golden else ["--set", "afd.alternations=3"]
    for backend in ("ndarray", "flex"):
        run = machine.place / backend
        machine.afd("distill", recipe, "--backend", backend, "--runs", machine.place,
                    "--name", backend, *short)
        made[f"{backend}: weights after training"] = digest(last_state(run).read_bytes())
        made[f"{backend}: metrics.jsonl"] = files(run, "metrics.jsonl")
        made[f"{backend}: the final comparison"] = numbers(run / "report.json")
    return made


def everything(machine, folder, quick):
    """All that is made, by name, and a hash of it."""
    recipe, made = GOLDEN / "recipe.toml", trained(machine, False)
    machine.afd("teacher", "record", recipe, "--clips", 2, "--out", "recorded")
    made["world: recorded clips"] = files(machine.place / "recorded", "**/*.png")
    machine.afd("teacher", "record", recipe, "--clips", 1, "--format", "gif", "--out", "gifs")
    made["world: recorded GIFs"] = files(machine.place / "gifs", "**/*.gif")
    of_folder = ["--set", "teacher.kind=folder", "--set", f"teacher.path={folder}",
                 "--set", f"data.path={machine.place / 'prepared'}"]
    machine.afd("data", "prepare", recipe, "--backend", "ndarray", *of_folder)
    latents = files(machine.place / "prepared", "latents/*.safetensors")
    made["clips: prepared, all decoders"] = latents
    # The student of one run on both sides of every comparison: measuring is what is compared.
    student = machine.place / "ndarray"
    shown = machine.afd("eval", "--checkpoint", student, "--backend", "ndarray", "--json")
    made["ndarray: eval --json"] = digest(re.sub(str(machine.place), "", shown))
    if not quick:
        machine.afd("measure", recipe, "--teacher", "--backend", "ndarray", "--out", "measured",
                    "--set", "clip.frames=8", "--set", "student.frames_per_block=1")
        made["ndarray: measure --teacher"] = numbers(machine.place / "measured/measured.json")
    machine.afd("generate", "--checkpoint", student, "--backend", "ndarray", "--out-dir", "made",
                "--prompt", "a small red ball is dropped on earth", "--format", "frames")
    made["ndarray: generated clips"] = files(machine.place / "made", "**/*.png")
    return made


def write_flex_goldens(machines):
    for machine in machines:
        level, run = LEVELS[machine.name], machine.place / "flex"
        text = (run / "metrics.jsonl").read_text()
        (GOLDEN / f"flex.{level}.metrics.jsonl").write_text(text)
        manifest = last_state(run).parent.parent / "MANIFEST.json"
        weights = json.loads(manifest.read_text())["files"]["training_state/model.safetensors"]
        (GOLDEN / f"flex.{level}.exact.txt").write_text(weights["blake3"] + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true", help="Nehalem alone, and no `measure`")
    parser.add_argument("--write-flex-goldens", action="store_true",
                        help="of the emulated levels, into tests/golden; nothing else")
    arguments = parser.parse_args()
    if not shutil.which("qemu-x86_64"):
        print("SKIPPED: no qemu-x86_64 (Debian: qemu-user); nothing was compared")
        return
    program = arguments.program.resolve()
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        if arguments.write_flex_goldens:
            machines = [Machine(name, program, place) for name in ("Nehalem", "Haswell")]
            for machine in machines:
                trained(machine, True)
            write_flex_goldens(machines)
            return
        (place / "making").mkdir()
        folder = clips(place, program)
        emulated = EMULATED[:1] if arguments.quick else EMULATED
        made = {}
        for name in ["native", *emulated]:
            machine = Machine(name, program, place)
            made[name] = everything(machine, folder, arguments.quick)
    names = list(made)
    print(f"| what | {' | '.join(names)} | |")
    print("|---" * (len(names) + 2) + "|")
    broken = []
    for what in made["native"]:
        hashes = [made[name][what] for name in names]
        equal = len(set(hashes)) == 1
        if not equal and not what.startswith("flex"):
            broken.append(what)
        print(f"| {what} | {' | '.join(hashes)} | {'equal' if equal else 'differ'} |")
    if broken:
        sys.exit(f"not the same bytes on every processor: {'; '.join(broken)}")


main()
