//! `HOST:PORT`: where to listen and what to tell clients.

use super::ConfigError;
use std::net::{IpAddr, SocketAddr};

/// Refuses what is no address, and one beyond this host unless everybody may come.
pub(super) fn check_listen(option: &str, text: &str, anonymous: bool) -> Result<(), ConfigError> {
    let (host, _) = split(option, text)?;
    if is_loopback(host) || anonymous {
        return Ok(());
    }
    Err(ConfigError(format!(
        "{option} {text} lets others in, and nobody has to log in: say --allow-anonymous if you mean it, have clients log in (docs/operating/security.md), or listen on 127.0.0.1"
    )))
}

/// Clients connect to what they are told, so an address that means *every interface* must not be told to them.
pub(super) fn check_advertised(advertise: Option<&str>, listen: &str) -> Result<(), ConfigError> {
    let (option, text) = match advertise {
        Some(text) => ("--advertise", text),
        None => ("--listen", listen),
    };
    let (host, port) = split(option, text)?;
    if advertise.is_some() && port == 0 {
        return Err(ConfigError(format!("--advertise {text}: say the port that clients connect to")));
    }
    if ip(host).is_some_and(|ip| ip.is_unspecified()) {
        return Err(ConfigError(format!(
            "{option} {text}: clients can't connect to {host}; say --advertise HOST:PORT with a name or address they can reach"
        )));
    }
    Ok(())
}

/// Refuses one place for both: the second to listen there would be told that another process does.
pub(super) fn check_apart(listen: &str, console: &str) -> Result<(), ConfigError> {
    let (host, port) = split("--listen", listen)?;
    let (console_host, console_port) = split("--console", console)?;
    let is_every = |host: &str| ip(host).is_some_and(|ip| ip.is_unspecified());
    let meet = host == console_host || is_every(host) || is_every(console_host);
    if port != 0 && port == console_port && meet {
        return Err(ConfigError(format!(
            "--listen {listen} and --console {console} are one place: give the console a port of its own"
        )));
    }
    Ok(())
}

fn split<'a>(option: &str, text: &'a str) -> Result<(&'a str, u16), ConfigError> {
    let wrong = || ConfigError(format!("{option} {text}: write HOST:PORT, such as 127.0.0.1:9092"));
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    // An IPv6 address stands in brackets, or its last group would be taken for the port.
    let bare_v6 = host.contains(':') && text.parse::<SocketAddr>().is_err();
    if host.is_empty() || bare_v6 || host.chars().any(char::is_whitespace) { Err(wrong()) } else { Ok((host, port)) }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || ip(host).is_some_and(|ip| ip.is_loopback())
}

fn ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_console_have_ports_of_their_own() {
        for (listen, console) in
            [("127.0.0.1:9092", "127.0.0.1:9644"), ("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:1", "127.0.0.2:1")]
        {
            assert_eq!(check_apart(listen, console), Ok(()), "{listen} {console}");
        }
        for (listen, console) in [("127.0.0.1:9092", "127.0.0.1:9092"), ("0.0.0.0:9092", "127.0.0.1:9092")] {
            let refused = check_apart(listen, console).unwrap_err().0;
            assert!(refused.contains("a port of its own"), "{refused}");
        }
    }

    #[test]
    fn only_loopback_without_a_word() {
        for address in ["127.0.0.1:9092", "localhost:0", "[::1]:9092", "127.8.8.8:1"] {
            assert_eq!(check_listen("--listen", address, false), Ok(()), "{address}");
        }
        for address in ["0.0.0.0:9092", "[::]:9092", "10.0.0.1:9092", "example:9092"] {
            assert!(check_listen("--listen", address, false).is_err(), "{address}");
            assert_eq!(check_listen("--listen", address, true), Ok(()), "{address}");
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        for text in ["", "9092", "host", "host:", ":9092", "host:99999", "::1:9092", "a b:1"] {
            assert!(check_listen("--listen", text, true).is_err(), "{text}");
        }
    }

    #[test]
    fn never_tells_clients_every_interface() {
        assert!(check_advertised(None, "0.0.0.0:9092").unwrap_err().0.contains("--advertise HOST:PORT"));
        assert!(check_advertised(Some("[::]:9092"), "0.0.0.0:9092").is_err());
        assert!(check_advertised(Some("host:0"), "0.0.0.0:9092").is_err());
        assert_eq!(check_advertised(Some("host:9092"), "0.0.0.0:9092"), Ok(()));
    }
}
