use afd_models::init::initialise;
use afd_models::student::StudentConfig;
use burn::backend::{Flex, NdArray};

use super::*;
use afd_models::student::passes::prefill;

fn config(frames_per_block: usize, window_frames: usize, sink_frames: usize) -> StudentConfig {
    StudentConfig {
        width: 24,
        layers: 2,
        heads: 2,
        feed_forward_width: 32,
        latent_channels: 4,
        patch: 2,
        text_width: 8,
        frequency_width: 16,
        frames_per_block,
        window_frames,
        sink_frames,
    }
}

/// A rollout that forgets everything after each block and reads its own finished frames again
/// from the first one.
fn uncached<B: Kernels>(
    student: &Student<B>,
    text: &TextCache<B>,
    sampler: &Sampler,
    mut noise: RolloutNoise,
) -> Tensor<B, 5> {
    let (device, layout) = (Default::default(), student.layout(6));
    let mut done: Option<Tensor<B, 5>> = None;
    for block in layout.blocks() {
        let past = done
            .clone()
            .and_then(|done| prefill(student, done, 0.0, text).keep(&layout.past_of(&block)));
        let visibility = Visibility::rollout(
            past.as_ref().map_or(0, |past| past.frames.len()),
            block.len(),
        );
        let numbers: Vec<usize> = block.clone().collect();
        let shape = [block.len(), 4, 4, 4];
        let start = noise.draw(shape, &device);
        let velocity = |x, sigma: f32| {
            let timesteps = vec![1000.0 * sigma; 2 * block.len()];
            let inputs = Inputs {
                timesteps: &timesteps,
                frames: &numbers,
                text,
                past: past.as_ref(),
                visibility: &visibility,
            };
            student.forward(x, &inputs).0
        };
        let (clean, _) = sampler
            .of_block(block.start)
            .denoise(start, velocity, || noise.draw(shape, &device));
        done = Some(match done {
            Some(done) => Tensor::cat(vec![done, clean], 1),
            None => clean,
        });
    }
    done.expect("at least one block")
}

fn cached_equals_uncached<B: Kernels>() {
    for (frames_per_block, window, sink) in [(3, 0, 0), (1, 0, 0), (1, 3, 1), (2, 4, 0), (2, 2, 0)]
    {
        let device = Default::default();
        let mut student = initialise(
            Student::<B>::new(&config(frames_per_block, window, sink), &device),
            5,
            "student",
        );
        let weights = Noise::new(1, Purpose::Weights, 0, 0).normals(24 * 16);
        student.head.output.weight = student.head.output.weight.map(|weight| {
            Tensor::from_data(TensorData::new(weights, weight.dims()), &device) * 0.1
        });
        let rows = Noise::new(1, Purpose::Words, 0, 0).normals(2 * 3 * 8);
        let text = student.text_cache(Tensor::from_data(TensorData::new(rows, [2, 3, 8]), &device));
        let sampler = Sampler {
            fresh_noise: 1.0,
            sigmas: vec![1.0, 0.8333, 0.5],
            first_block: None,
        };
        let generator = Generator {
            student: &student,
            text: &text,
            sampler: &sampler,
            shape: [6, 4, 4, 4],
            device: &device,
        };
        let cached = generator.rollout(RolloutNoise::new(4, 2, 0..2));
        let again = uncached(&student, &text, &sampler, RolloutNoise::new(4, 2, 0..2));
        let gap: f32 = (cached.latents - again).abs().max().into_scalar().elem();
        // f32 sums over other batch shapes, carried on through six frames of own outputs.
        assert!(gap < 1e-5, "{frames_per_block} {window} {sink}: {gap}");
    }
}

#[test]
fn a_cached_rollout_equals_one_that_recomputes_its_past() {
    cached_equals_uncached::<NdArray>();
    cached_equals_uncached::<Flex>();
}

/// Forgetting what no later block sees changes no bit, and holds a window of frames however
/// long the clip is.
#[test]
fn clips_to_look_at_are_those_to_learn_from_and_their_memory_is_bounded_by_the_window() {
    let device = Default::default();
    for (frames_per_block, window, sink) in [(3, 0, 0), (1, 3, 1), (2, 4, 0), (2, 2, 0), (2, 5, 2)]
    {
        let student = initialise(
            Student::<Flex>::new(&config(frames_per_block, window, sink), &device),
            5,
            "student",
        );
        let sampler = Sampler {
            fresh_noise: 1.0,
            sigmas: vec![1.0, 0.5],
            first_block: None,
        };
        let text = student.text_cache(Tensor::ones([1, 3, 8], &device));
        let generator = Generator {
            student: &student,
            text: &text,
            sampler: &sampler,
            shape: [13, 4, 4, 4],
            device: &device,
        };
        let noise = || RolloutNoise::new(4, 2, 0..1);
        let whole = generator.rollout(noise());
        let mut seen = Vec::new();
        let looked_at = generator.clips(noise(), &mut |block| seen.push(block.clone()));
        assert_eq!(looked_at.to_data(), whole.latents.to_data());
        assert_eq!(Tensor::cat(seen, 1).into_data(), looked_at.into_data());
        let held = |kept| {
            generator
                .block_by_block(noise(), None, kept, &mut |_, _| {})
                .cache
                .map_or(0, |cache| cache.frames.len())
        };
        let last = (13 - 1) / frames_per_block * frames_per_block;
        assert_eq!(held(Kept::Everything), last);
        assert!(
            window == 0 || held(Kept::Visible) < window,
            "{window} {}",
            held(Kept::Visible)
        );
    }
}

#[test]
fn a_clip_does_not_depend_on_the_batch_it_is_generated_in() {
    let device = Default::default();
    let student = initialise(
        Student::<NdArray>::new(&config(3, 0, 0), &device),
        5,
        "student",
    );
    let sampler = Sampler {
        fresh_noise: 1.0,
        sigmas: vec![1.0, 0.5],
        first_block: None,
    };
    let run = |clips: std::ops::Range<u64>| {
        let rows = Tensor::<NdArray, 3>::ones([clips.clone().count(), 3, 8], &device);
        let text = student.text_cache(rows);
        let generator = Generator {
            student: &student,
            text: &text,
            sampler: &sampler,
            shape: [6, 4, 4, 4],
            device: &device,
        };
        generator.rollout(RolloutNoise::new(4, 2, clips)).latents
    };
    let gap = (run(0..3).slice_dim(0, 2..3) - run(2..3))
        .abs()
        .max()
        .into_scalar();
    assert!(gap < 1e-5, "{gap}");
}

/// Going on from the first block of a clip that the student made gives the rest of that clip:
/// its past is the same.
#[test]
fn a_continuation_reads_its_prefix_as_if_it_were_its_own() {
    for frames_per_block in [1, 3] {
        let device = Default::default();
        let student = initialise(
            Student::<NdArray>::new(&config(frames_per_block, 0, 0), &device),
            5,
            "student",
        );
        let sampler = Sampler {
            fresh_noise: 0.0,
            sigmas: vec![1.0, 0.5],
            first_block: None,
        };
        let text = student.text_cache(Tensor::ones([2, 3, 8], &device));
        let generator = Generator {
            student: &student,
            text: &text,
            sampler: &sampler,
            shape: [6, 4, 4, 4],
            device: &device,
        };
        let whole = generator.rollout(RolloutNoise::new(4, 2, 0..2)).latents;
        // The noise of the given frames is not drawn: let the streams stand where the whole
        // rollout's stood after them.
        let mut noise = RolloutNoise::new(4, 2, 0..2);
        for _ in 0..3 / frames_per_block {
            noise.draw::<NdArray>([frames_per_block, 4, 4, 4], &device);
        }
        let prefix = whole.clone().slice_dim(1, 0..3);
        let again = generator.continuation(noise, prefix);
        assert!((whole - again).abs().max().into_scalar() < 1e-6);
    }
}

#[test]
fn a_first_block_with_a_list_of_its_own_takes_its_steps_and_the_others_theirs() {
    let device = Default::default();
    let student = initialise(
        Student::<NdArray>::new(&config(2, 0, 0), &device),
        5,
        "student",
    );
    let text = student.text_cache(Tensor::ones([2, 3, 8], &device));
    let of = |sigmas: &[f32], first_block: Option<&[f32]>| Sampler {
        fresh_noise: 1.0,
        sigmas: sigmas.to_vec(),
        first_block: first_block.map(<[f32]>::to_vec),
    };
    let (own, others) = ([1.0, 0.9, 0.5], [1.0, 0.7]);
    let (both, four, two) = (of(&others, Some(&own)), of(&own, None), of(&others, None));
    let generator = |sampler| Generator {
        student: &student,
        text: &text,
        sampler,
        shape: [6, 4, 4, 4],
        device: &device,
    };
    let noise = || RolloutNoise::new(4, 2, 0..2);
    let made = generator(&both).rollout_with_states(noise());
    let first = |clips: Tensor<NdArray, 5>| clips.slice_dim(1, 0..2);
    let expected = first(generator(&four).rollout(noise()).latents);
    assert_eq!(first(made.latents.clone()).into_data(), expected.to_data());
    // The others go on from it with their own list; three draws went into the first block.
    let mut later = noise();
    for _ in 0..3 {
        later.draw::<NdArray>([2, 4, 4, 4], &device);
    }
    let whole = generator(&two).continuation(later, expected);
    assert_eq!(made.latents.clone().into_data(), whole.into_data());
    // A block with fewer levels stays at its last.
    assert_eq!(made.states.len(), 3);
    let rest = |level: usize| made.states[level].clone().slice_dim(1, 2..6).into_data();
    assert_eq!(rest(1), rest(2));
    assert_ne!(rest(0), rest(1));
}
