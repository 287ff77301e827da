//! What has to hold in a recipe's fields: for recipes, and for the cards that their students carry
//! away.

use afd_models::lora::LoraConfig;
use afd_models::student::StudentConfig;
use afd_models::text::TextEncoder;
use afd_models::text::umt5::ROWS as UMT5_ROWS;
use afd_models::text::words::WordVectors;

use super::settings::{
    DiscriminatorKind, Kind, Method, OldPolicy, Sampler, Settings, TeacherKind, Text, TextKind,
};
use crate::data::video::ClipShape;
use crate::teacher::world::World;

/// Size, length and rate of clips.
pub(crate) fn clip(clip: &ClipShape) -> Result<(), String> {
    at_least_one(&[
        ("clip.frames", clip.frames),
        ("clip.height", clip.height),
        ("clip.width", clip.width),
    ])?;
    above_zero(&[("clip.frames_per_second", clip.frames_per_second)])
}

/// Sizes and files of the text encoder.
pub(crate) fn text(text: &Text) -> Result<(), String> {
    at_least_one(&[("text.length", text.length), ("text.width", text.width)])?;
    if text.kind == TextKind::Words {
        if text.checkpoint.is_some() || text.tokenizer.is_some() {
            return Err(
                "text.checkpoint and text.tokenizer are umT5's; word vectors have neither, remove \
                    them"
                    .to_string(),
            );
        }
        return Ok(());
    }
    for (field, file) in [
        ("text.checkpoint", &text.checkpoint),
        ("text.tokenizer", &text.tokenizer),
    ] {
        if file.is_none() {
            return Err(format!(
                "{field} is missing: text.kind = \"umt5\" needs the weights of umT5 and its \
                    tokenizer.json"
            ));
        }
    }
    if text.length == UMT5_ROWS {
        return Ok(());
    }
    Err(format!(
        "text.length is {}, umT5 has {UMT5_ROWS} rows for every prompt",
        text.length
    ))
}

/// Steps of the sampler.
pub(crate) fn sampler(sampler: &Sampler) -> Result<(), String> {
    above_zero(&[("sampler.timestep_shift", sampler.timestep_shift)])?;
    let steps = &sampler.denoising_step_list;
    let descending = steps.windows(2).all(|pair| pair[0] > pair[1]);
    if steps.is_empty() || !descending || steps.iter().any(|step| !(*step > 0.0 && *step <= 1000.0))
    {
        return Err(format!(
            "sampler.denoising_step_list is {steps:?}, must be descending numbers above 0 and at \
                most 1000"
        ));
    }
    Ok(())
}

/// Whether the student reads the rows that the text encoder writes.
pub(crate) fn rows(text: &Text, student: &StudentConfig) -> Result<(), String> {
    if student.text_width == text.width {
        return Ok(());
    }
    Err(format!(
        "text.width is {}, the student reads rows of {}",
        text.width, student.text_width
    ))
}

/// Whether the student takes the codec's latents.
pub(crate) fn channels(codec: usize, student: &StudentConfig) -> Result<(), String> {
    if student.latent_channels == codec {
        return Ok(());
    }
    Err(format!(
        "[codec] gives {codec} latent channels, the student has {}",
        student.latent_channels
    ))
}

fn at_least_one(fields: &[(&str, usize)]) -> Result<(), String> {
    match fields.iter().find(|(_, value)| *value == 0) {
        Some((field, _)) => Err(format!("{field} is 0, must be at least 1")),
        None => Ok(()),
    }
}

fn above_zero(fields: &[(&str, f64)]) -> Result<(), String> {
    match fields
        .iter()
        .find(|(_, value)| !(value.is_finite() && *value > 0.0))
    {
        Some((field, value)) => Err(format!(
            "{field} is {value}, must be a finite number above 0"
        )),
        None => Ok(()),
    }
}

/// Whether clips fall into whole tokens; `step`: pixels per token and side.
pub(crate) fn patches(clip: &ClipShape, step: usize) -> Result<(), String> {
    let (height, width) = (clip.height, clip.width);
    if height.is_multiple_of(step) && width.is_multiple_of(step) {
        return Ok(());
    }
    Err(format!(
        "the codec's stride times the student's patch ({step}) must divide clip.height ({height}) \
            and clip.width ({width})"
    ))
}

/// What the method asks for.
fn method(settings: &Settings) -> Result<(), String> {
    let (method, afd) = (settings.method, &settings.afd);
    if method == Method::ScoreDistillation {
        return Err(
            "method = \"score-distillation\" needs the teacher's score at noised student clips, in \
                the student's latent space; a black box hands out finished videos only and has no \
                score. Fitting a score model to its clips first would be another method; use \
                \"afd\""
                .to_string(),
        );
    }
    if settings.kind == Kind::Pretrain && method != Method::Afd {
        return Err(
            "kind = \"pretrain\" is supervised flow matching from random weights and has no \
                method; remove it"
                .to_string(),
        );
    }
    let share = settings.reverse_chain.fresh_noise;
    if !(share > 0.0 && share <= 1.0) {
        return Err(format!(
            "reverse_chain.fresh_noise is {share}, must be above 0 and at most 1: without fresh \
                noise there is no density"
        ));
    }
    if method == Method::ReverseChain && settings.sampler.denoising_step_list.len() < 2 {
        return Err(
            "method = \"reverse-chain\" needs at least 2 steps in sampler.denoising_step_list: the \
                last one has no density".to_string()
        );
    }
    if method == Method::Offline && afd.old_policy == OldPolicy::StopGradient {
        return Err(
            "method = \"offline\" compares with the base student, so afd.old_policy must be \
                \"lagging\""
                .to_string(),
        );
    }
    if afd.offline_rounds == 0 {
        return Err("afd.offline_rounds is 0, must be at least 1".to_string());
    }
    let [from, to] = afd.teacher_positives_span;
    if !(0.0..=1.0).contains(&from) || !(from..=1.0).contains(&to) {
        return Err(format!(
            "afd.teacher_positives_span is [{from}, {to}], must be ascending within [0, 1]"
        ));
    }
    if afd.shuffled_pairs && afd.prompts_per_alternation < 2 {
        return Err(
            "afd.shuffled_pairs needs at least 2 prompts in afd.prompts_per_alternation"
                .to_string(),
        );
    }
    let target = settings.discriminator.penalty_target;
    if !(0.5..=1.0).contains(&target) {
        return Err(format!(
            "discriminator.penalty_target is {target}, must be a pair accuracy within [0.5, 1]"
        ));
    }
    Ok(())
}

/// Everything that has to hold in a recipe but for its files.
pub(super) fn settings(
    settings: &Settings,
    student: &StudentConfig,
    train: &[String],
    held_out: &[String],
) -> Result<(), String> {
    if train.is_empty() {
        return Err("prompts.train has no prompts, expected at least one".to_string());
    }
    if held_out.is_empty() && settings.evaluation.clips_per_prompt > 0 {
        return Err("prompts.held_out has no prompts, expected at least one; \
            evaluation.clips_per_prompt = 0 goes without"
            .to_string());
    }
    clip(&settings.clip)?;
    text(&settings.text)?;
    sampler(&settings.sampler)?;
    at_least_one(&[
        ("run.checkpoint_every", settings.run.checkpoint_every),
        ("run.shards", settings.run.shards),
        ("run.attention_queries", settings.run.attention_queries),
        ("evaluation.batch", settings.evaluation.batch),
        (
            "afd.prompts_per_alternation",
            settings.afd.prompts_per_alternation,
        ),
        ("afd.rollouts_per_prompt", settings.afd.rollouts_per_prompt),
        (
            "afd.teacher_clips_per_prompt",
            settings.afd.teacher_clips_per_prompt,
        ),
        ("supervised.batch", settings.supervised.batch),
        ("discriminator.width", settings.discriminator.width),
    ])?;
    above_zero(&[
        (
            "reverse_chain.clip_range",
            settings.reverse_chain.clip_range,
        ),
        ("afd.beta", settings.afd.beta),
        ("afd.advantage_clip", settings.afd.advantage_clip),
        ("afd.first_rate", settings.afd.first_rate),
        ("afd.final_rate", settings.afd.final_rate),
        ("supervised.final_rate", settings.supervised.final_rate),
        ("optimizer.learning_rate", settings.optimizer.learning_rate),
        ("optimizer.clip_norm", settings.optimizer.clip_norm),
        ("optimizer.epsilon", f64::from(settings.optimizer.epsilon)),
        (
            "discriminator.optimizer.clip_norm",
            settings.discriminator.optimizer.clip_norm,
        ),
        (
            "discriminator.optimizer.epsilon",
            f64::from(settings.discriminator.optimizer.epsilon),
        ),
        (
            "discriminator.penalty_size",
            settings.discriminator.penalty_size,
        ),
    ])?;
    let not_negative = [
        (
            "reverse_chain.divergence_weight",
            settings.reverse_chain.divergence_weight,
        ),
        ("afd.reference_weight", settings.afd.reference_weight),
        ("afd.minimum_std", settings.afd.minimum_std),
        (
            "discriminator.optimizer.learning_rate",
            settings.discriminator.optimizer.learning_rate,
        ),
        ("discriminator.r1_weight", settings.discriminator.r1_weight),
        ("discriminator.r2_weight", settings.discriminator.r2_weight),
        (
            "discriminator.mismatch_weight",
            settings.discriminator.mismatch_weight,
        ),
        (
            "discriminator.instance_noise",
            f64::from(settings.discriminator.instance_noise),
        ),
    ];
    if let Some((field, value)) = not_negative
        .iter()
        .find(|(_, value)| !(value.is_finite() && *value >= 0.0))
    {
        return Err(format!(
            "{field} is {value}, must be a finite number of at least 0"
        ));
    }
    let shares = [
        ("afd.old_policy_decay", settings.afd.old_policy_decay),
        ("afd.ema_decay", settings.afd.ema_decay),
        ("supervised.ema_decay", settings.supervised.ema_decay),
        ("optimizer.beta_1", f64::from(settings.optimizer.beta_1)),
        ("optimizer.beta_2", f64::from(settings.optimizer.beta_2)),
        (
            "discriminator.optimizer.beta_1",
            f64::from(settings.discriminator.optimizer.beta_1),
        ),
        (
            "discriminator.optimizer.beta_2",
            f64::from(settings.discriminator.optimizer.beta_2),
        ),
    ];
    if let Some((field, value)) = shares.iter().find(|(_, value)| !(0.0..1.0).contains(value)) {
        return Err(format!(
            "{field} is {value}, must be at least 0 and below 1"
        ));
    }
    if !(0.0..=1.0).contains(&settings.teacher.max_bad_share) {
        return Err(format!(
            "teacher.max_bad_share is {}, must be at least 0 and at most 1",
            settings.teacher.max_bad_share
        ));
    }
    let (positives, teachers) = (
        settings.afd.teacher_positives,
        settings.afd.teacher_clips_per_prompt,
    );
    if positives > teachers {
        return Err(format!(
            "afd.teacher_positives is {positives}, must be at most afd.teacher_clips_per_prompt \
                ({teachers})"
        ));
    }
    method(settings)?;
    let [low, high] = settings.afd.warmup_pair_accuracy;
    if !(0.5..=1.0).contains(&low) || !(low..=1.0).contains(&high) {
        return Err(format!(
            "afd.warmup_pair_accuracy is [{low}, {high}], must be an ascending band within [0.5, 1]"
        ));
    }
    if settings.afd.rollouts_per_prompt < 2
        && settings.afd.advantage == crate::afd::advantage::AdvantageForm::Group
    {
        return Err(format!(
            "afd.rollouts_per_prompt is {}, afd.advantage = \"group\" needs at least 2 (4 or more \
                is advised); with 1 use \"pair-centred\"",
            settings.afd.rollouts_per_prompt
        ));
    }
    if settings.afd.prompts_per_alternation > train.len() {
        return Err(format!(
            "afd.prompts_per_alternation ({}) is more than the {} prompts of prompts.train",
            settings.afd.prompts_per_alternation,
            train.len()
        ));
    }
    if settings.afd.context == crate::afd::model::Context::Cached && !settings.afd.detach_context {
        return Err(
            "afd.context = \"cached\" frees each block's graph, so afd.detach_context must be true"
                .to_string(),
        );
    }
    if settings.kind == Kind::Distill
        && settings.afd.warmup_steps == 0
        && settings.afd.alternations == 0
    {
        return Err(
            "afd.alternations and afd.warmup_steps are both 0, there is nothing to do".to_string(),
        );
    }
    if settings.discriminator.kind == DiscriminatorKind::Conv
        && settings.discriminator.channels.len() < 2
    {
        return Err(format!(
            "discriminator.channels is {:?}, needs at least 2 scales",
            settings.discriminator.channels
        ));
    }
    if settings.discriminator.channels.contains(&0) {
        return Err(format!(
            "discriminator.channels is {:?}, every scale needs at least 1 channel",
            settings.discriminator.channels
        ));
    }
    for (field, lora) in [
        ("student.lora", &settings.student.lora),
        ("discriminator.lora", &settings.discriminator.lora),
    ] {
        if let Some(problem) = lora.as_ref().and_then(LoraConfig::problem) {
            return Err(format!("{field}.{problem}"));
        }
    }
    if settings.student.lora.is_some() && settings.student.checkpoint.is_none() {
        return Err(
            "student.lora adapts the weights of student.checkpoint, which is missing; name it, or \
                train all weights"
                .to_string(),
        );
    }
    if settings.student.checkpoint.is_none()
        && (settings.student.part.is_some() || settings.student.heads.is_some())
    {
        return Err(
            "student.part and student.heads say how to read student.checkpoint, which is missing; \
                name it, or remove them"
                .to_string(),
        );
    }
    if settings.discriminator.lora.is_some()
        && settings.discriminator.kind == DiscriminatorKind::Conv
    {
        return Err(
            "discriminator.lora adapts a copy of the student; it needs discriminator.kind = \
                \"registers\""
                .to_string(),
        );
    }
    let layers = &settings.discriminator.layers;
    if settings.discriminator.kind == DiscriminatorKind::Registers {
        let ascending = layers.windows(2).all(|pair| pair[0] < pair[1]);
        if layers.is_empty() || !ascending || layers.iter().any(|layer| *layer >= student.layers) {
            return Err(format!(
                "discriminator.layers is {layers:?}, must be ascending numbers below the student's \
                    {} layers",
                student.layers
            ));
        }
    }
    if settings.teacher.api.is_some() && settings.teacher.kind != TeacherKind::Api {
        return Err(
            "[teacher.api] is given and teacher.kind is not \"api\"; set it, or remove the table"
                .to_string(),
        );
    }
    let clips = settings.evaluation.clips_per_prompt;
    if (1..4).contains(&clips) {
        return Err(format!(
            "evaluation.clips_per_prompt is {clips}, must be at least 4, or 0 to leave the table \
                out"
        ));
    }
    if settings
        .data
        .as_ref()
        .is_some_and(|data| data.clips_per_shard == 0)
    {
        return Err("data.clips_per_shard is 0, must be at least 1".to_string());
    }
    if settings.text.kind == TextKind::Umt5 && settings.data.is_none() {
        return Err(
            "data.path is missing: umT5's embeddings are read from the directory that `afd data \
                prepare` fills"
                .to_string(),
        );
    }
    let text = &settings.text;
    let words = (text.kind == TextKind::Words).then_some(WordVectors {
        length: text.length,
        width: text.width,
    });
    for prompt in train.iter().chain(held_out) {
        if let Some(words) = words {
            words.encode(prompt)?;
        }
        if settings.teacher.kind == TeacherKind::World {
            World::new(0)
                .scene(prompt, 0)
                .map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}
