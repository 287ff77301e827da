//! The shapes of the providers' answers.

mod ask;
mod submit;

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    Options,
    state::Shared,
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
    /// All dialects.
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
        let header = request.header("authorization");
        let body = match options.dialect {
            Dialect::Kling => json!({ "code": 1000, "message": format!("wrong token {header:?}") }),
            // Some providers do quote what they were given.
            _ => json!({ "error": { "message": format!("wrong key {header:?}") } }),
        };
        return Reply::json(401, &body);
    }
    let path = request.path.split('?').next().unwrap_or_default();
    let found = match request.method.as_str() {
        "POST" => submit::submit(shared, options, request, path),
        _ => ask::ask(shared, options, path),
    };
    let nothing = json!({ "error": { "message": "no such thing here" } });
    found.unwrap_or_else(|| Reply::json(404, &nothing))
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
