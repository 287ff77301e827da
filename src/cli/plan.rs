//! `afd plan`: what a recipe will take, before anything is loaded.

use std::process::ExitCode;

use clap::Args;

use super::{CliError, RecipeArgs};
use crate::out::say;
use crate::plan::Plan;
use crate::plan::inputs::PlanInputs;
use crate::recipe::Recipe;

/// A recipe and a device.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The device's memory, such as 80GB or 24GiB [default: asked of the device, where it can be].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Plan for this backend, here or not: cuda, wgpu, flex or ndarray [default: the one that would
    /// be used here].
    #[arg(long)]
    backend: Option<String>,
    /// Operations a second that the device keeps up, in 1e12, such as 400 [default: the work is
    /// told, not how long it takes].
    #[arg(long, value_name = "N", value_parser = rate)]
    tflops: Option<f64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the plan; exit status 1 if it does not fit.
pub fn run(args: &PlanArgs) -> Result<ExitCode, CliError> {
    let recipe = Recipe::load(&args.recipe.recipe, &args.recipe.overrides)?;
    let Target { backend, memory } = Target::find(args.backend.as_deref())?;
    let plan = Plan::new(PlanInputs::of(&recipe, backend), args.memory.or(memory));
    let plan = match args.tflops {
        Some(tflops) => plan.at(1e12 * tflops),
        None => plan,
    };
    if args.json {
        say!("{}", serde_json::to_string_pretty(&plan)?);
    } else {
        say!("{} on {backend}", args.recipe.recipe.display());
        say!("{}", plan.to_string().trim_end());
    }
    Ok(if plan.fits == Some(false) {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

/// What is planned for.
struct Target {
    backend: &'static str,
    /// Bytes, if they are known.
    memory: Option<u64>,
}

impl Target {
    /// The device that `request` names, which need not be here, or the best that is.
    fn find(request: Option<&str>) -> Result<Self, CliError> {
        let listed = afd_backends::list();
        let mut present = listed.iter().filter(|found| found.absent.is_none());
        let device = match request {
            None => present.find(|found| found.by_default),
            Some(request) => {
                present.find(|found| found.name == request || found.name == format!("{request}:0"))
            }
        };
        let backend = match (request, device) {
            (_, Some(device)) => device.backend,
            (None, None) => "flex",
            (Some(request), None) => {
                let name = request.split(':').next().unwrap_or_default();
                let names = ["cuda", "wgpu", "flex", "ndarray", "cpu"];
                let known = names.into_iter().find(|known| *known == name);
                let known = known.ok_or_else(|| {
                    CliError::Usage(format!(
                        "{request:?} is no backend; there are {}",
                        names.join(", ")
                    ))
                })?;
                if known == "cpu" { "flex" } else { known }
            }
        };
        let memory = if ["flex", "ndarray"].contains(&backend) {
            available()
        } else {
            device.and_then(|device| device.memory)
        };
        Ok(Self { backend, memory })
    }
}

/// Bytes that this system can still hand out, if it says so.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kib| 1024 * kib)
}

/// Why an option's number cannot be used.
#[derive(Debug, PartialEq, thiserror::Error)]
enum NumberError {
    /// Of `--tflops`.
    #[error("expected a number above 0, such as 400")]
    Rate,
    /// Of `--memory`.
    #[error("expected a number above 0 and a unit, such as 80GB or 24GiB")]
    Size,
}

/// A rate in 1e12 operations a second.
fn rate(text: &str) -> Result<f64, NumberError> {
    text.parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate > 0.0)
        .ok_or(NumberError::Rate)
}

/// Bytes from a number and a unit.
fn size(text: &str) -> Result<u64, NumberError> {
    let number_ends = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(number_ends);
    let units = [
        ("", 1.0),
        ("b", 1.0),
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
        ("tb", 1e12),
    ];
    let binary = [
        ("kib", 1024.0),
        ("mib", 1024f64.powi(2)),
        ("gib", 1024f64.powi(3)),
        ("tib", 1024f64.powi(4)),
    ];
    let unit = unit.trim().to_ascii_lowercase();
    let scale = units
        .into_iter()
        .chain(binary)
        .find(|(name, _)| *name == unit)
        .map(|(_, scale)| scale);
    match (number.parse::<f64>(), scale) {
        (Ok(number), Some(scale)) if number > 0.0 => Ok((number * scale) as u64),
        _ => Err(NumberError::Size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_or_binary() {
        assert_eq!(
            [size("80GB"), size("24 GiB"), size("1.5MB"), size("7")],
            [Ok(80_000_000_000), Ok(24 << 30), Ok(1_500_000), Ok(7)]
        );
        for wrong in ["", "GB", "80 G", "-1GB", "0GB", "1.2.3GB"] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(rate("400"), Ok(400.0));
        assert!(
            ["0", "-1", "inf", "fast"]
                .into_iter()
                .all(|wrong| rate(wrong).is_err())
        );
    }
}
