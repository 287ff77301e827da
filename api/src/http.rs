//! One request, one answer: what went wrong is told apart by what it means for money, and nothing
//! secret is in it.

use std::{
    io::{self, Read},
    time::{Duration, SystemTime},
};

use serde_json::Value;
use ureq::Agent;

use crate::pace::retry_after;

/// Bytes of an answer that is not a clip: enough for any status, little enough for any memory.
const LONGEST_ANSWER: u64 = 4 << 20;
/// Bytes of a clip.
const LONGEST_CLIP: u64 = 1 << 30;
/// Redirects of a download.
const MOST_REDIRECTS: usize = 5;

/// How long the parts of a request may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub connect: Duration,
    pub answer: Duration,
    pub clip: Duration,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    /// JSON, or null.
    pub json: Value,
    /// What `Retry-After` asks for.
    pub retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct NoAnswer {
    /// Whether the request certainly did not reach the provider.
    pub unsent: bool,
    /// Without addresses or headers.
    pub reason: String,
}

/// A client of one provider. Connections are not kept: whether a request that died on an old one
/// had arrived could not be told.
#[derive(Debug)]
pub(crate) struct Http {
    agent: Agent,
    timeouts: Timeouts,
}

impl Http {
    /// `local`: a provider on this machine, which no proxy is asked for.
    pub fn new(timeouts: Timeouts, local: bool) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .timeout_connect(Some(timeouts.connect))
            .timeout_send_request(Some(timeouts.answer))
            .timeout_send_body(Some(timeouts.answer))
            .timeout_recv_response(Some(timeouts.answer))
            .user_agent(concat!("afd/", env!("CARGO_PKG_VERSION")));
        let config = if local { config.proxy(None) } else { config };
        Self {
            agent: config.build().into(),
            timeouts,
        }
    }

    /// A POST of JSON, or a GET.
    pub fn ask(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: Option<&Value>,
    ) -> Result<Answer, NoAnswer> {
        let result = match body {
            Some(body) => {
                let mut request = self
                    .agent
                    .post(url)
                    .header("Content-Type", "application/json");
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                request
                    .config()
                    .timeout_recv_body(Some(self.timeouts.answer))
                    .build()
                    .send(body.to_string().as_bytes())
            }
            None => self.get(url, headers, self.timeouts.answer),
        };
        let mut response = result.map_err(no_answer)?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, SystemTime::now()));
        let bytes = response
            .body_mut()
            .with_config()
            .limit(LONGEST_ANSWER)
            .read_to_vec()
            .map_err(|error| {
                // The head of the answer is there: the request arrived.
                NoAnswer {
                    unsent: false,
                    ..no_answer(error)
                }
            })?;
        Ok(Answer {
            status,
            json: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            retry_after,
        })
    }

    fn get(
        &self,
        url: &str,
        headers: &[(String, String)],
        body_time: Duration,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let mut request = self.agent.get(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request
            .config()
            .timeout_recv_body(Some(body_time))
            .build()
            .call()
    }

    /// A clip into `target`. `headers_for` gives the headers of each address on the way, so that a
    /// redirect to elsewhere gets no key. Gives the status; `target` is filled only if that is 200.
    /// `stop` is asked between pieces.
    pub fn download(
        &self,
        url: &str,
        headers_for: &dyn Fn(&str) -> Vec<(String, String)>,
        target: &mut dyn io::Write,
        stop: &dyn Fn() -> bool,
    ) -> Result<u16, NoAnswer> {
        let mut url = url.to_string();
        for _ in 0..=MOST_REDIRECTS {
            let mut response = self
                .get(&url, &headers_for(&url), self.timeouts.clip)
                .map_err(no_answer)?;
            let status = response.status().as_u16();
            if (300..400).contains(&status) {
                let location = response
                    .headers()
                    .get("location")
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default();
                url = redirected(&url, location)
                    .ok_or_else(|| problem("it redirects to an address that is not https"))?;
                continue;
            }
            if status != 200 {
                return Ok(status);
            }
            let mut reader = response.body_mut().as_reader().take(LONGEST_CLIP + 1);
            let mut piece = vec![0; 64 << 10];
            let mut total = 0;
            loop {
                if stop() {
                    return Err(problem("stopped"));
                }
                let length = match reader.read(&mut piece) {
                    Ok(length) => length,
                    Err(error) => {
                        return Err(problem(&format!("the clip broke off: {}", error.kind())));
                    }
                };
                if length == 0 {
                    return Ok(200);
                }
                total += length as u64;
                if total > LONGEST_CLIP {
                    return Err(problem(&format!(
                        "the clip is longer than {LONGEST_CLIP} bytes"
                    )));
                }
                target
                    .write_all(&piece[..length])
                    .map_err(|error| problem(&format!("the clip cannot be stored: {error}")))?;
            }
        }
        Err(problem("it redirects too often"))
    }
}

fn problem(reason: &str) -> NoAnswer {
    NoAnswer {
        unsent: false,
        reason: reason.to_string(),
    }
}

/// Where a redirect leads: absolute addresses, and paths at the same origin.
fn redirected(from: &str, location: &str) -> Option<String> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(format!("{}{location}", origin(from)?));
    }
    // Never from https down to http.
    let kept = location.starts_with("https://")
        || (location.starts_with("http://") && from.starts_with("http://"));
    (kept && origin(location).is_some()).then(|| location.to_string())
}

/// Scheme, host and port of an address that names no user.
pub(crate) fn origin(url: &str) -> Option<&str> {
    let start = ["https://", "http://"]
        .iter()
        .find(|scheme| url.starts_with(**scheme))?
        .len();
    let end = url[start..]
        .find(['/', '?', '#', '\\'])
        .map_or(url.len(), |end| start + end);
    let host = &url[start..end];
    (!host.is_empty() && !host.contains('@') && host.bytes().all(|byte| byte.is_ascii_graphic()))
        .then_some(&url[..end])
}

/// Whether an address is on this machine.
pub(crate) fn is_local(url: &str) -> bool {
    let host = origin(url)
        .and_then(|origin| origin.split_once("://"))
        .map_or("", |(_, host)| host);
    let name = host.strip_prefix("[::1]").map_or_else(
        || host.split(':').next().unwrap_or_default(),
        |_| "localhost",
    );
    name == "localhost" || name == "127.0.0.1"
}

fn no_answer(error: ureq::Error) -> NoAnswer {
    use ureq::{Error, Timeout};
    let (unsent, reason) = match &error {
        Error::HostNotFound => (true, "the host was not found".to_string()),
        Error::ConnectionFailed => (true, "the connection was refused".to_string()),
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
            (true, "connecting took too long".to_string())
        }
        Error::Timeout(part) => (false, format!("it took too long ({part})")),
        Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            (true, "the connection was refused".to_string())
        }
        Error::Io(error) => (false, format!("the connection broke: {}", error.kind())),
        Error::Tls(_) | Error::Rustls(_) => {
            (true, "no secure connection could be made".to_string())
        }
        Error::BadUri(_) | Error::RequireHttpsOnly(_) => {
            (true, "the address cannot be used".to_string())
        }
        Error::BodyExceedsLimit(limit) => {
            (false, format!("the answer is longer than {limit} bytes"))
        }
        // Others may quote what was sent.
        _ => (false, "the answer cannot be understood".to_string()),
    };
    NoAnswer { unsent, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_scheme_host_and_port_and_nothing_that_hides_them() {
        for (url, expected) in [
            ("https://a.b/c?d", Some("https://a.b")),
            ("http://127.0.0.1:80", Some("http://127.0.0.1:80")),
            ("https://a.b?x=/", Some("https://a.b")),
            ("https://key@a.b/c", None),
            ("https:///c", None),
            ("ftp://a.b", None),
            ("file:///etc/passwd", None),
            ("https://a b/", None),
        ] {
            assert_eq!(origin(url), expected, "{url}");
        }
        assert!(
            is_local("http://127.0.0.1:80/x")
                && is_local("http://localhost")
                && is_local("http://[::1]:9/")
        );
        assert!(!is_local("http://127.0.0.1.evil.com/") && !is_local("https://localhost.evil.com"));
    }

    #[test]
    fn redirects_never_leave_https() {
        assert_eq!(
            redirected("https://a/b", "/c?d").as_deref(),
            Some("https://a/c?d")
        );
        assert_eq!(
            redirected("https://a/b", "https://e/f").as_deref(),
            Some("https://e/f")
        );
        assert_eq!(
            redirected("http://a/b", "http://e/f").as_deref(),
            Some("http://e/f")
        );
        for location in ["http://e/f", "//e/f", "file:///etc/passwd", "", "c"] {
            assert_eq!(redirected("https://a/b", location), None, "{location}");
        }
    }

    #[test]
    fn a_refused_connection_is_known_not_to_have_sent_anything() {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let second = Duration::from_secs(1);
        let http = Http::new(
            Timeouts {
                connect: second,
                answer: second,
                clip: second,
            },
            true,
        );
        let error = http
            .ask(
                &format!("http://127.0.0.1:{port}/?sig=S3"),
                &[],
                Some(&Value::Null),
            )
            .unwrap_err();
        assert!(error.unsent && !error.reason.contains("S3"), "{error:?}");
    }
}
