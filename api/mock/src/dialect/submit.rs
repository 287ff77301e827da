//! What the providers answer to a submission.

use serde_json::{Value, json};

use super::{Dialect, MODEL};
use crate::{
    Options, hostile,
    state::{Accepted, Shared},
    wire::{Reply, Request},
};

/// The answer to a POST to `path`; `None` where nothing is submitted.
pub(super) fn submit(
    shared: &Shared,
    options: &Options,
    request: &Request,
    path: &str,
) -> Option<Reply> {
    let dialect = options.dialect;
    let body = request.json();
    let (expected, prompt, seed) = interface(dialect);
    if path != expected
        || (dialect == Dialect::DashScope && request.header("x-dashscope-async") != Some("enable"))
    {
        return None;
    }
    let Some(prompt) = body.pointer(prompt).and_then(Value::as_str) else {
        let no_prompt = json!({ "error": { "message": "no prompt" } });
        return Some(Reply::json(400, &no_prompt));
    };
    let seed = body.pointer(seed).and_then(Value::as_u64).unwrap_or(0);
    let handle = match dialect {
        Dialect::Kling => body["external_task_id"].as_str().map(str::to_string),
        _ => request
            .header("idempotency-key")
            .filter(|_| options.idempotency_key)
            .map(str::to_string),
    };
    let job = match shared.accept(options, handle, prompt, seed) {
        Accepted::New(job) => job,
        Accepted::Known(_) if dialect == Dialect::Kling => {
            let known = json!({ "code": 1201, "message": "external_task_id is not unique" });
            return Some(Reply::json(400, &known));
        }
        Accepted::Known(job) => job,
        Accepted::Refused => return Some(refused(dialect)),
    };
    let id = shared.log().jobs[job].id.clone();
    let base = format!("http://{}", shared.api);
    Some(accepted(options, &id, &base))
}

/// Where a provider is submitted to, and the JSON pointers of prompt and seed in the body.
fn interface(dialect: Dialect) -> (String, &'static str, &'static str) {
    match dialect {
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
    }
}

/// The answer to a submission that became the job of this id; `base`: the server's address.
fn accepted(options: &Options, id: &str, base: &str) -> Reply {
    let (base, query) = hostile::address(options, base);
    let (status, body) = match options.dialect {
        Dialect::V1Videos => (
            200,
            json!({ "id": id, "object": "video", "status": "queued", "progress": 0 }),
        ),
        Dialect::Fal => {
            let place = format!("{base}/owner/model/requests/{id}");
            (
                200,
                json!({
                    "request_id": id,
                    "status": "IN_QUEUE",
                    "status_url": format!("{place}/status{query}"),
                    "response_url": format!("{place}{query}"),
                }),
            )
        }
        Dialect::Replicate => {
            let get = format!("{base}/v1/predictions/{id}");
            (
                201,
                json!({ "id": id, "status": "starting", "urls": { "get": get } }),
            )
        }
        Dialect::Veo => (
            200,
            json!({ "name": format!("models/{MODEL}/operations/{id}") }),
        ),
        Dialect::Runway => (200, json!({ "id": id })),
        Dialect::Kling => (
            200,
            json!({
                "code": 0,
                "message": "SUCCEED",
                "data": { "task_id": id, "task_status": "submitted" },
            }),
        ),
        Dialect::DashScope => (
            200,
            json!({ "output": { "task_id": id, "task_status": "PENDING" }, "request_id": "r" }),
        ),
    };
    Reply::json(status, &body)
}

/// The answer to a submission whose prompt the provider refuses.
fn refused(dialect: Dialect) -> Reply {
    let (status, body) = match dialect {
        Dialect::V1Videos => (
            400,
            json!({ "error": { "code": "moderation_blocked", "message": "blocked" } }),
        ),
        Dialect::Fal => (
            422,
            json!({ "detail": [{ "type": "content_policy_violation", "msg": "blocked" }] }),
        ),
        Dialect::Replicate => (
            422,
            json!({ "title": "Invalid", "detail": "flagged as sensitive" }),
        ),
        Dialect::Veo => (
            400,
            json!({ "error": { "code": 400, "message": "violates Responsible AI practices" } }),
        ),
        Dialect::Runway => (400, json!({ "error": "the prompt was moderated" })),
        Dialect::Kling => (200, json!({ "code": 1301, "message": "risk control" })),
        Dialect::DashScope => (
            400,
            json!({ "code": "DataInspectionFailed", "message": "inappropriate content" }),
        ),
    };
    Reply::json(status, &body)
}
