//! An API as a [`Teacher`]: it answers from its store, and, if it is live, asks the provider for
//! what the store lacks, ahead of need.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use afd_clips::{
    store::{self, ClipRecord},
    teacher::{Source, Teacher, TeacherError},
    video::Video,
    video_io::read_video,
};

use crate::{
    ApiError,
    engine::Engine,
    ledger::{Sample, way_out},
    service::Service,
    survey::{Standing, Survey, Unavailable},
};

/// Whether the process was asked to stop.
pub type Stop = fn() -> bool;

/// Clips that an API made, or will have made.
///
/// Which clip answers for a sample depends on what the provider did with it, never on when. A
/// sample that will not come (refused, failed, overdue, or perhaps submitted) is replaced by the
/// next one of its prompt that does. The next one is counted round the samples that were announced
/// for the prompt.
#[derive(Debug)]
pub struct ApiTeacher {
    service: Service,
    /// The samples of each prompt that may be asked for, in order.
    announced: BTreeMap<String, Vec<Range<u64>>>,
    total: u64,
    answers: Answers,
    stop: Stop,
}

#[derive(Debug)]
enum Answers {
    /// The store as it was when the teacher was opened.
    Replay(Box<Survey>),
    Live(Engine),
}

impl ApiTeacher {
    /// Opens the store of `service`; `announced` are the samples that may be asked for. A live
    /// teacher starts to work at once on what earlier runs submitted, and on new samples when
    /// [`Teacher::expect`] names them.
    ///
    /// # Errors
    /// [`ApiError::Settings`] for the key, and for a budget that cannot cover the announced samples
    /// that are missing; [`ApiError::Store`] and [`ApiError::Journal`] for the store.
    pub fn open(
        service: &Service,
        announced: &[(String, Range<u64>)],
        stop: Stop,
    ) -> Result<Self, ApiError> {
        let mut ranges: BTreeMap<String, Vec<Range<u64>>> = BTreeMap::new();
        for (prompt, samples) in announced {
            let of_prompt = ranges.entry(prompt.clone()).or_default();
            if !of_prompt.contains(samples) {
                of_prompt.push(samples.clone());
            }
        }
        let samples = samples_of(announced);
        let survey = Survey::of(service, &samples)?;
        let left = service.settings.budget.minus(survey.spent);
        let answers = match service.settings.live {
            false => Answers::Replay(Box::new(survey)),
            true if survey.bill > left => {
                return Err(ApiError::Settings(format!(
                    "{} clips are missing and may cost {}, and {left} of the budget of {} is left, \
                        {} of it spent or reserved; {}, or ask for fewer samples",
                    survey.counts.missing,
                    survey.bill,
                    service.settings.budget,
                    survey.spent,
                    way_out(survey.lost)
                )));
            }
            true => Answers::Live(Engine::start(
                service,
                Vec::new(),
                service.settings.ahead,
                false,
            )?),
        };
        Ok(Self {
            service: service.clone(),
            announced: ranges,
            total: samples.len() as u64,
            answers,
            stop,
        })
    }

    fn standing(&self, sample: &Sample) -> Standing {
        match &self.answers {
            Answers::Replay(survey) => Standing::of(
                &self.service,
                survey.clips.contains_key(sample),
                survey.submissions.of_sample(&sample.0, sample.1),
            ),
            Answers::Live(engine) => engine.standing(sample),
        }
    }

    /// The clip of a sample, or why there is none.
    fn clip_of(&self, sample: &Sample) -> Result<Result<ClipRecord, Unavailable>, TeacherError> {
        match &self.answers {
            Answers::Live(engine) => engine
                .wait(sample, self.service.settings.ahead, &self.stop)
                .map_err(|error| match (self.stop)() {
                    true => TeacherError::Stopped,
                    false => TeacherError::Data(error.to_string()),
                }),
            Answers::Replay(survey) => match (survey.clips.get(sample), self.standing(sample)) {
                (Some(record), _) => Ok(Ok(record.clone())),
                (None, standing) => standing.unavailable().map(Err).ok_or_else(|| {
                    TeacherError::Data(format!(
                        "the store {} lacks sample {} of {:?}; run `afd teacher fetch` with this \
                            recipe to its end, or set teacher.api.live = true",
                        self.service.store.display(),
                        sample.1,
                        sample.0
                    ))
                }),
            },
        }
    }

    /// The samples that may stand in for `sample`, itself first.
    fn candidates(&self, prompt: &str, sample: u64) -> impl Iterator<Item = u64> {
        let ranges = self.announced.get(prompt).into_iter().flatten();
        let range = ranges
            .filter(|range| range.contains(&sample))
            .max_by_key(|range| range.end - range.start)
            .cloned();
        let range = range.unwrap_or(sample..sample + 1);
        (sample..range.end).chain(range.start..sample)
    }

    /// Refuses to go on where too much will never come.
    fn check_share(&self) -> Result<(), TeacherError> {
        let samples = self
            .announced
            .iter()
            .flat_map(|(prompt, ranges)| samples_of_ranges(prompt, ranges));
        let gone = samples
            .filter(|sample| self.standing(sample).unavailable().is_some())
            .count() as u64;
        let share = self.service.settings.refused_share;
        if gone as f64 <= share * self.total as f64 {
            return Ok(());
        }
        Err(TeacherError::Data(format!(
            "{gone} of {} samples will not come, more than teacher.api.refused_share = {share}; \
                `afd teacher status` lists them: change the prompts, or raise the share",
            self.total
        )))
    }

    /// The clip that answers for a sample: its own, or the next one of its prompt that came.
    fn answer(&self, prompt: &str, sample: u64) -> Result<ClipRecord, TeacherError> {
        let mut reasons = Vec::new();
        for candidate in self.candidates(prompt, sample) {
            match self.clip_of(&(prompt.to_string(), candidate))? {
                Ok(record) => return Ok(record),
                Err(reason) => reasons.push(reason),
            }
            self.check_share()?;
        }
        Err(TeacherError::Prompt {
            teacher: format!("the API teacher {}", self.service.adapter.name),
            prompt: prompt.to_string(),
            reason: format!(
                "none of its {} samples came, the first because: {}",
                reasons.len(),
                reasons.first().map_or("", |Unavailable(reason)| reason)
            ),
        })
    }

    fn read(&self, record: &ClipRecord) -> Result<Video, TeacherError> {
        let path = self.service.store.join(&record.video);
        let hash = store::hash(&path).map_err(|error| {
            TeacherError::Data(format!("cannot read {}: {error}", path.display()))
        })?;
        if hash != record.blake3 {
            let problem = format!(
                "{} is not what was fetched: its BLAKE3 is {hash}, the manifest says {}",
                path.display(),
                record.blake3
            );
            return Err(TeacherError::Data(problem));
        }
        read_video(&path).map_err(TeacherError::data)
    }
}

impl Teacher for ApiTeacher {
    fn videos(&self, prompt: &str, samples: Range<u64>) -> Result<Vec<Video>, TeacherError> {
        let video = |sample| self.read(&self.answer(prompt, sample)?);
        samples.map(video).collect()
    }

    fn source(&self, prompt: &str, sample: u64) -> Result<Option<Source>, TeacherError> {
        for candidate in self.candidates(prompt, sample) {
            let candidate = (prompt.to_string(), candidate);
            match self.standing(&candidate) {
                // What is there is not waited for.
                Standing::There => {
                    if let Ok(record) = self.clip_of(&candidate)? {
                        return Ok(Some(Source {
                            file: record.video,
                            stamp: record.blake3,
                        }));
                    }
                }
                standing if standing.unavailable().is_some() => {}
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    fn content(&self, prompt: &str, sample: u64) -> Result<String, TeacherError> {
        // The store compares it with the file whenever the clip is read.
        Ok(self.answer(prompt, sample)?.blake3)
    }

    fn expect(&self, samples: Vec<Sample>) {
        if let Answers::Live(engine) = &self.answers {
            engine.expect(samples);
        }
    }

    fn refuses(&self, prompt: &str) -> Result<bool, TeacherError> {
        let samples: Vec<Sample> = self.announced.get(prompt).map_or_else(Vec::new, |ranges| {
            samples_of_ranges(prompt, ranges).into_iter().collect()
        });
        if samples
            .iter()
            .any(|sample| self.standing(sample) == Standing::There)
        {
            return Ok(false);
        }
        for sample in &samples {
            if self.clip_of(sample)?.is_ok() {
                return Ok(false);
            }
            self.check_share()?;
        }
        Ok(!samples.is_empty())
    }
}

/// Every sample that is announced, once, prompt by prompt in the order of the first announcement.
pub fn samples_of(announced: &[(String, Range<u64>)]) -> Vec<Sample> {
    let mut seen = BTreeSet::new();
    let all = announced
        .iter()
        .flat_map(|(prompt, samples)| samples.clone().map(|sample| (prompt.clone(), sample)));
    all.filter(|sample| seen.insert(sample.clone())).collect()
}

fn samples_of_ranges(prompt: &str, ranges: &[Range<u64>]) -> BTreeSet<Sample> {
    ranges
        .iter()
        .cloned()
        .flatten()
        .map(|sample| (prompt.to_string(), sample))
        .collect()
}
