//! A connection that knows whether it was made: what was asked without one was certainly not sent.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ureq::{
    Agent, Error, Timeout,
    config::Config,
    unversioned::{
        resolver::{DefaultResolver, Resolver},
        transport::{ConnectionDetails, Connector, DefaultConnector},
    },
};

use super::NoAnswer;

/// An agent for one request.
#[derive(Debug)]
pub(super) struct Connection {
    pub agent: Agent,
    made: Arc<AtomicBool>,
}

impl Connection {
    pub fn new(config: &Config) -> Self {
        Self::with_resolver(config, DefaultResolver::default())
    }

    pub fn with_resolver(config: &Config, resolver: impl Resolver) -> Self {
        let made = Arc::new(AtomicBool::new(false));
        let connector = Watched {
            inner: DefaultConnector::default(),
            made: made.clone(),
        };
        Self {
            agent: Agent::with_parts(config.clone(), connector, resolver),
            made,
        }
    }

    /// Why a request got no answer. Where no connection was made, by whatever error, nothing was
    /// sent: the name was not found, nobody listened, the certificate was not believed.
    pub fn no_answer(&self, error: &Error) -> NoAnswer {
        let unsent = !self.made.load(Ordering::SeqCst);
        let reason = match unsent {
            true => without_connection(error),
            false => on_connection(error),
        };
        NoAnswer { unsent, reason }
    }
}

/// The usual way to a host, through proxies and TLS.
#[derive(Debug)]
struct Watched {
    inner: DefaultConnector,
    made: Arc<AtomicBool>,
}

impl Connector<()> for Watched {
    type Out = <DefaultConnector as Connector<()>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        let connected = self.inner.connect(details, chained);
        // A proxy is connected to inside, so the way to the provider itself has the last word.
        let made = matches!(connected, Ok(Some(_)));
        self.made.store(made, Ordering::SeqCst);
        connected
    }
}

fn without_connection(error: &Error) -> String {
    match error {
        Error::HostNotFound => "the host was not found".to_string(),
        Error::Timeout(_) => "connecting took too long".to_string(),
        Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "the connection was refused".to_string()
        }
        Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            format!("no secure connection could be made: {error}")
        }
        Error::Io(error) => format!("no connection could be made: {error}"),
        Error::Tls(_) | Error::Rustls(_) => "no secure connection could be made".to_string(),
        Error::ConnectProxyFailed(_) | Error::InvalidProxyUrl => {
            "the proxy made no connection".to_string()
        }
        // Others may quote addresses or headers.
        Error::BadUri(_) | Error::RequireHttpsOnly(_) => "the address cannot be used".to_string(),
        Error::Http(_) | Error::Protocol(_) => "the request cannot be written".to_string(),
        _ => "no connection could be made".to_string(),
    }
}

fn on_connection(error: &Error) -> String {
    match error {
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
            "connecting took too long".to_string()
        }
        Error::Timeout(part) => format!("it took too long ({part})"),
        Error::Io(error) => format!("the connection broke: {}", error.kind()),
        Error::BodyExceedsLimit(limit) => format!("the answer is longer than {limit} bytes"),
        // Others may quote what was sent.
        _ => "the answer cannot be understood".to_string(),
    }
}
