//! The header that signs a request.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use crate::{ApiError, adapter::Auth, secret::Secret, service::KEY_MISSING};

/// Name and value; `None` where requests are not signed. `now`: seconds since 1970.
pub(crate) fn header(
    auth: &Auth,
    key: Option<&Secret>,
    now: u64,
) -> Result<Option<(String, String)>, ApiError> {
    let needed = || ApiError::Settings(format!("teacher.api.{KEY_MISSING}"));
    let key = match (auth, key) {
        (Auth::None, _) => return Ok(None),
        (_, key) => key.ok_or_else(needed)?.reveal(),
    };
    let (name, value) = match auth {
        Auth::Bearer => ("Authorization", format!("Bearer {key}")),
        Auth::Key => ("Authorization", format!("Key {key}")),
        Auth::Header { name } => (name.as_str(), key.to_string()),
        Auth::JwtHs256 { lifetime_secs } => (
            "Authorization",
            format!("Bearer {}", token(key, now, *lifetime_secs)?),
        ),
        Auth::None => return Ok(None),
    };
    Ok(Some((name.to_string(), value)))
}

/// What of the key must not be shown: the whole and both halves of a pair, as they are, in base64
/// and as in addresses.
pub(crate) fn hidden(key: Option<&Secret>) -> Vec<String> {
    let Some(key) = key.map(Secret::reveal) else {
        return Vec::new();
    };
    let mut parts = vec![key.to_string()];
    parts.extend(
        key.split_once(':')
            .into_iter()
            .flat_map(|(issuer, secret)| [secret.to_string(), issuer.to_string()]),
    );
    // Shorter ones are in any text.
    parts.retain(|part| part.len() >= 4);
    let encoded = parts.iter().flat_map(|part| {
        let percent = |lower: bool| percent_encoded(part, lower);
        [STANDARD.encode(part), percent(true), percent(false)]
    });
    let encoded: Vec<String> = encoded.collect();
    parts.extend(encoded.into_iter().filter(|part| part.len() >= 8));
    parts.dedup();
    parts
}

fn percent_encoded(text: &str, lower: bool) -> String {
    let letter = |byte: u8| match byte {
        _ if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => {
            char::from(byte).to_string()
        }
        _ if lower => format!("%{byte:02x}"),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}

/// A JSON web token (RFC 7519) of an `ISSUER:SECRET` pair: valid from 5 seconds ago, as clocks
/// differ.
fn token(key: &str, now: u64, lifetime_secs: u64) -> Result<String, ApiError> {
    let pair = key
        .split_once(':')
        .filter(|(issuer, secret)| !issuer.is_empty() && !secret.is_empty());
    let (issuer, secret) = pair.ok_or_else(|| {
        ApiError::Settings(
            "the key is no pair; this adapter needs ACCESS_KEY:SECRET_KEY".to_string(),
        )
    })?;
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "iss": issuer, "exp": now + lifetime_secs, "nbf": now.saturating_sub(5) });
    let signed = format!(
        "{}.{}",
        part(json!({ "alg": "HS256", "typ": "JWT" })),
        part(claims)
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|_| ApiError::Settings("the secret half of the key cannot sign".to_string()))?;
    mac.update(signed.as_bytes());
    Ok(format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_verifies_and_says_who_and_how_long() {
        let token = token("access:secret", 1_000_000, 1800).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        assert_eq!(
            claims,
            json!({ "iss": "access", "exp": 1_001_800, "nbf": 999_995 })
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(b"secret").unwrap();
        mac.update(format!("{}.{}", parts[0], parts[1]).as_bytes());
        mac.verify_slice(&URL_SAFE_NO_PAD.decode(parts[2]).unwrap())
            .unwrap();
    }

    #[test]
    fn signatures_equal_the_published_example() {
        // RFC 4231, test case 2.
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        let hex: String = mac
            .finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_key_is_hidden_in_every_spelling() {
        let hidden = hidden(Some(&Secret::new("AK12:s+/cret".to_string())));
        for spelling in [
            "AK12:s+/cret",
            "AK12",
            "s+/cret",
            "s%2B%2Fcret",
            "s%2b%2fcret",
        ] {
            assert!(hidden.iter().any(|part| part == spelling), "{spelling}");
        }
        assert!(hidden.contains(&STANDARD.encode("AK12:s+/cret")));
        assert!(super::hidden(Some(&Secret::new("abc".to_string()))).is_empty());
    }

    #[test]
    fn each_kind_has_its_header_and_a_missing_key_is_named() {
        let key = Secret::new("k".to_string());
        let of = |auth: &Auth| header(auth, Some(&key), 0).unwrap();
        let pair = |name: &str, value: &str| Some((name.to_string(), value.to_string()));
        assert_eq!(of(&Auth::Bearer), pair("Authorization", "Bearer k"));
        assert_eq!(of(&Auth::Key), pair("Authorization", "Key k"));
        assert_eq!(
            of(&Auth::Header {
                name: "x-goog-api-key".to_string()
            }),
            pair("x-goog-api-key", "k")
        );
        assert_eq!(header(&Auth::None, None, 0).unwrap(), None);
        assert!(
            header(&Auth::Bearer, None, 0)
                .unwrap_err()
                .to_string()
                .contains("teacher.api.key")
        );
        let message = header(
            &Auth::JwtHs256 { lifetime_secs: 1 },
            Some(&Secret::new("justone".to_string())),
            0,
        )
        .unwrap_err()
        .to_string();
        assert!(
            message.contains("ACCESS_KEY:SECRET_KEY") && !message.contains("justone"),
            "{message}"
        );
    }
}
