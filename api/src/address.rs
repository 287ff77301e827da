//! Addresses: whose they are, and which of them clips may be fetched from.

use std::net::{IpAddr, Ipv6Addr};

use ureq::http::Uri;

/// Scheme, host and port: who answers at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    secure: bool,
    /// In lower case; IPv6 in brackets.
    host: String,
    port: u16,
}

/// The origin of an address that names no user.
pub(crate) fn origin(url: &str) -> Option<Origin> {
    // A backslash is a slash to some programs and not to others.
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains('\\') {
        return None;
    }
    let uri: Uri = url.parse().ok()?;
    let secure = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let authority = uri.authority()?;
    let host = authority.host().to_ascii_lowercase();
    if host.is_empty() || authority.as_str().contains('@') {
        return None;
    }
    // Behind the host stands a port or nothing.
    let port = match authority.as_str()[host.len()..].strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None if authority.as_str().len() == host.len() => [80, 443][usize::from(secure)],
        None => return None,
    };
    Some(Origin { secure, host, port })
}

impl Origin {
    /// Whether it is on this machine, by a name that nobody can point elsewhere.
    pub fn is_local(&self) -> bool {
        matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "[::1]")
    }

    /// Whether it is out in the public: no address or name of this machine or of a network behind
    /// it, where a stranger's address has no business.
    fn is_public(&self) -> bool {
        let name = self.host.trim_matches(['[', ']']).trim_end_matches('.');
        if let Ok(address) = name.parse::<IpAddr>() {
            return is_public(address.to_canonical());
        }
        let (rest, last) = name.rsplit_once('.').unwrap_or(("", name));
        // Resolvers read 127.1, 0x7f000001 and 2130706433 as addresses.
        let number = last.starts_with(|letter: char| letter.is_ascii_digit());
        !rest.is_empty() && !number && !["localhost", "local", "internal"].contains(&last)
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            // 100.64.0.0/10 is shared by a carrier's customers (RFC 6598).
            let shared = first == 100 && (64..128).contains(&second);
            !(address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || address.is_multicast()
                || first == 0
                || first >= 240
                || shared)
        }
        IpAddr::V6(address) => {
            let unique_local = address.segments()[0] & 0xfe00 == 0xfc00;
            let link_local = address.segments()[0] & 0xffc0 == 0xfe80;
            !(address.is_loopback()
                || address == Ipv6Addr::UNSPECIFIED
                || address.is_multicast()
                || unique_local
                || link_local)
        }
    }
}

/// Whether an address is on this machine.
pub(crate) fn is_local(url: &str) -> bool {
    origin(url).is_some_and(|origin| origin.is_local())
}

/// Whether clips of the provider at `base` may be fetched from `url`: from the provider itself,
/// from hosts of this list, from public hosts over https, and, if the provider is on this machine,
/// from this machine.
pub(crate) fn may_hold_clips(url: &str, base: &str, hosts: &[String]) -> bool {
    let (Some(found), Some(base)) = (origin(url), origin(base)) else {
        return false;
    };
    let listed = hosts
        .iter()
        .any(|host| host.eq_ignore_ascii_case(&found.host));
    found == base
        || (found.secure && (listed || found.is_public()))
        || (base.is_local() && found.is_local())
}

/// Where a redirect leads: absolute addresses, and paths at the same origin; never from https down
/// to http.
pub(crate) fn redirected(from: &str, location: &str) -> Option<String> {
    let here = origin(from)?;
    if location.starts_with('/') && !location.starts_with("//") {
        let scheme = if here.secure { "https" } else { "http" };
        return Some(format!("{scheme}://{}:{}{location}", here.host, here.port));
    }
    let there = origin(location)?;
    (there.secure || !here.secure).then(|| location.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_scheme_host_and_port_and_nothing_that_hides_them() {
        let of = |url: &str| {
            origin(url).map(|origin| (origin.secure, format!("{}:{}", origin.host, origin.port)))
        };
        for (url, expected) in [
            ("https://a.b/c?d", Some((true, "a.b:443"))),
            ("HTTPS://A.b:443", Some((true, "a.b:443"))),
            ("http://127.0.0.1:80", Some((false, "127.0.0.1:80"))),
            ("https://a.b?x=/", Some((true, "a.b:443"))),
            ("https://[::1]:9/", Some((true, "[::1]:9"))),
            ("https://key@a.b/c", None),
            ("https:///c", None),
            ("ftp://a.b", None),
            ("file:///etc/passwd", None),
            ("https://a b/", None),
            ("https://a.b\\@c.d/", None),
            ("https://a.b/\u{1b}[31m", None),
        ] {
            let expected = expected.map(|(secure, place)| (secure, place.to_string()));
            assert_eq!(of(url), expected, "{url}");
        }
        assert!(
            is_local("http://127.0.0.1:80/x")
                && is_local("http://localhost")
                && is_local("http://[::1]:9/")
        );
        for url in [
            "http://127.0.0.1.evil.com/",
            "https://localhost.evil.com",
            "http://[::1]evil.com/",
            "http://localhost:80.evil.com/",
            "http://127.0.0.2/",
        ] {
            assert!(!is_local(url), "{url}");
        }
    }

    #[test]
    fn clips_come_from_the_provider_from_the_public_or_from_listed_hosts() {
        let (public, local) = ("https://api.a.b/v1", "http://127.0.0.1:9");
        for (url, of_public, of_local) in [
            ("https://api.a.b/clip", true, true),
            ("https://cdn.c.d/clip", true, true),
            ("https://8.8.8.8/clip", true, true),
            ("http://cdn.c.d/clip", false, false),
            ("http://127.0.0.1:9/clip", false, true),
            ("http://127.0.0.1:22/clip", false, true),
            ("https://127.0.0.1/clip", false, true),
            ("http://169.254.169.254/latest", false, false),
            ("https://169.254.169.254/latest", false, false),
            ("https://10.1.2.3/clip", false, false),
            ("https://192.168.1.1/clip", false, false),
            ("https://172.20.0.1/clip", false, false),
            ("https://100.64.0.1/clip", false, false),
            ("https://0.0.0.0/clip", false, false),
            ("https://[fe80::1]/clip", false, false),
            ("https://[fd00::1]/clip", false, false),
            ("https://[::ffff:10.0.0.1]/clip", false, false),
            ("https://127.1/clip", false, false),
            ("https://2130706433/clip", false, false),
            ("https://0x7f000001/clip", false, false),
            ("https://router/clip", false, false),
            ("https://metadata.google.internal/clip", false, false),
            ("https://a.localhost./clip", false, false),
            ("https://user@cdn.c.d/clip", false, false),
            ("file:///etc/passwd", false, false),
        ] {
            assert_eq!(may_hold_clips(url, public, &[]), of_public, "{url}");
            assert_eq!(may_hold_clips(url, local, &[]), of_local, "{url}");
        }
        let listed = ["10.1.2.3".to_string()];
        assert!(may_hold_clips("https://10.1.2.3/clip", public, &listed));
        assert!(!may_hold_clips("http://10.1.2.3/clip", public, &listed));
    }

    #[test]
    fn redirects_never_leave_https() {
        for (from, location, expected) in [
            ("https://a/b", "/c?d", Some("https://a:443/c?d")),
            ("https://a/b", "https://e/f", Some("https://e/f")),
            ("http://a/b", "http://e/f", Some("http://e/f")),
            ("https://a/b", "http://e/f", None),
            ("https://a/b", "//e/f", None),
            ("https://a/b", "file:///etc/passwd", None),
            ("https://a/b", "", None),
            ("https://a/b", "c", None),
        ] {
            assert_eq!(
                redirected(from, location).as_deref(),
                expected,
                "{location}"
            );
        }
    }
}
