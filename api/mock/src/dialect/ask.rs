//! What the providers answer to whoever asks what a job is doing, or for its clip.

use serde_json::{Value, json};

use super::{Dialect, MODEL};
use crate::{Fate, Hostile, Options, state::Shared, wire::Reply};

/// The answer to a GET of `path`; `None` where there is nothing.
pub(super) fn ask(shared: &Shared, options: &Options, path: &str) -> Option<Reply> {
    let question = Question {
        shared,
        options,
        path,
    };
    match options.dialect {
        Dialect::V1Videos => question.v1_videos(),
        Dialect::Fal => question.fal(),
        Dialect::Replicate => question.replicate(),
        Dialect::Veo => question.veo(),
        Dialect::Runway => question.runway(),
        Dialect::Kling => question.kling(),
        Dialect::DashScope => question.dashscope(),
    }
}

/// A GET of `path`.
struct Question<'a> {
    shared: &'a Shared,
    options: &'a Options,
    path: &'a str,
}

impl Question<'_> {
    /// What stands between `prefix` and `suffix`, if that is one segment of the path.
    fn segment(&self, prefix: &str, suffix: &str) -> Option<String> {
        self.path
            .strip_prefix(prefix)?
            .strip_suffix(suffix)
            .filter(|id| !id.contains('/'))
            .map(str::to_string)
    }

    /// The number of this job, if its clip is ready.
    fn finished(&self, id: &str) -> Option<usize> {
        let log = self.shared.log();
        log.jobs.iter().position(|job| job.id == id).filter(|job| {
            log.jobs[*job].polls >= self.options.polls && log.jobs[*job].fate == Fate::Done
        })
    }

    fn poll(&self, id: &str) -> Option<(usize, Option<Fate>)> {
        self.shared.poll(self.options, id)
    }

    /// A fresh address of a job's clip.
    fn address(&self, job: usize) -> String {
        self.shared.address(self.options, job)
    }

    fn v1_videos(&self) -> Option<Reply> {
        if let Some(id) = self.segment("/v1/videos/", "/content") {
            let number = self.finished(&id)?;
            let job = self.shared.log().jobs[number].clone();
            return Some(Reply::bytes((self.options.maker)(&job.prompt, job.seed)));
        }
        let id = self.segment("/v1/videos/", "")?;
        let (_, fate) = self.poll(&id)?;
        let error = |code: &str| {
            let error = json!({ "code": code, "message": code });
            json!({ "id": id, "status": "failed", "error": error })
        };
        let body = match fate {
            None => {
                let state = match self.options.hostile {
                    Some(Hostile::State(word)) => word,
                    _ => "in_progress",
                };
                json!({ "id": id, "status": state, "progress": 50 })
            }
            Some(Fate::Refused) => error("moderation_blocked"),
            Some(Fate::Flaky) => error("internal_error"),
            Some(Fate::Failed) => error("unsupported"),
            Some(_) => json!({ "id": id, "status": "completed", "progress": 100 }),
        };
        Some(Reply::json(200, &body))
    }

    fn fal(&self) -> Option<Reply> {
        if let Some(id) = self.segment("/owner/model/requests/", "/status") {
            let (_, fate) = self.poll(&id)?;
            let error = |error: &str, kind: &str| {
                let body = json!({ "status": "COMPLETED", "error": error, "error_type": kind });
                Reply::json(200, &body)
            };
            return Some(match fate {
                None => Reply::json(202, &json!({ "status": "IN_PROGRESS" })),
                Some(Fate::Refused) => error("blocked", "content_policy_violation"),
                Some(Fate::Flaky) => error("gone", "runner_disconnected"),
                Some(Fate::Failed) => error("no", "bad_request"),
                Some(_) => Reply::json(200, &json!({ "status": "COMPLETED" })),
            });
        }
        let job = self.finished(&self.segment("/owner/model/requests/", "")?)?;
        let body = json!({ "video": { "url": self.address(job) }, "seed": 1 });
        Some(Reply::json(200, &body))
    }

    fn replicate(&self) -> Option<Reply> {
        let id = self.segment("/v1/predictions/", "")?;
        let (job, fate) = self.poll(&id)?;
        let failed = |error: &str| json!({ "id": id, "status": "failed", "error": error });
        let succeeded = |output: Value| {
            json!({
                "id": id,
                "status": "succeeded",
                "output": output,
                "error": null,
            })
        };
        let body = match fate {
            None => json!({ "id": id, "status": "processing", "output": null, "error": null }),
            Some(Fate::Refused) => failed("NSFW content detected"),
            Some(Fate::Flaky) => failed("Prediction interrupted; please retry (code: PA)"),
            Some(Fate::Failed) => failed("bad input"),
            // One model gives an address, another a list.
            Some(_) if job % 2 == 0 => succeeded(json!(self.address(job))),
            Some(_) => succeeded(json!([self.address(job)])),
        };
        Some(Reply::json(200, &body))
    }

    fn veo(&self) -> Option<Reply> {
        if let Some(id) = self.segment("/v1beta/files/", ":download") {
            // The key is good here, and not where this leads.
            return Some(Reply::redirect(&self.address(self.finished(&id)?)));
        }
        let id = self.segment(&format!("/v1beta/models/{MODEL}/operations/"), "")?;
        let (_, fate) = self.poll(&id)?;
        let done = |response: Value| {
            json!({
                "done": true,
                "response": { "generateVideoResponse": response },
            })
        };
        let error = |code: u32, message: &str| {
            json!({
                "done": true,
                "error": { "code": code, "message": message },
            })
        };
        let body = match fate {
            None => json!({ "name": id }),
            Some(Fate::Refused) => done(json!({
                "raiMediaFilteredCount": 1,
                "raiMediaFilteredReasons": ["blocked"],
            })),
            Some(Fate::Flaky) => error(14, "unavailable"),
            Some(Fate::Failed) => error(3, "bad"),
            Some(_) => {
                let api = self.shared.api;
                let uri = format!("http://{api}/v1beta/files/{id}:download?alt=media");
                done(json!({ "generatedSamples": [{ "video": { "uri": uri } }] }))
            }
        };
        Some(Reply::json(200, &body))
    }

    fn runway(&self) -> Option<Reply> {
        let id = self.segment("/v1/tasks/", "")?;
        let (job, fate) = self.poll(&id)?;
        let failed = |code: &str| {
            json!({
                "id": id,
                "status": "FAILED",
                "failure": "it failed",
                "failureCode": code,
            })
        };
        let body = match fate {
            None if job % 2 == 0 => json!({ "id": id, "status": "THROTTLED" }),
            None => json!({ "id": id, "status": "RUNNING" }),
            Some(Fate::Refused) => failed("SAFETY.INPUT.TEXT"),
            Some(Fate::Flaky) => failed("INTERNAL.BAD_OUTPUT.CODE01"),
            Some(Fate::Failed) => failed("ASSET.INVALID"),
            Some(_) => json!({ "id": id, "status": "SUCCEEDED", "output": [self.address(job)] }),
        };
        Some(Reply::json(200, &body))
    }

    fn kling(&self) -> Option<Reply> {
        let name = self.segment("/v1/videos/text2video/", "")?;
        let by_handle = self
            .shared
            .log()
            .jobs
            .iter()
            .find(|job| job.handle.as_deref() == Some(&name))
            .map(|job| job.id.clone());
        let Some((job, fate)) = self.poll(by_handle.as_deref().unwrap_or(&name)) else {
            let unknown = json!({ "code": 1203, "message": "no such task" });
            return Some(Reply::json(404, &unknown));
        };
        let id = self.shared.log().jobs[job].id.clone();
        let failed = |message: &str| {
            json!({
                "task_id": id,
                "task_status": "failed",
                "task_status_msg": message,
            })
        };
        let data = match fate {
            None => json!({ "task_id": id, "task_status": "processing" }),
            Some(Fate::Refused) => failed("failure to pass the risk control system"),
            Some(Fate::Flaky) => failed("internal error"),
            Some(Fate::Failed) => failed("bad parameters"),
            Some(_) => {
                let result = json!({ "videos": [{ "url": self.address(job) }] });
                json!({ "task_id": id, "task_status": "succeed", "task_result": result })
            }
        };
        let body = json!({ "code": 0, "message": "SUCCEED", "data": data });
        Some(Reply::json(200, &body))
    }

    fn dashscope(&self) -> Option<Reply> {
        let id = self.segment("/api/v1/tasks/", "")?;
        let (job, fate) = self.poll(&id)?;
        let failed = |code: &str| {
            let message = "it failed";
            json!({ "task_id": id, "task_status": "FAILED", "code": code, "message": message })
        };
        let output = match fate {
            None => json!({ "task_id": id, "task_status": "RUNNING" }),
            Some(Fate::Refused) => failed("DataInspectionFailed"),
            Some(Fate::Flaky) => failed("InternalError.Timeout"),
            Some(Fate::Failed) => failed("InvalidParameter"),
            Some(_) => {
                let address = self.address(job);
                json!({ "task_id": id, "task_status": "SUCCEEDED", "video_url": address })
            }
        };
        Some(Reply::json(200, &json!({ "output": output })))
    }
}
