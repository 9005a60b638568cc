//! The quick start: a configuration from the arguments alone, everything else at its default.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::error::quoted;
use super::schema;
use super::units::{self, HOST_ALLOWED};
use super::validate::backend_at;
use super::{BACKENDS_MAX, Backend, Config, ListenAddress, Listener, Pool, ProtocolName};

/// The name of the quick start's listener and of its pool.
const NAME: &str = "quick";
/// What separates a backend's address from its weight.
const WEIGHT: &str = ",weight=";

/// One listener at `listen` (`PORT`, for all addresses, or `ADDRESS:PORT`) and one pool of `backends`
/// (`HOST:PORT[,weight=N]`).
///
/// # Errors
/// A line for each argument that is wrong.
pub fn quick_start(protocol: ProtocolName, listen: &str, backends: &[String]) -> Result<Config, Vec<String>> {
    let mut errors = Vec::new();
    let mut listener = Listener { name: NAME.to_string(), protocol, pool: Some(0), ..Listener::default() };
    match listen_addresses(listen) {
        Ok(addresses) => listener.listen = addresses,
        Err(error) => errors.push(error),
    }
    let mut pool = Pool { name: NAME.to_string(), ..Pool::default() };
    let mut names = HashSet::new();
    for text in backends {
        match backend(text) {
            Ok(backend) if !names.insert(backend.name.clone()) => {
                errors.push(format!("backend {} is given twice; use {WEIGHT}N", quoted(text)));
            }
            Ok(backend) => pool.backends.push(backend),
            Err(error) => errors.push(error),
        }
    }
    if backends.is_empty() {
        errors.push(format!("no backend is given; each must be {HOST_ALLOWED}"));
    }
    if backends.len() > BACKENDS_MAX {
        errors.push(format!("too many backends: {} (at most {BACKENDS_MAX})", backends.len()));
    }
    let config = Config { listeners: vec![listener], pools: vec![pool], ..Config::default() };
    if errors.is_empty() { Ok(config) } else { Err(errors) }
}

fn listen_addresses(text: &str) -> Result<Vec<ListenAddress>, String> {
    let at = |address, optional| ListenAddress { address, v6_only: true, optional };
    if let Some(port) = units::digits::<u16>(text) {
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        return Ok(vec![at(v4, false), at(v6, true)]);
    }
    let address = units::listen_address(text).map(|address| vec![at(address, false)]);
    address.ok_or_else(|| format!("where to listen must be PORT or ADDRESS:PORT, not {}", quoted(text)))
}

fn backend(text: &str) -> Result<Backend, String> {
    let (address, weight) = match text.split_once(',') {
        None => (text, Some(1)),
        Some((address, _)) => (address, text[address.len()..].strip_prefix(WEIGHT).and_then(weight)),
    };
    match (units::host_and_port(address), weight) {
        (None, _) => Err(format!("a backend must be {HOST_ALLOWED}, not {}", quoted(text))),
        (_, None) => {
            Err(format!("after a backend's address only {WEIGHT}0 to {WEIGHT}256 may stand: {}", quoted(text)))
        }
        (Some(address), Some(weight)) => {
            Ok(backend_at(address, schema::Backend { weight, ..schema::Backend::default() }))
        }
    }
}

fn weight(text: &str) -> Option<u32> {
    units::digits(text).filter(|weight| (0..=256).contains(weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(listen: &str, backends: &[&str]) -> Result<Config, Vec<String>> {
        let backends: Vec<String> = backends.iter().map(|text| text.to_string()).collect();
        quick_start(ProtocolName::Tcp, listen, &backends)
    }

    #[test]
    fn a_bare_port_listens_on_both_families_and_ipv6_is_optional() {
        let config = started("8080", &["10.0.0.1:80", "[::1]:81,weight=2"]).unwrap();
        let listen = &config.listeners[0].listen;
        assert_eq!(
            listen[0],
            ListenAddress { address: "0.0.0.0:8080".parse().unwrap(), v6_only: true, optional: false }
        );
        assert_eq!(listen[1], ListenAddress { address: "[::]:8080".parse().unwrap(), v6_only: true, optional: true });
        assert_eq!(config.listeners[0].protocol, ProtocolName::Tcp);
        let second = Backend {
            name: "[::1]:81".to_string(),
            host: "::1".to_string(),
            port: 81,
            weight: 2,
            ..Backend::default()
        };
        assert_eq!(config.pools[0].backends[1], second);
        assert_eq!(started("127.0.0.1:0", &["a:1"]).unwrap().listeners[0].listen.len(), 1);
    }

    #[test]
    fn every_wrong_argument_is_reported() {
        for bad in ["a:1,weight=257", "a:1,weight=", "a:1,wieght=2", "a:1,", "a", "a:0", ",weight=2", "é:1,é"] {
            let errors = started("8080", &[bad]).unwrap_err();
            assert_eq!(errors.len(), 1, "{bad}: {errors:?}");
        }
        for bad in ["", "65536", "localhost:80", "::1:80", "8080x"] {
            assert_eq!(started(bad, &["a:1"]).unwrap_err().len(), 1, "{bad}");
        }
        assert_eq!(started("x", &["a:1", "a:1", "b"]).unwrap_err().len(), 3);
        assert_eq!(started("80", &[]).unwrap_err().len(), 1);
    }
}
