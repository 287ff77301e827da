//! An API as a [`Teacher`]: it answers from its store, and, if it is live, asks the provider for
//! what the store lacks, ahead of need.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use afd_clips::{
    store::{self, ClipRecord},
    teacher::{Teacher, TeacherError},
    video::Video,
    video_io::read_video,
};

use crate::{
    ApiError,
    engine::Engine,
    ledger::Take,
    service::Service,
    survey::{Standing, Survey},
};

/// Whether the process was asked to stop.
pub type Stop = fn() -> bool;

/// Clips that an API made, or will have made.
///
/// Which clip answers for a take depends on what the provider did with the take, never on when: one
/// that will not come (refused, failed, overdue, or perhaps submitted) is replaced by the next take
/// of its prompt that does, counted round the takes that were announced for the prompt.
#[derive(Debug)]
pub struct ApiTeacher {
    service: Service,
    /// The takes of each prompt that may be asked for, in order.
    announced: BTreeMap<String, Vec<Range<u64>>>,
    total: u64,
    source: Source,
    stop: Stop,
}

#[derive(Debug)]
enum Source {
    /// The store as it was when the teacher was opened.
    Replay(Box<Survey>),
    Live(Engine),
}

impl ApiTeacher {
    /// Opens the store of `service`; `announced` are the takes that may be asked for. A live
    /// teacher starts to work at once on what earlier runs submitted, and on new takes when
    /// [`Teacher::expect`] names them.
    ///
    /// # Errors
    /// The key, the store, a budget that cannot cover the announced takes that are missing.
    pub fn open(
        service: &Service,
        announced: &[(String, Range<u64>)],
        stop: Stop,
    ) -> Result<Self, ApiError> {
        let mut ranges: BTreeMap<String, Vec<Range<u64>>> = BTreeMap::new();
        for (prompt, takes) in announced {
            let of_prompt = ranges.entry(prompt.clone()).or_default();
            if !of_prompt.contains(takes) {
                of_prompt.push(takes.clone());
            }
        }
        let takes = takes_of(announced);
        let survey = Survey::of(service, &takes)?;
        let left = service.settings.budget.minus(survey.spent);
        let source = match service.settings.live {
            false => Source::Replay(Box::new(survey)),
            true if survey.bill > left => {
                return Err(ApiError::Settings(format!(
                    "{} clips are missing and may cost {}, and {left} of the budget of {} is left; \
                        raise teacher.api.budget, or ask for fewer takes",
                    survey.counts.missing, survey.bill, service.settings.budget
                )));
            }
            true => Source::Live(Engine::start(
                service,
                Vec::new(),
                service.settings.ahead,
                false,
            )?),
        };
        Ok(Self {
            service: service.clone(),
            announced: ranges,
            total: takes.len() as u64,
            source,
            stop,
        })
    }

    fn standing(&self, take: &Take) -> Standing {
        match &self.source {
            Source::Replay(survey) => Standing::of(
                &self.service,
                survey.clips.contains_key(take),
                survey.submissions.of_take(&take.0, take.1),
            ),
            Source::Live(engine) => engine.standing(take),
        }
    }

    /// The clip of a take, or why there is none.
    fn clip_of(&self, take: &Take) -> Result<Result<ClipRecord, String>, TeacherError> {
        match &self.source {
            Source::Live(engine) => engine
                .wait(take, self.service.settings.ahead, &self.stop)
                .map_err(|error| match (self.stop)() {
                    true => TeacherError::Stopped,
                    false => TeacherError::Data(error.to_string()),
                }),
            Source::Replay(survey) => match (survey.clips.get(take), self.standing(take)) {
                (Some(record), _) => Ok(Ok(record.clone())),
                (None, standing) => standing.unavailable().map(Err).ok_or_else(|| {
                    TeacherError::Data(format!(
                        "the store {} lacks take {} of {:?}; run `afd teacher fetch` with this \
                            recipe to its end, or set teacher.api.live = true",
                        self.service.store.display(),
                        take.1,
                        take.0
                    ))
                }),
            },
        }
    }

    /// The takes that may stand in for `take`, itself first.
    fn candidates(&self, prompt: &str, take: u64) -> impl Iterator<Item = u64> {
        let ranges = self.announced.get(prompt).into_iter().flatten();
        let range = ranges
            .filter(|range| range.contains(&take))
            .max_by_key(|range| range.end - range.start)
            .cloned();
        let range = range.unwrap_or(take..take + 1);
        (take..range.end).chain(range.start..take)
    }

    /// Refuses to go on where too much will never come.
    fn check_share(&self) -> Result<(), TeacherError> {
        let takes = self
            .announced
            .iter()
            .flat_map(|(prompt, ranges)| takes_of_ranges(prompt, ranges));
        let gone = takes
            .filter(|take| self.standing(take).unavailable().is_some())
            .count() as u64;
        let share = self.service.settings.refused_share;
        if gone as f64 <= share * self.total as f64 {
            return Ok(());
        }
        Err(TeacherError::Data(format!(
            "{gone} of {} takes will not come, more than teacher.api.refused_share = {share}; `afd \
                teacher status` lists them: change the \
             prompts, or raise the share",
            self.total
        )))
    }

    fn read(&self, record: &ClipRecord) -> Result<Video, TeacherError> {
        let path = self.service.store.join(&record.video);
        let hash = store::hash(&path).map_err(|error| {
            TeacherError::Data(format!(
                "cannot read {}: \
            {error}",
                path.display()
            ))
        })?;
        if hash != record.blake3 {
            let problem = format!(
                "{} is not what was fetched: its BLAKE3 is {hash}, the manifest \
                says {}",
                path.display(),
                record.blake3
            );
            return Err(TeacherError::Data(problem));
        }
        read_video(&path).map_err(|error| TeacherError::Data(error.to_string()))
    }
}

impl Teacher for ApiTeacher {
    fn videos(&self, prompt: &str, takes: Range<u64>) -> Result<Vec<Video>, TeacherError> {
        let video = |take| {
            let mut reasons = Vec::new();
            for candidate in self.candidates(prompt, take) {
                match self.clip_of(&(prompt.to_string(), candidate))? {
                    Ok(record) => return self.read(&record),
                    Err(reason) => reasons.push(reason),
                }
                self.check_share()?;
            }
            Err(TeacherError::Prompt {
                teacher: format!("the API teacher {}", self.service.adapter.name),
                prompt: prompt.to_string(),
                reason: format!(
                    "none of its {} takes came, the first because: {}",
                    reasons.len(),
                    reasons.first().map_or("", String::as_str)
                ),
            })
        };
        takes.map(video).collect()
    }

    fn expect(&self, takes: Vec<Take>) {
        if let Source::Live(engine) = &self.source {
            engine.expect(takes);
        }
    }

    fn refuses(&self, prompt: &str) -> Result<bool, TeacherError> {
        let takes: Vec<Take> = self.announced.get(prompt).map_or_else(Vec::new, |ranges| {
            takes_of_ranges(prompt, ranges).into_iter().collect()
        });
        if takes
            .iter()
            .any(|take| self.standing(take) == Standing::There)
        {
            return Ok(false);
        }
        for take in &takes {
            if self.clip_of(take)?.is_ok() {
                return Ok(false);
            }
            self.check_share()?;
        }
        Ok(!takes.is_empty())
    }
}

/// Every take that is announced, once, prompt by prompt in the order of the first announcement.
pub fn takes_of(announced: &[(String, Range<u64>)]) -> Vec<Take> {
    let mut seen = BTreeSet::new();
    let all = announced
        .iter()
        .flat_map(|(prompt, takes)| takes.clone().map(|take| (prompt.clone(), take)));
    all.filter(|take| seen.insert(take.clone())).collect()
}

fn takes_of_ranges(prompt: &str, ranges: &[Range<u64>]) -> BTreeSet<Take> {
    ranges
        .iter()
        .cloned()
        .flatten()
        .map(|take| (prompt.to_string(), take))
        .collect()
}
