use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use rustls::{
    ServerConfig, ServerConnection, Stream,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use ureq::{
    http::Uri,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::NextTimeout,
    },
};

use super::*;

fn http() -> Http {
    let second = Duration::from_secs(1);
    let timeouts = Timeouts {
        connect: second,
        answer: second,
        clip: second,
    };
    Http::new(timeouts, true)
}

fn post(url: &str) -> NoAnswer {
    let error = http().ask(url, &[], Some(&Value::Null)).unwrap_err();
    assert!(!error.reason.contains("S3"), "{error:?}");
    error
}

/// A server that does this with its first connection.
fn server(serve: impl FnOnce(std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || serve(listener.accept().unwrap().0));
    address
}

#[test]
fn a_refused_connection_is_known_not_to_have_sent_anything() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = post(&format!("http://{address}/?sig=S3"));
    assert!(
        error.unsent && error.reason.contains("refused"),
        "{error:?}"
    );
}

/// What a system says of a name that does not exist, in one of two ways.
#[derive(Debug)]
struct Nowhere(fn() -> ureq::Error);

impl Resolver for Nowhere {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Err((self.0)())
    }
}

#[test]
fn a_host_that_is_not_found_was_sent_nothing_whatever_the_resolver_calls_it() {
    let errors: [fn() -> ureq::Error; 3] = [
        || ureq::Error::HostNotFound,
        || io::Error::other("failed to lookup address information").into(),
        || ureq::Error::Timeout(ureq::Timeout::Resolve),
    ];
    for error in errors {
        let http = http();
        let connection = Connection::with_resolver(&http.config, Nowhere(error));
        let url = "https://no-such-host.invalid/?sig=S3";
        let error = http
            .ask_through(&connection, url, &[], Some(&Value::Null))
            .unwrap_err();
        assert!(error.unsent && !error.reason.contains("S3"), "{error:?}");
    }
}

#[test]
fn a_certificate_that_is_not_believed_was_sent_nothing() {
    let fixture = |name: &str| {
        let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(fixture("untrusted.key.der")));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(fixture("untrusted.crt.der"))],
            key,
        )
        .unwrap();
    let address = server(move |mut stream| {
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        let _ = Stream::new(&mut connection, &mut stream).read(&mut [0; 9]);
    });
    let error = post(&format!("https://{address}/?sig=S3"));
    assert!(
        error.unsent && error.reason.contains("certificate"),
        "{error:?}"
    );
}

#[test]
fn a_server_that_speaks_no_tls_or_hangs_up_was_sent_nothing() {
    let address = server(|mut stream| {
        let _ = stream.read(&mut [0; 900]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let error = post(&format!("https://{address}/?sig=S3"));
    assert!(error.unsent && error.reason.contains("secure"), "{error:?}");
    let error = post(&format!("https://{}/?sig=S3", server(drop)));
    assert!(error.unsent, "{error:?}");
}

#[test]
fn a_header_that_cannot_be_written_was_not_sent() {
    let headers = [("X".to_string(), "a\nS3".to_string())];
    let error = http()
        .ask("http://127.0.0.1:9/", &headers, Some(&Value::Null))
        .unwrap_err();
    assert!(error.unsent && !error.reason.contains("S3"), "{error:?}");
}

#[test]
fn what_breaks_after_the_connection_may_have_arrived() {
    for answer in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"\x15\x03\x01\n\n",
    ] {
        let address = server(move |mut stream| {
            let _ = stream.read(&mut [0; 900]);
            let _ = stream.write_all(answer);
        });
        let error = post(&format!("http://{address}/?sig=S3"));
        assert!(!error.unsent, "{answer:?}: {error:?}");
    }
}

/// A target that is full, as a disk is.
struct Full;

impl io::Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Anywhere;

impl Way for Anywhere {
    fn headers(&self, _: &str) -> Vec<(String, String)> {
        Vec::new()
    }

    fn is_allowed(&self, url: &str) -> bool {
        !url.contains("169.254")
    }

    fn stopping(&self) -> bool {
        false
    }
}

#[test]
fn a_full_disk_is_not_the_networks_fault() {
    let address = server(|mut stream| {
        let _ = stream.read(&mut [0; 900]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nclip");
    });
    let url = format!("http://{address}/");
    let error = http().download(&url, &Anywhere, &mut Full).unwrap_err();
    assert!(matches!(error, NoClip::Disk(_)), "{error:?}");
}

#[test]
fn a_redirect_to_where_clips_are_not_fetched_from_is_not_followed() {
    let address = server(|mut stream| {
        let _ = stream.read(&mut [0; 900]);
        let _ = stream.write_all(
            b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/x\r\nContent-Length: 0\r\n\r\n",
        );
    });
    let url = format!("http://{address}/");
    let error = http()
        .download(&url, &Anywhere, &mut Vec::new())
        .unwrap_err();
    assert!(
        matches!(&error, NoClip::Elsewhere(url) if url.contains("169.254")),
        "{error:?}"
    );
}
