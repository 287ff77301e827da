//! How long to wait: growing, jittered, and as long as a provider asks.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Waits between polls, and before a request that failed is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pace {
    /// Seconds before the first poll, and after the first failure.
    pub first_secs: f64,
    /// How much longer each further wait is, >= 1.
    pub growth: f64,
    /// Longest wait in seconds.
    pub longest_secs: f64,
    /// Up to this share is added at random, so that many clients do not come back at once; in
    /// [0, 1].
    pub jitter: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first_secs: 2.0,
            growth: 1.5,
            longest_secs: 10.0,
            jitter: 0.5,
        }
    }
}

impl Pace {
    /// What cannot be waited, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let Self {
            first_secs,
            growth,
            longest_secs,
            jitter,
        } = *self;
        let good = first_secs > 0.0
            && longest_secs >= first_secs
            && longest_secs <= 3600.0
            && (1.0..=10.0).contains(&growth);
        (!good || !(0.0..=1.0).contains(&jitter)).then(|| {
            format!(
                "pace is {self:?}; expected 0 < first_secs <= longest_secs <= 3600, growth in [1, \
                    10] and jitter in [0, 1]"
            )
        })
    }

    /// The wait number `count`, from 0; `random` in [0, 1).
    pub(crate) fn wait(&self, count: u32, random: f64) -> Duration {
        let plain =
            (self.first_secs * self.growth.powi(count.min(64) as i32)).min(self.longest_secs);
        Duration::from_secs_f64(plain * (1.0 + self.jitter * random))
    }
}

/// The longest wait that a provider may ask for; a wrong clock at the other end must not stop a
/// fetch for a year.
const LONGEST_ASKED: Duration = Duration::from_secs(15 * 60);

/// What a `Retry-After` header asks for: seconds, or a date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    let asked = match header.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(header)
            .ok()?
            .duration_since(now)
            .unwrap_or(Duration::ZERO),
    };
    Some(asked.min(LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_jitter_only_adds() {
        let pace = Pace::default();
        let waits = |random: f64| {
            (0..6)
                .map(|count| pace.wait(count, random).as_secs_f64())
                .collect::<Vec<_>>()
        };
        assert_eq!(waits(0.0), [2.0, 3.0, 4.5, 6.75, 10.0, 10.0]);
        assert!(
            waits(0.999)
                .iter()
                .zip(waits(0.0))
                .all(|(with, without)| *with >= without && *with <= without * 1.5)
        );
        assert_eq!(pace.wait(u32::MAX, 0.0).as_secs_f64(), 10.0);
        assert!(
            pace.problem().is_none()
                && Pace {
                    jitter: f64::NAN,
                    ..pace
                }
                .problem()
                .is_some()
        );
        assert!(
            Pace {
                first_secs: 0.0,
                ..pace
            }
            .problem()
            .is_some()
                && Pace {
                    growth: 0.5,
                    ..pace
                }
                .problem()
                .is_some()
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_has_an_end() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        for (header, seconds) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("999999999", Some(900)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(
                retry_after(header, now).map(|wait| wait.as_secs()),
                seconds,
                "{header}"
            );
        }
    }
}
