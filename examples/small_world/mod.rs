//! Settings as another program would make them: plain structs, no TOML. A tiny student of the
//! built-in world, whose rounds take a fraction of a second on a CPU.

use afd::data::video::ClipShape;
use afd::flow::sampler::SamplerKind;
use afd::recipe::tables::{
    AfdTable, CodecKind, CodecTable, DiscriminatorTable, EvaluationTable, Kind, Method,
    OptimizerTable, PromptList, PromptsTable, ReverseChainTable, RunTable, SamplerTable, Settings,
    SizesTable, StudentTable, SupervisedTable, TeacherKind, TeacherTable, TextKind, TextTable,
};
use afd_models::precision::Precision;

/// The settings of a run called `name`. docs/recipe.md says what every field means.
pub fn settings(kind: Kind, name: &str) -> Settings {
    let prompts = |prompts: &[&str]| {
        PromptList::Inline(prompts.iter().map(|prompt| (*prompt).to_string()).collect())
    };
    Settings {
        kind,
        method: Method::Afd,
        name: name.to_string(),
        seed: 1,
        clip: ClipShape {
            frames: 6,
            height: 8,
            width: 8,
            frames_per_second: 6.0,
        },
        codec: CodecTable {
            kind: CodecKind::Pixel,
            stride: Some(2),
            subsampled_chroma: false,
            mean: Some(-0.6),
            std: Some(0.4),
            checkpoint: None,
            precision: Precision::F32,
        },
        text: TextTable {
            kind: TextKind::Words,
            length: 12,
            width: 8,
            checkpoint: None,
            tokenizer: None,
            precision: Precision::F32,
        },
        data: None,
        allow_pickle: false,
        student: StudentTable {
            checkpoint: None,
            frames_per_block: 2,
            window_frames: 0,
            sink_frames: 0,
            part: None,
            heads: None,
            sizes: Some(SizesTable {
                width: 24,
                layers: 2,
                heads: 2,
                feed_forward_width: 48,
                patch: 2,
                frequency_width: 16,
            }),
            lora: None,
        },
        teacher: TeacherTable {
            kind: TeacherKind::World,
            path: None,
            layout: None,
            fit: Default::default(),
            max_bad_share: 0.0,
            quarantine: Vec::new(),
            seed: 5,
            uncurated: false,
            samples_per_prompt: 0,
            api: None,
        },
        prompts: PromptsTable {
            train: prompts(&[
                "a small red ball is dropped on earth",
                "a large blue ball is thrown to the left on the moon",
            ]),
            held_out: prompts(&["a small blue ball is dropped on jupiter"]),
        },
        sampler: SamplerTable {
            kind: SamplerKind::Consistency,
            denoising_step_list: vec![1000.0, 500.0],
            denoising_step_list_first_chunk: None,
            timestep_shift: 5.0,
            warp_denoising_step: true,
        },
        afd: AfdTable {
            alternations: 2,
            warmup_steps: 1,
            prompts_per_alternation: 2,
            rollouts_per_prompt: 4,
            teacher_clips_per_prompt: 2,
            ..AfdTable::default()
        },
        discriminator: DiscriminatorTable::default(),
        reverse_chain: ReverseChainTable::default(),
        supervised: SupervisedTable {
            steps: 20,
            batch: 8,
            ..SupervisedTable::default()
        },
        optimizer: OptimizerTable::default(),
        evaluation: EvaluationTable {
            clips_per_prompt: 4,
            holdout_steps: 2,
            ..EvaluationTable::default()
        },
        run: RunTable::default(),
    }
}
