//! What the methods reached: numbers, curves and clips.

use std::{collections::BTreeMap, error::Error, fs::File, path::Path};

use afd_report::{Cost, Preview, Run, State};
use image::{Delay, Frame, Rgba, RgbaImage, codecs::gif::GifEncoder, codecs::gif::Repeat};

/// One run whose distance to the teacher is about `distance`.
pub fn run(
    out: &Path,
    method: &str,
    family: &str,
    regime: Option<&str>,
    seed: Option<u64>,
    distance: f64,
) -> Result<Run, Box<dyn Error>> {
    let directory = format!(
        "runs/example/{method}-{family}-{}-{}",
        regime.unwrap_or("all"),
        seed.map_or("once".into(), |seed| seed.to_string())
    );
    let mut noise = Noise(directory.bytes().fold(7, |sum, byte| {
        sum ^ (u64::from(byte)).rotate_left(byte as u32)
    }));
    let trained = seed.is_some();
    let distance = (distance
        + if distance > 0.0 {
            0.35 * noise.next()
        } else {
            0.0
        })
    .max(0.0);
    let share = distance / 8.2;
    let values = values(distance, &mut noise);
    let mut curves = BTreeMap::new();
    let drift = [1.0, 1.5, 2.0, 3.0, 4.0].map(|length: f64| {
        [
            length,
            distance * length.powf(0.8) + 0.2 * noise.next().abs(),
        ]
    });
    curves.insert("drift".to_string(), drift.to_vec());
    if trained {
        let point = |step: i32| {
            [
                f64::from(step) * 120.0,
                distance + (8.2 - distance) * (-f64::from(step) / 22.0).exp() + 0.25 * noise.next(),
            ]
        };
        curves.insert("learning".into(), (0..=100).map(point).collect());
    }
    let mut previews = Vec::new();
    if seed.is_none_or(|seed| seed == 0)
        && (family, regime.unwrap_or("200")) == ("chunk", "200")
        && !directory.contains("beta")
    {
        let path = format!("{}.gif", directory.replace('/', "-"));
        ball(&out.join(&path), share)?;
        previews.push(Preview {
            label: "a small red ball is dropped on the moon".into(),
            path,
        });
    }
    Ok(Run {
        method: method.into(),
        family: family.into(),
        regime: regime.map(String::from),
        seed,
        state: State::Done,
        command: format!(
            "afd bench example.toml --only {method}/{family}/{}",
            regime.unwrap_or("all")
        ),
        directory,
        commit: None,
        values,
        cost: cost(method, regime, trained, &mut noise),
        curves,
        previews,
    })
}

/// Every metric of a run so far from the teacher.
fn values(distance: f64, noise: &mut Noise) -> BTreeMap<String, Option<f64>> {
    let share = distance / 8.2;
    [
        ("trajectory", distance - 0.2),
        ("gravity", 0.009 + 0.21 * share + 0.01 * noise.next()),
        (
            "permanence",
            1.0 - 0.18 * share + 0.008 * noise.next() * share,
        ),
        (
            "physics-iq",
            100.0 * (1.0 - 0.7 * share) + 2.0 * noise.next(),
        ),
        ("dynamic", 0.98 - 0.12 * share + 0.01 * noise.next()),
        ("pair-accuracy", 0.5 + 0.49 * share.sqrt()),
        ("coverage", 1.0 - 0.5 * share + 0.03 * noise.next()),
    ]
    .map(|(name, value)| (name.to_string(), Some(value)))
    .into()
}

fn cost(method: &str, regime: Option<&str>, trained: bool, noise: &mut Noise) -> Cost {
    let passes = if trained { 12_000 } else { 0 };
    Cost {
        student_forward_backward: passes,
        student_rollouts: if ["afd", "grpo", "adversarial", "frozen"].contains(&method) {
            2 * passes
        } else {
            0
        },
        discriminator_forward_backward: if ["afd", "grpo", "adversarial"].contains(&method) {
            passes
        } else {
            0
        },
        teacher_clips: regime
            .and_then(|regime| regime.parse().ok())
            .filter(|_| trained)
            .unwrap_or(0),
        wall_seconds: if trained {
            310.0 + 20.0 * noise.next()
        } else {
            0.0
        },
    }
}

/// Three falling balls, the further off the more `wrong`.
fn ball(path: &Path, wrong: f64) -> Result<(), Box<dyn Error>> {
    let mut encoder = GifEncoder::new(File::create(path)?);
    encoder.set_repeat(Repeat::Infinite)?;
    for step in 0..16 {
        let mut picture = RgbaImage::from_pixel(3 * 68 + 4, 68, Rgba([32, 36, 42, 255]));
        for clip in 0..3u32 {
            for (x, y) in (0..16u32).flat_map(|y| (0..16u32).map(move |x| (x, y))) {
                let time = f64::from(step) / 15.0;
                let (across, down) = (
                    4.0 + 3.0 * f64::from(clip) + 3.0 * time,
                    2.0 + 11.0 * time * time * (1.0 - 0.5 * wrong),
                );
                let off = ((f64::from(x) - across).powi(2) + (f64::from(y) - down).powi(2)).sqrt();
                let red = (1.0 - (off - 1.5) / (0.5 + 3.0 * wrong)).clamp(0.0, 1.0);
                let colour = Rgba([
                    (225.0 - 25.0 * red) as u8,
                    (225.0 * (1.0 - red)) as u8,
                    (230.0 * (1.0 - red)) as u8,
                    255,
                ]);
                for (dx, dy) in (0..4).flat_map(|dy| (0..4).map(move |dx| (dx, dy))) {
                    picture.put_pixel(4 + clip * 68 + 4 * x + dx, 2 + 4 * y + dy, colour);
                }
            }
        }
        encoder.encode_frame(Frame::from_parts(
            picture,
            0,
            0,
            Delay::from_numer_denom_ms(120, 1),
        ))?;
    }
    Ok(())
}

/// Numbers in -1..1 that only need to look irregular.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as f64 / (1u64 << 30) as f64 - 1.0
    }
}
