use super::*;
use crate::engine::model::AfdModel;
use crate::engine::update::Update;
use crate::flow::path::clean_estimate;
use afd_models::copies::frozen_copy;
use afd_models::init::initialise;
use afd_models::student::transformer::Inputs;
use afd_models::student::{Student, StudentConfig, Visibility};
use burn::backend::{Autodiff, NdArray};
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::train::TrainStep;

type B = Autodiff<NdArray>;
const SHAPE: [usize; 4] = [2, 1, 2, 2];
const VALUES: usize = 8;
const UPDATES: u64 = 1500;

fn random(index: u64, clips: usize) -> Vec<f32> {
    Noise::new(6, Purpose::Evaluation, 0, index).normals(clips * VALUES)
}

fn clips<C: Backend>(values: Vec<f32>) -> Tensor<C, 5> {
    let [frames, channels, height, width] = SHAPE;
    let batch = values.len() / VALUES;
    Tensor::from_data(
        TensorData::new(values, [batch, frames, channels, height, width]),
        &Default::default(),
    )
}

/// Two clips per prompt, equally likely. From pure noise nothing can be told about which it is:
/// the best clean estimate is the prompt's mean.
#[test]
fn supervised_flow_matching_recovers_the_conditional_mean() {
    let config = StudentConfig {
        width: 32,
        layers: 1,
        heads: 2,
        feed_forward_width: 32,
        latent_channels: 1,
        patch: 2,
        text_width: 4,
        frequency_width: 16,
        frames_per_block: 2,
        window_frames: 0,
        sink_frames: 0,
    };
    let student = initialise(
        Student::<B>::new(&config, &Default::default()),
        5,
        "student",
    );
    let ema = frozen_copy(student.clone());
    let mut model: AfdModel<B> = AfdModel {
        student,
        old: None,
        reference: None,
        ema,
        discriminator: None,
    };
    let mut optimizer = AdamConfig::new().init::<B, AfdModel<B>>();
    let data = random(0, 4);
    let text = |batch: usize| {
        let rows = (0..batch)
            .flat_map(|clip| {
                if clip % 4 < 2 {
                    [1.0, 0.0, 1.0, -1.0]
                } else {
                    [-1.0, 1.0, 0.0, 1.0]
                }
            })
            .collect();
        Tensor::<NdArray, 3>::from_data(TensorData::new(rows, [batch, 1, 4]), &Default::default())
    };
    for number in 0..UPDATES {
        // Each clip eight times, with other noise.
        let clean = clips::<NdArray>(data.repeat(8));
        let noise = clips::<NdArray>(random(1 + number, 32));
        let sigmas = vec![1.0; 32 * 2];
        let level = levels(&sigmas, 32, 2, &Default::default());
        let update = SupervisedUpdate {
            clips: Noised {
                clean: clean.clone(),
                noise,
                sigmas: level,
            },
            sigmas,
            context: None,
            text: text(32),
        };
        let output = TrainStep::step(&model, Update::Student(Box::new(update)));
        let rate = 1e-2 * half_cosine(number as f64 / UPDATES as f64, 0.01);
        let gradients: GradientsParams = output.grads;
        model = optimizer.step(rate, model, gradients);
    }
    let student = burn::module::AutodiffModule::valid(&model.student);
    let noise = clips::<NdArray>(random(10_000, 64));
    let rows = student.text_cache(text(64));
    let (frames, timesteps) = (vec![0, 1], vec![1000.0; 64 * 2]);
    let visibility = Visibility::block_causal(&student.layout(2));
    let inputs = Inputs {
        timesteps: &timesteps,
        frames: &frames,
        text: &rows,
        past: None,
        visibility: &visibility,
    };
    let velocity = student.forward(noise.clone(), &inputs).0;
    let level = levels(&vec![1.0; 64 * 2], 64, 2, &Default::default());
    let estimate: Vec<f32> = clean_estimate(noise, velocity, &level)
        .into_data()
        .iter::<f32>()
        .collect();
    for (prompt, value) in [(0, 0), (0, 3), (0, 7), (1, 0), (1, 4), (1, 6)] {
        let expected =
            0.5 * (data[2 * prompt * VALUES + value] + data[(2 * prompt + 1) * VALUES + value]);
        let of_prompt: Vec<f32> = (0..64)
            .filter(|clip| (clip % 4) / 2 == prompt)
            .map(|clip| estimate[clip * VALUES + value])
            .collect();
        let found = of_prompt.iter().sum::<f32>() / of_prompt.len() as f32;
        let spread = (of_prompt
            .iter()
            .map(|value| (value - expected).powi(2))
            .sum::<f32>()
            / of_prompt.len() as f32)
            .sqrt();
        // The clips are of order one and differ by as much; a small student cannot copy the
        // noise exactly.
        assert!(
            (found - expected).abs() < 0.1 && spread < 0.35,
            "{prompt} {value}: {found} {expected} {spread}"
        );
    }
}
