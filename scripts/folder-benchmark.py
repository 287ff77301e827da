#!/usr/bin/env python3
"""`afd data check` and `afd data prepare` over many clips: clips per second, peak memory, and going
on after SIGKILL.

    scripts/make-clips.sh /tmp/clips 10000
    scripts/folder-benchmark.py target/release/afd /tmp/clips /tmp/work check
    cargo run -p afd-clips --example make_gifs /tmp/gifs 10000 \\
        recipes/physics-world/prompts-train.txt
    scripts/folder-benchmark.py target/release/afd /tmp/gifs /tmp/work-gifs prepare

Writes one JSON object per measurement to WORK/results.jsonl. Plain ffmpeg decodes the first 1,000
clips, as many at a time as there are cores."""

import json
import os
import pathlib
import subprocess
import sys
import time

afd, clips, work = (pathlib.Path(argument).resolve() for argument in sys.argv[1:4])
repository = pathlib.Path(__file__).resolve().parent.parent
cores = os.cpu_count()
work.mkdir(parents=True, exist_ok=True)


def peak(pid):
    """Peak resident memory in KiB, from /proc."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    except (OSError, StopIteration):
        return 0


def run(name, command, kill_after=None, **more):
    """Runs a command, kills it after some seconds if asked to, and notes what it took."""
    started = time.monotonic()
    load = os.getloadavg()[0]
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    own = 0
    while process.poll() is None:
        own = max(own, peak(process.pid))
        if kill_after and time.monotonic() - started > kill_after:
            process.kill()
        time.sleep(0.05)
    seconds = time.monotonic() - started
    said = process.stdout.read().strip().splitlines()
    result = {
        "name": name,
        "seconds": round(seconds, 1),
        "peak_mib": round(own / 1024, 1),
        "status": process.returncode,
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "said": said[-1] if said else "",
        **more,
    }
    print(json.dumps(result), flush=True)
    with open(work / "results.jsonl", "a") as results:
        results.write(json.dumps(result) + "\n")
    return result


def part(count):
    """The first clips of the folder, hard-linked."""
    folder = work / f"clips-{count}"
    if not folder.exists():
        lines = (clips / "manifest.jsonl").read_text().splitlines()[:count]
        (folder / "clips").mkdir(parents=True)
        for line in lines:
            video = json.loads(line)["video"]
            os.link(clips / video, folder / video)
        (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def recipe(folder, data):
    text = (repository / "tests/golden/recipe.toml").read_text()
    path = work / f"{data}.toml"
    prompts = repository / "recipes/physics-world"
    listed = {
        json.loads(line)["prompt"] for line in (folder / "manifest.jsonl").read_text().splitlines()
    }
    train = [
        prompt
        for prompt in (prompts / "prompts-train.txt").read_text().splitlines()
        if prompt in listed
    ]
    text = text[: text.index("[teacher]")] + text[text.index("[sampler]") :]
    text = text.replace("length = 12", "length = 24")
    path.write_text(
        text
        + f'\n[teacher]\nkind = "folder"\npath = "{folder}"\n\n'
        f"[prompts]\ntrain = {json.dumps(train)}\nheld_out = {json.dumps(train[:1])}\n"
        f'\n[data]\npath = "{work / data}"\nclips_per_shard = 128\n'
    )
    return path


def check(count):
    """Throughput of the check beside plain ffmpeg's, its memory, and going on after two kills."""
    few, many = part(min(1000, count // 2)), part(count)
    clips = len(os.listdir(few / "clips"))
    decode = (
        "ffmpeg -nostdin -v error -threads 1 -i {} -f rawvideo -pix_fmt rgb24 pipe:1 > /dev/null"
    )
    plain = ["sh", "-c", f"ls {few}/clips/* | xargs -P {cores} -I {{}} sh -c '{decode}'"]
    run("plain ffmpeg", plain, clips=clips)
    run("check", [afd, "data", "check", few, "--json", work / "few.json"], clips=clips)
    for kill in (30, 60):
        run("check, killed", [afd, "data", "check", many], kill_after=kill)
    known = sum(1 for _ in open(many / ".afd-check.jsonl")) - 1
    run(
        "check, the rest",
        [afd, "data", "check", many, "--json", work / "many.json"],
        clips=count - known,
    )
    run("plain ffmpeg", plain, clips=clips)
    run(
        "check, all known", [afd, "data", "check", many, "--json", work / "again.json"], clips=count
    )
    print(
        "the same report:", (work / "many.json").read_bytes() == (work / "again.json").read_bytes()
    )


def prepare(count, kills):
    """Check, decoding and encoding to latents: twice whole, once killed thrice and gone on with."""
    for number, data in ((count // 10, "data-few"), (count, "data-many")):
        run(
            "check and prepare",
            [afd, "data", "prepare", recipe(part(number), data), "--backend", "flex"],
            clips=number,
        )
    command = [afd, "data", "prepare", recipe(part(count), "data-killed"), "--backend", "flex"]
    for seconds in kills:
        run("check and prepare, killed", command, kill_after=seconds)
    run("check and prepare, the rest", command)
    files = lambda data: {
        path.name: path.read_bytes() for path in sorted((work / data / "latents").iterdir())
    }
    print("the same latents:", files("data-many") == files("data-killed"))


total = sum(1 for _ in open(clips / "manifest.jsonl"))
{"check": lambda: check(total), "prepare": lambda: prepare(total, (10, 20, 10))}[sys.argv[4]]()
