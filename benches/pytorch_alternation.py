#!/usr/bin/env python3
"""One alternation of recipes/physics-world/distill.toml in PyTorch eager, f32, on the CPU.

The Rust framework is timed against it.

    pip install -r benches/requirements.txt
    python benches/pytorch_alternation.py --threads 1 --alternations 10

The mathematics and the amount of work are those of src/methods/alternation.rs: the old policy's
rollout through a KV cache with a clean pass per block, scores of both sides, discriminator steps
with R1 and R2 by one extra forward, and flow steps (clean context without a graph, the old policy's
velocity from the rollout's own memory, the student's forward and backward, global clipping, AdamW),
then the lagging copies. The code is what a PyTorch user would write for speed in eager mode: fused
attention, native strided 3-D convolutions, complex rotary embedding with cached tables, fused
AdamW. The teacher is left out on both sides: its clips are random latents here. Weights and latents
are random; no time depends on their values. Prints one JSON object: median milliseconds per
alternation."""

import argparse
import copy
import functools
import json
import math
import platform
import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

EPSILON = 1e-6


@dataclass(frozen=True)
class Layout:
    """How a clip falls into blocks; every earlier frame is visible."""

    frames: int
    frames_per_block: int

    def blocks(self):
        return [
            (start, min(start + self.frames_per_block, self.frames))
            for start in range(0, self.frames, self.frames_per_block)
        ]


# --- Student (models/src/student) ----------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def rotations(frames, rows, columns, heads, head_width):
    """Unit complex numbers `[1, S, heads, d / 2]` for latent frames numbered `frames` (a range)."""
    spatial = 2 * (head_width // 6)
    grids = torch.meshgrid(
        torch.tensor(list(frames)), torch.arange(rows), torch.arange(columns), indexing="ij"
    )
    angles = [
        torch.outer(grid.flatten().double(), 10000.0 ** (-torch.arange(0, axis, 2).double() / axis))
        for grid, axis in zip(grids, [head_width - 2 * spatial, spatial, spatial])
    ]
    angles = torch.cat(angles, 1)
    # Written out for every head: three times as fast as a broadcast on the CPU.
    return (
        torch.polar(torch.ones_like(angles), angles)
        .to(torch.complex64)[None, :, None]
        .repeat(1, 1, heads, 1)
    )


def rotate(x, rotation):
    """`[B, S, heads, d]`"""
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * rotation).flatten(
        -2
    )


def modulate(x, shift, scale):
    """`x (1 + scale) + shift` for tokens `[B, S, D]` and vectors `[B * F or 1, 1, D]`."""
    return torch.addcmul(shift, x.reshape(*per_vector(x, scale)), 1 + scale).view_as(x)


def gated(residual, x, gate):
    """`residual + x gate`"""
    shape = per_vector(x, gate)
    return torch.addcmul(residual.reshape(shape), x.reshape(shape), gate).view_as(x)


def per_vector(x, vector):
    return vector.shape[0], -1, x.shape[-1]


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norm_q, self.norm_k = (nn.RMSNorm(width, eps=EPSILON) for _ in range(2))

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1))

    def keys_values(self, x):
        """`[B, heads, S, d]` each."""
        return self.split(self.norm_k(self.k(x))).transpose(1, 2), self.split(self.v(x)).transpose(
            1, 2
        )

    def cross(self, x, keys, values):
        queries = self.split(self.norm_q(self.q(x))).transpose(1, 2)
        return self.o(
            functional.scaled_dot_product_attention(queries, keys, values)
            .transpose(1, 2)
            .flatten(-2)
        )

    def own(self, x, rotation, past, views, tokens):
        """Self-attention; each view is (query frames, past frames or None, own frames), so that
        hidden scores are never computed."""
        queries = rotate(self.split(self.norm_q(self.q(x))), rotation).transpose(1, 2)
        keys = rotate(self.split(self.norm_k(self.k(x))), rotation).transpose(1, 2)
        values = self.split(self.v(x)).transpose(1, 2)
        cut = lambda tensor, frames: tensor[:, :, frames[0] * tokens : frames[1] * tokens]
        # Split rather than sliced where views tile the sequence: the backward of a split fills no
        # zeros.
        parts = lambda tensor, frames: tensor.split(
            [(end - start) * tokens for start, end in frames], 2
        )
        query_frames, past_frames, own_frames = zip(*views)
        queries = parts(queries, query_frames)
        own = (
            parts
            if own_frames == query_frames
            else lambda tensor, frames: [cut(tensor, seen) for seen in frames]
        )
        own_keys, own_values = own(keys, own_frames), own(values, own_frames)
        outputs = []
        for query, seen_keys, seen_values, seen in zip(queries, own_keys, own_values, past_frames):
            if seen is not None:
                seen_keys = torch.cat([cut(past[0], seen), seen_keys], 2)
                seen_values = torch.cat([cut(past[1], seen), seen_values], 2)
            outputs.append(functional.scaled_dot_product_attention(query, seen_keys, seen_values))
        attended = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 2)
        return self.o(attended.transpose(1, 2).flatten(-2)), (keys, values)


def feed_forward(width, hidden, output):
    return nn.Sequential(
        nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, output)
    )


class Block(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.modulation = nn.Parameter(torch.randn(1, 6, width) / math.sqrt(width))
        self.self_attn = Attention(width, heads)
        self.norm3 = nn.LayerNorm(width, eps=EPSILON)
        self.cross_attn = Attention(width, heads)
        self.ffn = feed_forward(width, hidden, width)

    def forward(self, x, e0, rotation, past, text, views, tokens):
        modulation = (self.modulation + e0)[:, :, None].unbind(1)
        normed = functional.layer_norm(x, x.shape[-1:], eps=EPSILON)
        attended, own = self.self_attn.own(
            modulate(normed, modulation[0], modulation[1]), rotation, past, views, tokens
        )
        x = gated(x, attended, modulation[2])
        x = x + self.cross_attn.cross(self.norm3(x), *text)
        normed = functional.layer_norm(x, x.shape[-1:], eps=EPSILON)
        return (
            gated(x, self.ffn(modulate(normed, modulation[3], modulation[4])), modulation[5]),
            own,
        )


class Head(nn.Module):
    def __init__(self, width, output):
        super().__init__()
        self.modulation = nn.Parameter(torch.randn(1, 2, width) / math.sqrt(width))
        self.head = nn.Linear(width, output)

    def forward(self, x, e):
        shift, scale = (self.modulation + e[:, None])[:, :, None].unbind(1)
        return self.head(
            modulate(functional.layer_norm(x, x.shape[-1:], eps=EPSILON), shift, scale)
        )


class Student(nn.Module):
    """Latents `[B, F, C, H, W]` to velocity; parameter names are Wan's, except that the patch
    embedding is a linear layer."""

    def __init__(self, args):
        super().__init__()
        self.patch, self.frequency_width = args.patch, args.frequency_width
        self.heads, self.head_width = args.heads, args.width // args.heads
        self.patch_embedding = nn.Linear(args.channels * args.patch**2, args.width)
        self.text_embedding = feed_forward(args.text_width, args.width, args.width)
        self.time_embedding = nn.Sequential(
            nn.Linear(args.frequency_width, args.width),
            nn.SiLU(),
            nn.Linear(args.width, args.width),
        )
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(args.width, 6 * args.width))
        self.blocks = nn.ModuleList(
            Block(args.width, args.heads, args.feed_forward) for _ in range(args.layers)
        )
        self.head = Head(args.width, args.channels * args.patch**2)

    def read_text(self, rows):
        rows = self.text_embedding(rows)
        return [block.cross_attn.keys_values(rows) for block in self.blocks]

    def sinusoids(self, timesteps):
        half = self.frequency_width // 2
        angles = timesteps.double()[:, None] * 10000.0 ** (-torch.arange(half).double() / half)
        return torch.cat([angles.cos(), angles.sin()], 1).float()

    def forward(self, latents, timesteps, frames, text, past, views):
        """`timesteps`: one number for all frames, or `[B * F]`. Returns the velocity and the keys
        and values of every layer."""
        batch, frame_count, channels, height, width = latents.shape
        patch, rows, columns = self.patch, height // self.patch, width // self.patch
        if not torch.is_tensor(timesteps):
            timesteps = torch.tensor([timesteps])
        e = self.time_embedding(self.sinusoids(timesteps))
        e0 = self.time_projection(e).unflatten(-1, (6, -1))
        x = latents.reshape(batch, frame_count, channels, rows, patch, columns, patch).permute(
            0, 1, 3, 5, 2, 4, 6
        )
        x = self.patch_embedding(x.reshape(batch, frame_count * rows * columns, -1))
        rotation = rotations(frames, rows, columns, self.heads, self.head_width)
        memory = []
        for index, block in enumerate(self.blocks):
            x, own = block(
                x, e0, rotation, past and past[index], text[index], views, rows * columns
            )
            memory.append(own)
        y = (
            self.head(x, e)
            .view(batch, frame_count, rows, columns, patch, patch, channels)
            .permute(0, 1, 6, 2, 4, 3, 5)
        )
        return y.reshape(latents.shape), memory


def append(memory, newer):
    if memory is None:
        return newer
    return [tuple(torch.cat(pair, 2) for pair in zip(old, new)) for old, new in zip(memory, newer)]


def remember(student, clips, text, layout):
    """Keys and values of the clean clips under the block-causal mask."""
    views = [((start, end), None, (0, end)) for start, end in layout.blocks()]
    return student(clips, 0.0, range(layout.frames), text, None, views)[1]


def velocities(student, noised, sigmas, text, memory, layout):
    """All blocks in parallel, each looking at the clean memory of earlier blocks and at itself."""
    views = [
        ((start, end), (0, start) if start else None, (start, end))
        for start, end in layout.blocks()
    ]
    return student(noised, 1000.0 * sigmas.flatten(), range(layout.frames), text, memory, views)[0]


# --- Discriminator (models/src/discriminator/conv.rs) --------------------------------------------


class Discriminator(nn.Module):
    def __init__(self, args):
        super().__init__()
        shape = [args.frames, args.height, args.columns]
        coordinates = [(2 * torch.arange(length).float() + 1) / length - 1 for length in shape]
        self.register_buffer(
            "coordinates", torch.stack(torch.meshgrid(*coordinates, indexing="ij"))[None]
        )
        scales = args.discriminator_channels
        self.stem = nn.Conv3d(args.channels + 3, scales[0], 1)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(before, after, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(1, after, eps=1e-5),
                nn.LeakyReLU(0.2),
            )
            for before, after in zip(scales, scales[1:])
        )
        for _ in self.stages:
            shape = [(length + 1) // 2 for length in shape]
        self.gather = nn.Linear(
            sum(scales) + math.prod(shape) * scales[-1], args.discriminator_width
        )
        self.judge = nn.Linear(args.discriminator_width, 1)
        self.prompt = nn.Linear(args.text_width, args.discriminator_width)

    def forward(self, clips, text):
        """Clips `[B, F, C, H, W]` and text rows `[B, L, text width]` to scores `[B]`."""
        x = clips.transpose(1, 2)
        x = torch.cat([x, self.coordinates.expand(len(x), -1, -1, -1, -1)], 1)
        x = functional.leaky_relu(self.stem(x), 0.2)
        features = [x.mean((2, 3, 4))]
        for stage in self.stages:
            x = stage(x)
            features.append(x.mean((2, 3, 4)))
        features.append(x.flatten(1))
        phi = functional.leaky_relu(self.gather(torch.cat(features, 1)), 0.2)
        asked = self.prompt(functional.layer_norm(text.mean(1), (text.shape[-1],)))
        return self.judge(phi)[:, 0] + (phi * asked).sum(1) / math.sqrt(phi.shape[1])


# --- The alternation (src/methods) ---------------------------------------------------------------


def rollout(student, text, args, layout):
    """Clean latents and the clean-context memory of every block but the last (src/rollout.rs)."""
    memory, clean, batch = None, [], args.prompts * args.rollouts
    for start, end in layout.blocks():
        views = [((0, end - start), (0, start) if start else None, (0, end - start))]
        forward = lambda x, timestep: student(x, timestep, range(start, end), text, memory, views)
        x = torch.randn(batch, end - start, args.channels, args.height, args.columns)
        for sigma, following in zip(args.sigmas, args.sigmas[1:] + [0.0]):
            x = x + (following - sigma) * forward(x, 1000.0 * sigma)[0]
        if end < layout.frames:
            memory = append(memory, forward(x, 0.0)[1])
        clean.append(x)
    return torch.cat(clean, 1), memory


def equalise(latents, args, mean=-0.6, deviation=0.4):
    """Decode, clamp, round to 8 bits and encode: the journey that the teacher's clips have behind
    them."""
    # With subsampled chroma only the luma channels become pixels of their own; the rest is rounded
    # where it is.
    pixels = (latents * deviation + mean).clamp(-1, 1).flatten(0, 1)
    luma = pixels.shape[1] // args.codec_stride**2 * args.codec_stride**2
    rounded = (
        (functional.pixel_shuffle(pixels[:, :luma], args.codec_stride) + 1) * 127.5
    ).round() / 127.5 - 1
    pixels = torch.cat(
        [
            functional.pixel_unshuffle(rounded, args.codec_stride),
            ((pixels[:, luma:] + 1) * 127.5).round() / 127.5 - 1,
        ],
        1,
    )
    return (pixels.view_as(latents) - mean) / deviation


def optimality(scores, args):
    """Scores `[P, K]` to r: each prompt's rollouts against their own mean, in their own standard
    deviations (src/advantage.rs)."""
    clip, scores = args.advantage_clip, scores.double()
    advantage = (
        (scores - scores.mean(1, keepdim=True)) / (scores.std(1, correction=0, keepdim=True) + 1e-4)
    ).clamp(-clip, clip)
    advantage = advantage - advantage.mean(1, keepdim=True)
    shrink = (clip / advantage.abs().amax(1, keepdim=True).clamp_min(clip)).clamp_max(1.0)
    return (0.5 + advantage * shrink / (2 * clip)).float()


def apply_gradients(module, optimizer, limit):
    norm = nn.utils.clip_grad_norm_(module.parameters(), limit, error_if_nonfinite=True)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm.item()


def discriminator_step(discriminator, optimizer, real, judged, text, args):
    """One Bradley-Terry step with both penalties (AfdModel::discriminator_step)."""
    with torch.no_grad():
        # One batch for both sides, with instance noise of the same size.
        clips = torch.cat([real, judged])
        clips = clips + torch.randn_like(clips) * args.instance_noise
        moved = clips + torch.randn_like(clips) * args.penalty_size
    scores = discriminator(clips, text)
    teacher, student = scores[: len(real)].view(args.prompts, -1), scores[len(real) :].view(
        args.prompts, -1
    )
    gaps = teacher[:, :, None] - student[:, None]
    loss = functional.softplus(-gaps).mean()
    squares = ((discriminator(moved, text) - scores) / args.penalty_size).square()
    r1, r2 = squares[: len(real)].mean(), squares[len(real) :].mean()
    total = loss + 0.5 * (args.r1_weight * r1 + args.r2_weight * r2)
    total.backward()
    measured = [
        loss.item(),
        r1.item(),
        r2.item(),
        (gaps > 0).double().mean().item(),
        gaps.mean().item(),
    ]
    return measured + [apply_gradients(discriminator, optimizer, 10.0)]


def forward_process_loss(velocity, old, clean, state, sigmas, r, layout, args):
    """The adaptive form (src/methods/forward_process/loss.rs)."""
    step = (velocity - old) * args.beta

    def error(implicit):
        gap = state - sigmas * implicit - clean
        with torch.no_grad():
            per_frame = gap.abs().mean((2, 3, 4))
            blocks = [
                per_frame[:, start:end].mean(1, keepdim=True).expand(-1, end - start)
                for start, end in layout.blocks()
            ]
            weight = torch.cat(blocks, 1)[:, :, None, None, None].clamp_min(1e-5)
        return gap.square() / weight

    both = r * error(old + step) + (1 - r) * error(old - step)
    return both.mean() * (args.advantage_clip / args.beta)


def flow_step(student, old, optimizer, clean, old_memory, old_text, text_rows, r, args, layout):
    """One forward-process step on the student's own clips (Alternation::noised,
    AfdModel::flow_step)."""
    batch, blocks = len(clean), len(layout.blocks())
    with torch.no_grad():
        levels = torch.tensor(args.sigmas)[torch.randint(len(args.sigmas), (batch, blocks))]
        sigmas = levels.repeat_interleave(layout.frames_per_block, 1)[
            :, : layout.frames, None, None, None
        ]
        state = torch.lerp(clean, torch.randn_like(clean), sigmas)
        old_velocity = velocities(old, state, sigmas, old_text, old_memory, layout)
        memory = remember(student, clean, student.read_text(text_rows), layout)
    velocity = velocities(student, state, sigmas, student.read_text(text_rows), memory, layout)
    loss = forward_process_loss(velocity, old_velocity, clean, state, sigmas, r, layout, args)
    loss.backward()
    measured = [loss.item(), (velocity.detach() - old_velocity).square().mean().item()]
    return measured + [apply_gradients(student, optimizer, 1.0)]


def follow(lagging, leading, decay):
    with torch.no_grad():
        torch._foreach_lerp_(list(lagging.parameters()), list(leading.parameters()), 1.0 - decay)


def alternation(models, optimizers, args, layout):
    """Milliseconds of the rollout, of scores and discriminator steps, and of flow steps."""
    student, old, evaluation, discriminator = models
    student_optimizer, discriminator_optimizer = optimizers
    clips = lambda per_prompt: (
        args.prompts * per_prompt,
        args.frames,
        args.channels,
        args.height,
        args.columns,
    )
    real = torch.randn(clips(args.teacher_clips))
    prompts = torch.randn(args.prompts, args.text_rows, args.text_width)
    text_rows = prompts.repeat_interleave(args.rollouts, 0)
    teacher_text = prompts.repeat_interleave(args.teacher_clips, 0)

    started = time.perf_counter()
    with torch.no_grad():
        old_text = old.read_text(text_rows)
        clean, old_memory = rollout(old, old_text, args, layout)
    rolled_out = time.perf_counter()

    with torch.no_grad():
        judged = equalise(clean, args)
        student_scores = discriminator(judged, text_rows).view(args.prompts, -1)
        teacher_scores = discriminator(real, teacher_text).view(args.prompts, -1)
        r = optimality(student_scores, args).view(-1, 1, 1, 1, 1)
        (teacher_scores[:, :, None] > student_scores[:, None]).double().mean().item()
    both_text = torch.cat([teacher_text, text_rows])
    for _ in range(args.discriminator_steps):
        discriminator_step(discriminator, discriminator_optimizer, real, judged, both_text, args)
    judged_at = time.perf_counter()

    for _ in range(args.flow_steps):
        flow_step(
            student, old, student_optimizer, clean, old_memory, old_text, text_rows, r, args, layout
        )
    follow(old, student, 0.9)
    follow(evaluation, student, 0.9)
    ended = time.perf_counter()
    return [
        1000.0 * seconds
        for seconds in (
            rolled_out - started,
            judged_at - rolled_out,
            ended - judged_at,
            ended - started,
        )
    ]


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    sizes = {
        "threads": (1, "threads of PyTorch's operators"),
        "alternations": (10, "alternations timed"),
        "warm-up": (2, "alternations before that"),
        "seed": (0, "seed of weights, latents and noise"),
        "frames": (12, "latent frames"),
        "channels": (6, "latent channels"),
        "height": (8, "latent rows"),
        "columns": (8, "latent columns"),
        "codec-stride": (2, "pixels per latent row and column; its square divides the channels"),
        "patch": (2, "latent rows and columns per token"),
        "width": (80, "token width"),
        "layers": (3, "transformer blocks"),
        "heads": (4, "attention heads"),
        "feed-forward": (320, "hidden width of the feed-forward networks"),
        "text-rows": (20, "text rows per prompt"),
        "text-width": (32, "width of a text row"),
        "frequency-width": (64, "width of the sinusoidal timestep embedding"),
        "frames-per-block": (3, "latent frames generated together"),
        "prompts": (2, "prompts per alternation"),
        "rollouts": (8, "rollouts per prompt"),
        "teacher-clips": (8, "teacher clips per prompt"),
        "discriminator-steps": (2, "discriminator updates per alternation"),
        "flow-steps": (2, "student updates per alternation"),
        "discriminator-width": (64, "width of the discriminator's joint feature"),
    }
    for name, (default, meaning) in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=meaning)
    parser.add_argument(
        "--discriminator-channels",
        type=int,
        nargs="+",
        default=[32, 64, 64, 64],
        help="channels of each scale",
    )
    parser.add_argument(
        "--sigmas",
        type=float,
        nargs="+",
        default=[1.0, 0.9375, 0.8333, 0.625],
        help="the ode sampler's noise levels",
    )
    args = parser.parse_args()
    # Constants of distill.toml on which no time depends.
    args.beta, args.advantage_clip = 1.0, 2.0
    args.instance_noise, args.penalty_size, args.r1_weight, args.r2_weight = 0.05, 0.05, 0.01, 0.01
    return args


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    torch.manual_seed(args.seed)
    layout = Layout(args.frames, args.frames_per_block)
    student, discriminator = Student(args), Discriminator(args)
    old, evaluation = (copy.deepcopy(student).requires_grad_(False) for _ in range(2))
    optimizers = [
        torch.optim.AdamW(
            student.parameters(),
            lr=3e-4,
            betas=(0.9, 0.99),
            eps=1e-8,
            weight_decay=1e-4,
            fused=True,
        ),
        torch.optim.AdamW(
            discriminator.parameters(),
            lr=5e-4,
            betas=(0.5, 0.99),
            eps=1e-8,
            weight_decay=0.0,
            fused=True,
        ),
    ]
    models = (student, old, evaluation, discriminator)
    runs = [
        alternation(models, optimizers, args, layout)
        for _ in range(args.warm_up + args.alternations)
    ]
    phases = zip(["rollout", "discriminator", "flow", "total"], zip(*runs[args.warm_up :]))
    report = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "alternations": args.alternations,
        "student_parameters": sum(weight.numel() for weight in student.parameters()),
        "discriminator_parameters": sum(weight.numel() for weight in discriminator.parameters()),
        "median_milliseconds": {
            phase: round(statistics.median(times), 2) for phase, times in phases
        },
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
