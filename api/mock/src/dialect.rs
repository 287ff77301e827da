//! The shapes of the providers' answers.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    Accepted, Fate, Options, Shared,
    wire::{Reply, Request},
};

/// Whose shape a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The `/v1/videos` convention.
    V1Videos,
    /// fal's queue.
    Fal,
    /// Replicate.
    Replicate,
    /// Veo's long-running operations.
    Veo,
    /// Runway.
    Runway,
    /// Kling.
    Kling,
    /// DashScope.
    DashScope,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::V1Videos,
        Self::Fal,
        Self::Replicate,
        Self::Veo,
        Self::Runway,
        Self::Kling,
        Self::DashScope,
    ];

    /// The adapter that speaks it.
    pub fn adapter(self) -> &'static str {
        match self {
            Self::V1Videos => "v1-videos",
            Self::Fal => "fal",
            Self::Replicate => "replicate",
            Self::Veo => "veo",
            Self::Runway => "runway",
            Self::Kling => "kling",
            Self::DashScope => "dashscope",
        }
    }
}

/// The model that the server knows.
pub const MODEL: &str = "owner/model/path";

pub(crate) fn answer(shared: &Shared, options: &Options, request: &Request) -> Reply {
    if !authorised(options, request) {
        shared.log().unauthorised += 1;
        return match options.dialect {
            Dialect::Kling => Reply::json(
                401,
                &json!({ "code": 1000, "message": format!("wrong token {:?}", request.header("authorization")) }),
            ),
            // Some providers do quote what they were given.
            _ => Reply::json(
                401,
                &json!({ "error": { "message": format!("wrong key {:?}", request.header("authorization")) } }),
            ),
        };
    }
    let path = request.path.split('?').next().unwrap_or_default();
    let found = match request.method.as_str() {
        "POST" => submit(shared, options, request, path),
        _ => ask(shared, options, path),
    };
    found.unwrap_or_else(|| {
        Reply::json(
            404,
            &json!({ "error": { "message": "no such thing here" } }),
        )
    })
}

fn authorised(options: &Options, request: &Request) -> bool {
    let bearer = request.header("authorization");
    match options.dialect {
        Dialect::Fal => bearer == Some(&format!("Key {}", options.key)),
        Dialect::Veo => request.header("x-goog-api-key") == Some(&options.key),
        Dialect::Kling => bearer
            .and_then(|value| value.strip_prefix("Bearer "))
            .is_some_and(|token| token_is_valid(token, &options.key)),
        Dialect::Runway => {
            bearer == Some(&format!("Bearer {}", options.key))
                && request.header("x-runway-version").is_some()
        }
        _ => bearer == Some(&format!("Bearer {}", options.key)),
    }
}

/// HS256, the right issuer, begun, not over, and not longer than half an hour.
fn token_is_valid(token: &str, key: &str) -> bool {
    let parts: Vec<&str> = token.split('.').collect();
    let ([head, claims, signature], Some((issuer, secret))) = (&parts[..], key.split_once(':'))
    else {
        return false;
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
    let value = |part: &str| serde_json::from_slice::<Value>(&decode(part)).unwrap_or_default();
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return false;
    };
    mac.update(format!("{head}.{claims}").as_bytes());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (head, claims) = (value(head), value(claims));
    let (begin, end) = (
        claims["nbf"].as_u64().unwrap_or(u64::MAX),
        claims["exp"].as_u64().unwrap_or(0),
    );
    mac.verify_slice(&decode(signature)).is_ok()
        && head["alg"] == "HS256"
        && claims["iss"] == issuer
        && (begin..end).contains(&now)
        && end - now <= 1800
}

fn submit(shared: &Shared, options: &Options, request: &Request, path: &str) -> Option<Reply> {
    let body = request.json();
    let (expected, prompt, seed) = match options.dialect {
        Dialect::V1Videos => ("/v1/videos".to_string(), "/prompt", "/seed"),
        Dialect::Fal => (format!("/{MODEL}"), "/prompt", "/seed"),
        Dialect::Replicate => (
            format!("/v1/models/{MODEL}/predictions"),
            "/input/prompt",
            "/input/seed",
        ),
        Dialect::Veo => (
            format!("/v1beta/models/{MODEL}:predictLongRunning"),
            "/instances/0/prompt",
            "/parameters/seed",
        ),
        Dialect::Runway => ("/v1/text_to_video".to_string(), "/promptText", "/seed"),
        Dialect::Kling => ("/v1/videos/text2video".to_string(), "/prompt", "/seed"),
        Dialect::DashScope => (
            "/api/v1/services/aigc/video-generation/video-synthesis".to_string(),
            "/input/prompt",
            "/parameters/seed",
        ),
    };
    if path != expected
        || (options.dialect == Dialect::DashScope
            && request.header("x-dashscope-async") != Some("enable"))
    {
        return None;
    }
    let Some(prompt) = body.pointer(prompt).and_then(Value::as_str) else {
        return Some(Reply::json(
            400,
            &json!({ "error": { "message": "no prompt" } }),
        ));
    };
    let seed = body.pointer(seed).and_then(Value::as_u64).unwrap_or(0);
    let handle = match options.dialect {
        Dialect::Kling => body["external_task_id"].as_str().map(str::to_string),
        _ => request
            .header("idempotency-key")
            .filter(|_| options.idempotency_key)
            .map(str::to_string),
    };
    let job = match shared.accept(options, handle, prompt, seed) {
        Accepted::New(job) => job,
        Accepted::Known(_) if options.dialect == Dialect::Kling => {
            return Some(Reply::json(
                400,
                &json!({ "code": 1201, "message": "external_task_id is not unique" }),
            ));
        }
        Accepted::Known(job) => job,
        Accepted::Refused => return Some(refused(options.dialect)),
    };
    let id = shared.log().jobs[job].id.clone();
    let base = format!("http://{}", shared.api);
    Some(match options.dialect {
        Dialect::V1Videos => Reply::json(
            200,
            &json!({ "id": id, "object": "video", "status": "queued", "progress": 0 }),
        ),
        Dialect::Fal => {
            let place = format!("{base}/owner/model/requests/{id}");
            Reply::json(
                200,
                &json!({ "request_id": id, "status": "IN_QUEUE", "status_url": format!("{place}/status"), "response_url": place }),
            )
        }
        Dialect::Replicate => Reply::json(
            201,
            &json!({ "id": id, "status": "starting", "urls": { "get": format!("{base}/v1/predictions/{id}") } }),
        ),
        Dialect::Veo => Reply::json(
            200,
            &json!({ "name": format!("models/{MODEL}/operations/{id}") }),
        ),
        Dialect::Runway => Reply::json(200, &json!({ "id": id })),
        Dialect::Kling => Reply::json(
            200,
            &json!({ "code": 0, "message": "SUCCEED", "data": { "task_id": id, "task_status": "submitted" } }),
        ),
        Dialect::DashScope => Reply::json(
            200,
            &json!({ "output": { "task_id": id, "task_status": "PENDING" }, "request_id": "r" }),
        ),
    })
}

fn refused(dialect: Dialect) -> Reply {
    match dialect {
        Dialect::V1Videos => Reply::json(
            400,
            &json!({ "error": { "code": "moderation_blocked", "message": "blocked" } }),
        ),
        Dialect::Fal => Reply::json(
            422,
            &json!({ "detail": [{ "type": "content_policy_violation", "msg": "blocked" }] }),
        ),
        Dialect::Replicate => Reply::json(
            422,
            &json!({ "title": "Invalid", "detail": "flagged as sensitive" }),
        ),
        Dialect::Veo => Reply::json(
            400,
            &json!({ "error": { "code": 400, "message": "violates Responsible AI practices" } }),
        ),
        Dialect::Runway => Reply::json(400, &json!({ "error": "the prompt was moderated" })),
        Dialect::Kling => Reply::json(200, &json!({ "code": 1301, "message": "risk control" })),
        Dialect::DashScope => Reply::json(
            400,
            &json!({ "code": "DataInspectionFailed", "message": "inappropriate content" }),
        ),
    }
}

fn ask(shared: &Shared, options: &Options, path: &str) -> Option<Reply> {
    let dialect = options.dialect;
    let segment = |prefix: &str, suffix: &str| {
        path.strip_prefix(prefix)?
            .strip_suffix(suffix)
            .filter(|id| !id.contains('/'))
            .map(str::to_string)
    };
    let finished = |id: &str| {
        let log = shared.log();
        log.jobs.iter().position(|job| job.id == id).filter(|job| {
            log.jobs[*job].polls >= options.polls && log.jobs[*job].fate == Fate::Done
        })
    };
    match dialect {
        Dialect::V1Videos => {
            if let Some(id) = segment("/v1/videos/", "/content") {
                let number = finished(&id)?;
                let job = shared.log().jobs[number].clone();
                return Some(Reply::bytes((options.maker)(&job.prompt, job.seed)));
            }
            let id = segment("/v1/videos/", "")?;
            let (_, fate) = shared.poll(options, &id)?;
            let error = |code: &str| json!({ "id": id, "status": "failed", "error": { "code": code, "message": code } });
            Some(Reply::json(
                200,
                &match fate {
                    None => json!({ "id": id, "status": "in_progress", "progress": 50 }),
                    Some(Fate::Refused) => error("moderation_blocked"),
                    Some(Fate::Flaky) => error("internal_error"),
                    Some(Fate::Failed) => error("unsupported"),
                    Some(_) => json!({ "id": id, "status": "completed", "progress": 100 }),
                },
            ))
        }
        Dialect::Fal => {
            if let Some(id) = segment("/owner/model/requests/", "/status") {
                let (_, fate) = shared.poll(options, &id)?;
                return Some(match fate {
                    None => Reply::json(202, &json!({ "status": "IN_PROGRESS" })),
                    Some(Fate::Refused) => Reply::json(
                        200,
                        &json!({ "status": "COMPLETED", "error": "blocked", "error_type": "content_policy_violation" }),
                    ),
                    Some(Fate::Flaky) => Reply::json(
                        200,
                        &json!({ "status": "COMPLETED", "error": "gone", "error_type": "runner_disconnected" }),
                    ),
                    Some(Fate::Failed) => Reply::json(
                        200,
                        &json!({ "status": "COMPLETED", "error": "no", "error_type": "bad_request" }),
                    ),
                    Some(_) => Reply::json(200, &json!({ "status": "COMPLETED" })),
                });
            }
            let job = finished(&segment("/owner/model/requests/", "")?)?;
            Some(Reply::json(
                200,
                &json!({ "video": { "url": shared.address(options, job) }, "seed": 1 }),
            ))
        }
        Dialect::Replicate => {
            let id = segment("/v1/predictions/", "")?;
            let (job, fate) = shared.poll(options, &id)?;
            Some(Reply::json(
                200,
                &match fate {
                    None => {
                        json!({ "id": id, "status": "processing", "output": null, "error": null })
                    }
                    Some(Fate::Refused) => json!({ "id": id, "status": "failed", "error": "NSFW \
                        content detected" }),
                    Some(Fate::Flaky) => {
                        json!({ "id": id, "status": "failed", "error": "Prediction interrupted; \
                            please retry (code: PA)" })
                    }
                    Some(Fate::Failed) => json!({ "id": id, "status": "failed", "error": "bad \
                        input" }),
                    // One model gives an address, another a list.
                    Some(_) if job % 2 == 0 => {
                        json!({ "id": id, "status": "succeeded", "output": shared.address(options, job), "error": null })
                    }
                    Some(_) => {
                        json!({ "id": id, "status": "succeeded", "output": [shared.address(options, job)], "error": null })
                    }
                },
            ))
        }
        Dialect::Veo => {
            if let Some(id) = segment("/v1beta/files/", ":download") {
                // The key is good here, and not where this leads.
                return Some(Reply::redirect(&shared.address(options, finished(&id)?)));
            }
            let id = segment(&format!("/v1beta/models/{MODEL}/operations/"), "")?;
            let (_, fate) = shared.poll(options, &id)?;
            let video = json!({ "video": { "uri": format!("http://{}/v1beta/files/{id}:download?alt=media", shared.api) } });
            Some(Reply::json(
                200,
                &match fate {
                    None => json!({ "name": id }),
                    Some(Fate::Refused) => {
                        json!({ "done": true, "response": { "generateVideoResponse": { "raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["blocked"] } } })
                    }
                    Some(Fate::Flaky) => {
                        json!({ "done": true, "error": { "code": 14, "message": "unavailable" } })
                    }
                    Some(Fate::Failed) => {
                        json!({ "done": true, "error": { "code": 3, "message": "bad" } })
                    }
                    Some(_) => {
                        json!({ "done": true, "response": { "generateVideoResponse": { "generatedSamples": [video] } } })
                    }
                },
            ))
        }
        Dialect::Runway => {
            let id = segment("/v1/tasks/", "")?;
            let (job, fate) = shared.poll(options, &id)?;
            let failed = |code: &str| json!({ "id": id, "status": "FAILED", "failure": "it failed", "failureCode": code });
            Some(Reply::json(
                200,
                &match fate {
                    None => {
                        json!({ "id": id, "status": if job % 2 == 0 { "THROTTLED" } else { "RUNNING" } })
                    }
                    Some(Fate::Refused) => failed("SAFETY.INPUT.TEXT"),
                    Some(Fate::Flaky) => failed("INTERNAL.BAD_OUTPUT.CODE01"),
                    Some(Fate::Failed) => failed("ASSET.INVALID"),
                    Some(_) => {
                        json!({ "id": id, "status": "SUCCEEDED", "output": [shared.address(options, job)] })
                    }
                },
            ))
        }
        Dialect::Kling => {
            let name = segment("/v1/videos/text2video/", "")?;
            let by_handle = shared
                .log()
                .jobs
                .iter()
                .find(|job| job.handle.as_deref() == Some(&name))
                .map(|job| job.id.clone());
            let Some((job, fate)) = shared.poll(options, by_handle.as_deref().unwrap_or(&name))
            else {
                return Some(Reply::json(
                    404,
                    &json!({ "code": 1203, "message": "no such task" }),
                ));
            };
            let id = shared.log().jobs[job].id.clone();
            let failed = |message: &str| json!({ "task_id": id, "task_status": "failed", "task_status_msg": message });
            let data = match fate {
                None => json!({ "task_id": id, "task_status": "processing" }),
                Some(Fate::Refused) => failed("failure to pass the risk control system"),
                Some(Fate::Flaky) => failed("internal error"),
                Some(Fate::Failed) => failed("bad parameters"),
                Some(_) => {
                    json!({ "task_id": id, "task_status": "succeed", "task_result": { "videos": [{ "url": shared.address(options, job) }] } })
                }
            };
            Some(Reply::json(
                200,
                &json!({ "code": 0, "message": "SUCCEED", "data": data }),
            ))
        }
        Dialect::DashScope => {
            let id = segment("/api/v1/tasks/", "")?;
            let (job, fate) = shared.poll(options, &id)?;
            let failed = |code: &str| json!({ "task_id": id, "task_status": "FAILED", "code": code, "message": "it failed" });
            let output = match fate {
                None => json!({ "task_id": id, "task_status": "RUNNING" }),
                Some(Fate::Refused) => failed("DataInspectionFailed"),
                Some(Fate::Flaky) => failed("InternalError.Timeout"),
                Some(Fate::Failed) => failed("InvalidParameter"),
                Some(_) => {
                    json!({ "task_id": id, "task_status": "SUCCEEDED", "video_url": shared.address(options, job) })
                }
            };
            Some(Reply::json(200, &json!({ "output": output })))
        }
    }
}
