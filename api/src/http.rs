//! One request, one answer: what went wrong is told apart by what it means for money, and nothing
//! secret is in it.

mod connection;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Read},
    time::{Duration, SystemTime},
};

use serde_json::Value;
use ureq::{Agent, config::Config};

use crate::{address::redirected, pace::retry_after};
use connection::Connection;

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
    /// Where a redirect leads; it is not followed.
    pub location: Option<String>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct NoAnswer {
    /// Whether the request certainly did not reach the provider: there was no connection that it
    /// could have been sent through.
    pub unsent: bool,
    /// Without addresses or headers.
    pub reason: String,
}

/// Why there is no clip.
#[derive(Debug)]
pub(crate) enum NoClip {
    /// The network or the server.
    Network(String),
    /// Its address leads to where clips are not fetched from.
    Elsewhere(String),
    /// The disk.
    Disk(io::Error),
}

/// What a download may do at each address on its way.
pub(crate) trait Way {
    /// The headers for an address: no key for any but the provider's own.
    fn headers(&self, url: &str) -> Vec<(String, String)>;
    /// Whether it may be asked at all.
    fn is_allowed(&self, url: &str) -> bool;
    /// Asked between pieces.
    fn stopping(&self) -> bool;
}

/// A client of one provider. Connections are not kept: whether a request that died on an old one
/// had arrived could not be told.
#[derive(Debug)]
pub(crate) struct Http {
    config: Config,
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
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .timeout_send_request(Some(timeouts.answer))
            .timeout_send_body(Some(timeouts.answer))
            .timeout_recv_response(Some(timeouts.answer))
            .user_agent(concat!("afd/", env!("CARGO_PKG_VERSION")));
        let config = if local { config.proxy(None) } else { config };
        Self {
            config: config.build(),
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
        self.ask_through(&Connection::new(&self.config), url, headers, body)
    }

    fn ask_through(
        &self,
        connection: &Connection,
        url: &str,
        headers: &[(String, String)],
        body: Option<&Value>,
    ) -> Result<Answer, NoAnswer> {
        let time = self.timeouts.answer;
        let result = match body {
            Some(body) => {
                let mut request = connection
                    .agent
                    .post(url)
                    .header("Content-Type", "application/json");
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                request
                    .config()
                    .timeout_recv_body(Some(time))
                    .build()
                    .send(body.to_string().as_bytes())
            }
            None => get(connection, url, headers, time),
        };
        let mut response = result.map_err(|error| connection.no_answer(&error))?;
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_string())
        };
        let retry_after =
            header("retry-after").and_then(|value| retry_after(&value, SystemTime::now()));
        let (status, location) = (response.status().as_u16(), header("location"));
        let bytes = response
            .body_mut()
            .with_config()
            .limit(LONGEST_ANSWER)
            .read_to_vec()
            .map_err(|error| connection.no_answer(&error))?;
        Ok(Answer {
            status,
            json: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            retry_after,
            location,
        })
    }

    /// A clip into `target`, along redirects. Gives the last address and its status; `target` is
    /// filled only if that is 200.
    pub fn download(
        &self,
        url: &str,
        way: &dyn Way,
        target: &mut dyn io::Write,
    ) -> Result<(String, u16), NoClip> {
        let mut url = url.to_string();
        for _ in 0..=MOST_REDIRECTS {
            if !way.is_allowed(&url) {
                return Err(NoClip::Elsewhere(url));
            }
            let connection = Connection::new(&self.config);
            let mut response = get(&connection, &url, &way.headers(&url), self.timeouts.clip)
                .map_err(|error| NoClip::Network(connection.no_answer(&error).reason))?;
            let status = response.status().as_u16();
            if (300..400).contains(&status) {
                let location = response
                    .headers()
                    .get("location")
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default();
                url = redirected(&url, location)
                    .ok_or_else(|| NoClip::Elsewhere(location.to_string()))?;
                continue;
            }
            if status != 200 {
                return Ok((url, status));
            }
            let mut reader = response.body_mut().as_reader().take(LONGEST_CLIP + 1);
            return copy(&mut reader, way, target).map(|()| (url, 200));
        }
        Err(NoClip::Network("it redirects too often".to_string()))
    }
}

fn get(
    connection: &Connection,
    url: &str,
    headers: &[(String, String)],
    body_time: Duration,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let mut request = connection.agent.get(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
        .config()
        .timeout_recv_body(Some(body_time))
        .build()
        .call()
}

fn copy(reader: &mut dyn Read, way: &dyn Way, target: &mut dyn io::Write) -> Result<(), NoClip> {
    let mut piece = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        if way.stopping() {
            return Err(NoClip::Network("stopped".to_string()));
        }
        let length = reader
            .read(&mut piece)
            .map_err(|error| NoClip::Network(format!("the clip broke off: {}", error.kind())))?;
        if length == 0 {
            return target.flush().map_err(NoClip::Disk);
        }
        total += length as u64;
        if total > LONGEST_CLIP {
            return Err(NoClip::Network(format!(
                "the clip is longer than {LONGEST_CLIP} bytes"
            )));
        }
        target.write_all(&piece[..length]).map_err(NoClip::Disk)?;
    }
}
