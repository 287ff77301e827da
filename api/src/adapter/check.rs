//! What makes an adapter one that can work.

use ureq::http::{HeaderName, HeaderValue};

use super::{Adapter, Auth, Handle, MergeError, NumberError, ResultKind, Rule};
use crate::template;

/// Most jobs that may be under way at once: each has a thread.
pub(crate) const MOST_JOBS: usize = 256;

/// Why a text is no adapter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdapterError {
    /// A number or a date that cannot be sent.
    #[error(transparent)]
    Number(#[from] NumberError),
    /// A text with characters that a terminal obeys, or that cannot stand in a header.
    #[error("{0} holds characters that cannot be printed or sent; expected one plain line")]
    Text(&'static str),
    /// A limit that cannot be kept.
    #[error(
        "limits and auth hold a number that cannot work: concurrency is 0 to {}, first_poll_secs 0 \
            to 3600, lifetime_secs 1 to 86400",
        MOST_JOBS
    )]
    Limits,
    /// It is no TOML, or a field is missing, unknown or of another kind.
    #[error("{0}")]
    Toml(String),
    /// A path that leads away from the provider's address.
    #[error("{field} is {path:?}; expected a path below base_url, beginning with one /")]
    Path {
        /// The field.
        field: &'static str,
        /// What it says.
        path: String,
    },
    /// A name in braces that stands for nothing.
    #[error("{field} has {{{name}}}; expected one of {:?}", template::NAMES)]
    Placeholder {
        /// The field.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// The adapter's own parameters do not fit into its body.
    #[error(transparent)]
    Parameters(#[from] MergeError),
    /// A pointer that is none.
    #[error("{0:?} is no JSON pointer; expected one such as \"/data/id\"")]
    Pointer(String),
    /// A handle that is never sent.
    #[error(
        "handle.kind says that the provider knows handles, but neither submit.body nor \
            handle.header sends {{handle}}"
    )]
    HandleNotSent,
    /// A clip without an address.
    #[error("result.kind = \"bytes\" needs result.path")]
    NoPath,
    /// An answer of which it is not said where it names the clip.
    #[error("result.kind = \"url\" needs result.url")]
    NoUrl,
}

impl Adapter {
    pub(super) fn check(&self) -> Result<(), AdapterError> {
        self.check_texts()?;
        self.check_limits()?;
        self.check_paths()?;
        self.check_body()?;
        self.check_pointers()?;
        self.check_handle()?;
        match (self.result.kind, &self.result.path) {
            (ResultKind::Bytes, None) => Err(AdapterError::NoPath),
            (ResultKind::Url, _) if self.result.url.is_empty() => Err(AdapterError::NoUrl),
            _ => Ok(()),
        }
    }

    /// What is printed, and what stands in headers.
    fn check_texts(&self) -> Result<(), AdapterError> {
        for (field, text) in [
            ("name", &self.name),
            ("about", &self.about),
            ("terms", &self.terms),
        ] {
            if crate::clean::shown(text) != *text {
                return Err(AdapterError::Text(field));
            }
        }
        let mut names: Vec<&String> = self.headers.keys().collect();
        if let Auth::Header { name } = &self.auth {
            names.push(name);
        }
        if let Handle::Repeat { header: Some(name) } = &self.handle {
            names.push(name);
        }
        let bad_name = |name: &&String| HeaderName::from_bytes(name.as_bytes()).is_err();
        let bad_value = |value: &String| HeaderValue::from_str(value).is_err();
        match names.iter().any(bad_name) || self.headers.values().any(bad_value) {
            true => Err(AdapterError::Text("a header")),
            false => Ok(()),
        }
    }

    fn check_limits(&self) -> Result<(), AdapterError> {
        let lifetime = match self.auth {
            Auth::JwtHs256 { lifetime_secs } => (1..=86_400).contains(&lifetime_secs),
            _ => true,
        };
        let first = self.limits.first_poll_secs.unwrap_or(0.0);
        match lifetime && (0.0..=3600.0).contains(&first) && self.limits.concurrency <= MOST_JOBS {
            true => Ok(()),
            false => Err(AdapterError::Limits),
        }
    }

    fn check_paths(&self) -> Result<(), AdapterError> {
        let mut paths = vec![
            ("submit.path", &self.submit.path),
            ("poll.path", &self.poll.path),
        ];
        paths.extend(self.result.path.as_ref().map(|path| ("result.path", path)));
        if let Handle::Find { path, .. } = &self.handle {
            paths.push(("handle.path", path));
        }
        for (field, path) in paths {
            if !path.starts_with('/') || path.starts_with("//") {
                let path = path.clone();
                return Err(AdapterError::Path { field, path });
            }
            if let Some(name) = template::unknown_name(path) {
                let name = name.to_string();
                return Err(AdapterError::Placeholder { field, name });
            }
        }
        Ok(())
    }

    fn check_body(&self) -> Result<(), AdapterError> {
        let submit = &self.submit;
        if let Some(name) = template::unknown_name_in(&submit.body) {
            return Err(AdapterError::Placeholder {
                field: "submit.body",
                name: name.to_string(),
            });
        }
        let mut body = submit.body.clone();
        template::merge(&mut body, &submit.parameters_at, &self.parameters)?;
        Ok(())
    }

    fn check_pointers(&self) -> Result<(), AdapterError> {
        let mut pointers = vec![&self.submit.id, &self.poll.state];
        pointers.extend(
            self.submit
                .poll_at
                .iter()
                .chain(&self.submit.result_at)
                .chain(&self.result.url)
                .chain(&self.messages),
        );
        pointers.extend(&self.price.seconds_at);
        let mut rules: Vec<&Rule> = self
            .submit
            .rules
            .iter()
            .chain(&self.poll.rules)
            .chain(&self.result.rules)
            .collect();
        if let Handle::Find {
            id, rules: of_find, ..
        } = &self.handle
        {
            pointers.push(id);
            rules.extend(of_find);
        }
        pointers.extend(rules.iter().filter_map(|rule| rule.at.as_ref()));
        match pointers.iter().find(|pointer| !pointer.starts_with('/')) {
            Some(pointer) => Err(AdapterError::Pointer(pointer.to_string())),
            None => Ok(()),
        }
    }

    fn check_handle(&self) -> Result<(), AdapterError> {
        let sent = match &self.handle {
            Handle::None | Handle::Repeat { header: Some(_) } => true,
            Handle::Repeat { header: None } | Handle::Find { .. } => {
                self.submit.body.to_string().contains("{handle}")
            }
        };
        match sent {
            true => Ok(()),
            false => Err(AdapterError::HandleNotSent),
        }
    }
}
