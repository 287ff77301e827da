//! A plan in words and columns.

use std::fmt;

use super::inputs::PlannedMethod;
use super::phase::Part;
use super::transformer::Flops;
use super::{Plan, Time};

/// Bytes in decimal units, as memory is sold: `6.04 GB`.
pub fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1e3, &["B", "kB", "MB", "GB", "TB"])
}

/// Operations: `1.03 PFLOP`.
pub fn flops(flops: f64) -> String {
    scaled(
        flops,
        1e3,
        &["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP"],
    )
}

/// Operations, and what of them is neither the transformer's nor the discriminator's own: `45.7
/// PFLOP (codec 14.1 PFLOP)`.
fn work(of: Flops) -> String {
    let parts: Vec<String> = [("low-rank factors", of.factors), ("codec", of.codec)]
        .into_iter()
        .filter(|(_, part)| *part > 0.0)
        .map(|(what, part)| format!("{what} {}", flops(part)))
        .collect();
    if parts.is_empty() {
        flops(of.total())
    } else {
        format!("{} ({})", flops(of.total()), parts.join(", "))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ", {:.1} hours at {}/s", self.hours, flops(self.rate))
    }
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", units[unit])
}

/// A whole number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<String> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| group.iter().map(|digit| char::from(*digit)).collect())
        .collect();
    groups.join(",")
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_sizes(f)?;
        let held = self.weights.held_bytes();
        writeln!(f, "\nalways held: {}", bytes(held))?;
        list(f, &self.weights.held)?;
        for phase in &self.phases {
            writeln!(
                f,
                "\n{}: {} more, {} in all; {}",
                phase.name,
                bytes(phase.bytes()),
                bytes(held + phase.bytes()),
                work(phase.flops)
            )?;
            list(f, &phase.parts)?;
        }
        self.write_round(f)?;
        self.write_run(f)?;
        self.write_files(f)?;
        self.write_peak(f)
    }
}

impl Plan {
    /// Clip, networks and cache.
    fn write_sizes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weights = &self.weights;
        let [frames, channels, rows, columns] = self.inputs.latents;
        writeln!(
            f,
            "clip           {frames} x {channels} x {rows} x {columns} latents, {} tokens",
            grouped(self.inputs.tokens() as u64)
        )?;
        let networks = [
            (
                "student",
                weights.student_parameters,
                weights.student_trainable,
            ),
            (
                "discriminator",
                weights.discriminator_parameters,
                weights.discriminator_trainable,
            ),
        ];
        for (name, all, trained) in networks.into_iter().filter(|(_, all, _)| *all > 0) {
            writeln!(
                f,
                "{name:<14} {} parameters, {} trained",
                grouped(all),
                grouped(trained)
            )?;
        }
        writeln!(
            f,
            "cache          {} of keys and values per clip",
            bytes(self.cache_per_clip)
        )
    }

    /// What a round is called.
    fn round(&self) -> &'static str {
        match self.inputs.method {
            PlannedMethod::Distill(_) => "alternation",
            PlannedMethod::Pretrain(_) => "update",
        }
    }

    fn write_round(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\none {}: {}", self.round(), work(self.whole.round))?;
        writeln!(
            f,
            "checkpoint: {}, {} of host memory to write it",
            bytes(self.weights.checkpoint),
            bytes(self.weights.checkpoint_host)
        )?;
        if let Some(encoder) = &self.inputs.text_encoder {
            writeln!(
                f,
                "text encoder: {}, in no phase of training",
                bytes(encoder.weights)
            )?;
        }
        Ok(())
    }

    /// The work of the run, part by part.
    fn write_run(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, inputs) = (&self.whole, &self.inputs);
        writeln!(
            f,
            "\nthe run: {}{}",
            flops(whole.total()),
            self.time.map_or_else(String::new, |time| time.to_string())
        )?;
        let before = [
            (inputs.schedule.start, "supervised updates"),
            (inputs.schedule.warm_up, "rounds of warm-up, at most"),
        ];
        let before: String = before
            .into_iter()
            .filter(|(times, _)| *times > 0)
            .map(|(times, what)| format!("{times} {what}, "))
            .collect();
        let parts = [
            (
                whole.preparation.clips,
                format!(
                    "{} clips through the codec, once",
                    inputs.prompts * inputs.samples_per_prompt
                ),
            ),
            (
                whole.preparation.prompts,
                format!(
                    "{} prompts through the text encoder, at most, once",
                    inputs.prompts + inputs.held_out
                ),
            ),
            (
                whole.rounds,
                format!("{before}{} {}s", inputs.schedule.rounds, self.round()),
            ),
        ];
        for (work, what) in parts.into_iter().filter(|(work, _)| *work > 0.0) {
            writeln!(f, "  {:>10}  {what}", flops(work))?;
        }
        Ok(())
    }

    fn write_files(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.whole.disk;
        writeln!(
            f,
            "on disk: checkpoints {} ({} and the next), latents {}, text embeddings {}{}",
            bytes(disk.checkpoints),
            self.inputs.schedule.checkpoints,
            bytes(disk.latents),
            if disk.text > 0 { "at most " } else { "" },
            bytes(disk.text)
        )?;
        let (held, again) = (self.whole.host_pixels, self.whole.clips_again);
        if held > 0 || again > 0 {
            let others = match again {
                0 => String::new(),
                _ => format!(
                    "; {} more are prepared each time they are asked for",
                    grouped(again)
                ),
            };
            writeln!(f, "in host memory: prepared clips {}{others}", bytes(held))?;
        }
        Ok(())
    }

    /// The verdict.
    fn write_peak(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\npeak {} in the {}: ",
            bytes(self.peak),
            self.peak_phase
        )?;
        match (self.memory, self.fits) {
            (Some(memory), Some(true)) => writeln!(f, "fits {}", bytes(memory)),
            (Some(memory), _) => {
                let named: Vec<String> = self
                    .largest
                    .iter()
                    .map(|part| format!("{} {}", part.what, bytes(part.bytes)))
                    .collect();
                writeln!(
                    f,
                    "does not fit {}; the largest: {}",
                    bytes(memory),
                    named.join(", ")
                )
            }
            (None, _) => writeln!(
                f,
                "the device's memory is not known; give --memory, such as 80GB"
            ),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, parts: &[Part]) -> fmt::Result {
    for part in parts.iter().filter(|part| part.bytes > 0) {
        writeln!(f, "  {:>9}  {}", bytes(part.bytes), part.what)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        assert_eq!(
            [
                bytes(999),
                bytes(6_038_323_200),
                bytes(80_000_000_000),
                bytes(999_600)
            ],
            ["999 B", "6.04 GB", "80.0 GB", "1.00 MB"]
        );
        assert_eq!(flops(1.03e15), "1.03 PFLOP");
        assert_eq!(grouped(1_418_996_800), "1,418,996,800");
    }
}
