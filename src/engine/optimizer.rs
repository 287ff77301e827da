//! Two AdamW optimizers behind one, and their state as named tensors.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use afd_models::discriminator::AnyDiscriminator;
use afd_models::kernels::Trainable;
use afd_models::student::Student;
use afd_models::weights::{HostTensor, Tensors, WeightsError};
use burn::module::{AutodiffModule, Module, ModuleVisitor, Param, ParamId};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::record::AdaptorRecord;
use burn::optim::{
    AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, GradientsParams, LearningRate,
    MultiGradientsParams, Optimizer,
};
use burn::prelude::*;
use burn::record::Record;
use burn::tensor::backend::AutodiffBackend;

use super::model::{AfdModel, TrainedDiscriminator};
use crate::recipe::tables::OptimizerTable;

/// Burn's AdamW with a recipe's constants; the step size is given at each step.
fn adamw<B: AutodiffBackend, M: AutodiffModule<B>>(
    table: &OptimizerTable,
) -> OptimizerAdaptor<AdamW, M, B> {
    AdamWConfig::new()
        .with_beta_1(table.beta_1)
        .with_beta_2(table.beta_2)
        .with_epsilon(table.epsilon)
        .with_weight_decay(table.weight_decay)
        .init()
}

/// One optimizer for burn-train's learner, two inside: each touches only the part of the composite
/// that has gradients.
///
/// Clones share their state, because the learner keeps its optimizer to itself and a checkpoint
/// needs to read it.
#[derive(Clone)]
pub struct AfdOptimizer<B: Trainable, D: TrainedDiscriminator<B> = AnyDiscriminator<B>> {
    parts: Arc<Mutex<Parts<B, D>>>,
}

struct Parts<B: Trainable, D: TrainedDiscriminator<B>> {
    student: OptimizerAdaptor<AdamW, Student<B>, B>,
    discriminator: OptimizerAdaptor<AdamW, D, B>,
    student_rate: f64,
    discriminator_rate: f64,
}

/// State of both optimizers.
#[derive(Record)]
pub struct AfdOptimizerRecord<B: Trainable, D: TrainedDiscriminator<B>> {
    student: <OptimizerAdaptor<AdamW, Student<B>, B> as Optimizer<Student<B>, B>>::Record,
    discriminator: <OptimizerAdaptor<AdamW, D, B> as Optimizer<D, B>>::Record,
}

impl<B: Trainable, D: TrainedDiscriminator<B>> AfdOptimizer<B, D> {
    /// Fresh optimizers.
    pub fn new(student: &OptimizerTable, discriminator: &OptimizerTable) -> Self {
        let parts = Parts {
            student: adamw(student),
            discriminator: adamw(discriminator),
            student_rate: student.learning_rate,
            discriminator_rate: discriminator.learning_rate,
        };
        Self {
            parts: Arc::new(Mutex::new(parts)),
        }
    }

    /// Sets the student's step size for the following updates.
    pub fn set_student_rate(&self, rate: f64) {
        self.parts().student_rate = rate;
    }

    /// Moments and step counts under the names of the weights they belong to.
    pub fn tensors(&self, model: &AfdModel<B, D>) -> Tensors {
        let parts = self.parts();
        let mut tensors = Tensors::new();
        let mut save = Save::<B> {
            prefix: "student",
            path: Vec::new(),
            records: parts.student.to_record().into_iter().collect(),
            tensors: &mut tensors,
        };
        model.student.visit(&mut save);
        if let Some(discriminator) = &model.discriminator {
            let records = parts.discriminator.to_record().into_iter().collect();
            discriminator.visit(&mut Save::<B> {
                prefix: "discriminator",
                path: Vec::new(),
                records,
                tensors: &mut tensors,
            });
        }
        tensors
    }

    /// Puts saved moments back; a tensor that no weight asks for is an error.
    pub fn restore(
        &self,
        model: &AfdModel<B, D>,
        mut tensors: Tensors,
        origin: &str,
    ) -> Result<(), WeightsError> {
        let mut parts = self.parts();
        let mut load = Load::<B> {
            prefix: "student",
            path: Vec::new(),
            tensors: &mut tensors,
            records: Vec::new(),
        };
        model.student.visit(&mut load);
        parts.student = parts
            .student
            .clone()
            .load_record(load.records.into_iter().collect());
        if let Some(discriminator) = &model.discriminator {
            let mut load = Load::<B> {
                prefix: "discriminator",
                path: Vec::new(),
                tensors: &mut tensors,
                records: Vec::new(),
            };
            discriminator.visit(&mut load);
            parts.discriminator = parts
                .discriminator
                .clone()
                .load_record(load.records.into_iter().collect());
        }
        if tensors.is_empty() {
            return Ok(());
        }
        let problems = tensors
            .into_keys()
            .map(|name| format!("optimizer state {name:?} belongs to no weight"))
            .collect();
        Err(WeightsError::Mismatch {
            origin: origin.to_string(),
            problems,
        })
    }

    fn parts(&self) -> MutexGuard<'_, Parts<B, D>> {
        // A panic while the lock is held ends the run; the state behind it is still whole.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Trainable, D: TrainedDiscriminator<B>> Optimizer<AfdModel<B, D>, B> for AfdOptimizer<B, D> {
    type Record = AfdOptimizerRecord<B, D>;

    fn step(
        &mut self,
        rate: LearningRate,
        mut model: AfdModel<B, D>,
        gradients: GradientsParams,
    ) -> AfdModel<B, D> {
        let mut parts = self.parts();
        let (student_rate, discriminator_rate) =
            (rate * parts.student_rate, rate * parts.discriminator_rate);
        // A phase differentiates one part only, so all gradients belong to the one that moves.
        if model
            .discriminator
            .as_ref()
            .is_some_and(|discriminator| owns::<B, _>(discriminator, &gradients))
        {
            model.discriminator = model.discriminator.map(|module| {
                parts
                    .discriminator
                    .step(discriminator_rate, module, gradients)
            });
        } else {
            model.student = parts.student.step(student_rate, model.student, gradients);
        }
        model
    }

    fn step_multi(
        &mut self,
        rate: LearningRate,
        mut model: AfdModel<B, D>,
        gradients: MultiGradientsParams,
    ) -> AfdModel<B, D> {
        let mut parts = self.parts();
        let (student_rate, discriminator_rate) =
            (rate * parts.student_rate, rate * parts.discriminator_rate);
        let first = gradients.grads.first().map(|(gradients, _)| gradients);
        let moves = |module: &D| first.is_some_and(|gradients| owns::<B, _>(module, gradients));
        if model.discriminator.as_ref().is_some_and(moves) {
            model.discriminator = model.discriminator.map(|module| {
                parts
                    .discriminator
                    .step_multi(discriminator_rate, module, gradients)
            });
        } else {
            model.student = parts
                .student
                .step_multi(student_rate, model.student, gradients);
        }
        model
    }

    fn to_record(&self) -> Self::Record {
        let parts = self.parts();
        AfdOptimizerRecord {
            student: parts.student.to_record(),
            discriminator: parts.discriminator.to_record(),
        }
    }

    fn load_record(self, record: Self::Record) -> Self {
        let mut parts = self.parts();
        parts.student = parts.student.clone().load_record(record.student);
        parts.discriminator = parts
            .discriminator
            .clone()
            .load_record(record.discriminator);
        drop(parts);
        self
    }
}

/// Whether any of the gradients belongs to `module`.
fn owns<B: AutodiffBackend, M: Module<B>>(module: &M, gradients: &GradientsParams) -> bool {
    struct Owns<'a> {
        gradients: &'a GradientsParams,
        found: bool,
    }
    impl<B: AutodiffBackend> ModuleVisitor<B> for Owns<'_> {
        fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
            self.found |= self.gradients.get::<B::InnerBackend, N>(param.id).is_some();
        }
    }
    let mut owns = Owns {
        gradients,
        found: false,
    };
    module.visit(&mut owns);
    owns.found
}

struct Save<'a, B: AutodiffBackend> {
    prefix: &'static str,
    path: Vec<String>,
    records: std::collections::HashMap<ParamId, AdaptorRecord<AdamW, B>>,
    tensors: &'a mut Tensors,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Save<'_, B> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
        let Some(record) = self.records.remove(&param.id) else {
            return;
        };
        let state = record.into_state::<N>().momentum;
        let name = format!("{}.{}", self.prefix, self.path.join("."));
        let host = |tensor: Tensor<B::InnerBackend, N>| {
            let data = tensor.into_data();
            HostTensor {
                shape: data.shape.to_vec(),
                values: data.iter::<f32>().collect(),
            }
        };
        self.tensors
            .insert(format!("{name}.moment_1"), host(state.moment_1));
        self.tensors
            .insert(format!("{name}.moment_2"), host(state.moment_2));
        // Exact up to 2^24 steps in f32.
        self.tensors.insert(
            format!("{name}.time"),
            HostTensor {
                shape: vec![1],
                values: vec![state.time as f32],
            },
        );
    }
}

struct Load<'a, B: AutodiffBackend> {
    prefix: &'static str,
    path: Vec<String>,
    tensors: &'a mut Tensors,
    records: Vec<(ParamId, AdaptorRecord<AdamW, B>)>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Load<'_, B> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const N: usize>(&mut self, param: &Param<Tensor<B, N>>) {
        let name = format!("{}.{}", self.prefix, self.path.join("."));
        let shape = param.shape().to_vec();
        let keys = ["moment_1", "moment_2", "time"].map(|part| format!("{name}.{part}"));
        // Left in the map unless all three fit, so that the caller reports them.
        let fits = |key: &String, shape: &[usize]| {
            self.tensors
                .get(key)
                .is_some_and(|tensor| tensor.shape == shape)
        };
        if !(fits(&keys[0], &shape) && fits(&keys[1], &shape) && fits(&keys[2], &[1])) {
            return;
        }
        let [moment_1, moment_2, time] = keys.map(|key| {
            self.tensors
                .remove(&key)
                .map(|tensor| tensor.values)
                .unwrap_or_default()
        });
        let device = param.val().device();
        let tensor = |values: Vec<f32>| {
            Tensor::<B::InnerBackend, N>::from_data(TensorData::new(values, shape.clone()), &device)
        };
        let momentum =
            AdaptiveMomentumState::new(time[0] as usize, tensor(moment_1), tensor(moment_2));
        self.records.push((
            param.id,
            AdaptorRecord::from_state(AdamWState::new(momentum)),
        ));
    }
}
