//! The quick start: a configuration from the arguments alone, everything else at its default.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_yaml::{Mapping, Value};

use super::affinity::source_table;
use super::error::{quoted, suggestion};
use super::schema::{self, TableSize, Word};
use super::units::{self, HOST_ALLOWED};
use super::validate::{backend_at, read_alone};
use super::{BACKENDS_MAX, Backend, Config, ListenAddress, Listener, Pool, ProtocolName};

/// The name of the quick start's listener and of its pool.
const NAME: &str = "quick";
/// What may stand behind a backend's address, and the keys of the file that it stands for.
const OPTIONS: [(&str, &str); 3] = [("weight", "weight"), ("max", "max_connections"), ("tier", "tier")];
/// So many clients are tracked where nothing else is asked for; it was Pen's number, too.
pub const TRACKED_DEFAULT: usize = 2_048;

/// How many clients are to be tracked.
///
/// # Errors
/// What is allowed.
pub fn tracked_max(text: &str) -> Result<usize, String> {
    TableSize::read(&number_or_text(text))
}

impl Config {
    /// Leads the clients of all pools back by their addresses, with a table of so many of them.
    pub fn track(&mut self, tracked_max: usize) {
        let own = schema::Affinity { table_size: tracked_max, ..schema::Affinity::default() };
        self.pools.iter_mut().for_each(|pool| pool.affinity = Some(source_table(&own)));
    }
}

/// One listener at `listen` (`PORT`, for all addresses, or `ADDRESS:PORT`) and one pool of `backends`
/// (`HOST:PORT[,weight=N][,max=N][,tier=N]`). No client is tracked.
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
                errors.push(format!("backend {} is given twice; use ,weight=N", quoted(text)));
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
    let (address, options) = text.split_once(',').map_or((text, None), |(address, options)| (address, Some(options)));
    let address = units::host_and_port(address);
    let address = address.ok_or_else(|| format!("a backend must be {HOST_ALLOWED}, not {}", quoted(text)))?;
    let mut own = Mapping::new();
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        let of_backend = |message: String| format!("backend {}: {message}", quoted(text));
        let (word, value) = option.split_once('=').unwrap_or((option, ""));
        let key = OPTIONS.iter().find(|(name, _)| *name == word).map(|(_, key)| *key).ok_or_else(|| {
            let near = suggestion(word, OPTIONS.iter().map(|(name, _)| *name));
            let allowed = "weight=N, max=N and tier=N";
            of_backend(format!("behind the address only {allowed} may stand, not {}{near}", quoted(option)))
        })?;
        let value = number_or_text(value);
        read_alone::<schema::Backend>(key, value.clone()).map_err(|message| of_backend(format!("{word} {message}")))?;
        if own.insert(key.into(), value).is_some() {
            return Err(of_backend(format!("{word} is given twice")));
        }
    }
    let own = serde_yaml::from_value(own.into());
    Ok(backend_at(address, own.expect("every key of it was read alone before")))
}

fn number_or_text(text: &str) -> Value {
    units::digits::<u64>(text).map_or_else(|| text.into(), Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Affinity;
    use crate::config::affinity::Mark;

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
    fn what_stands_behind_an_address_does_so_in_any_order() {
        let plain = started("80", &["a:1"]).unwrap().pools.remove(0).backends.remove(0);
        assert_eq!((plain.weight, plain.max_connections, plain.tier), (1, None, 0));
        for text in ["a:1,weight=2,max=3,tier=4", "a:1,tier=4,weight=2,max=3", "a:1,max=3,tier=4,weight=2"] {
            let all = started("80", &[text]).unwrap().pools.remove(0).backends.remove(0);
            assert_eq!(all, Backend { weight: 2, max_connections: Some(3), tier: 4, ..plain.clone() }, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_behind_an_address_is_told_with_what_is_allowed() {
        let allowed = "behind the address only weight=N, max=N and tier=N may stand, not";
        for (options, message) in [
            (",weight=257", "weight must be a whole number from 0 to 256, not 257".to_string()),
            (",weight=-1", "weight must be a whole number from 0 to 256, not \"-1\"".to_string()),
            (",weight=", "weight must be a whole number from 0 to 256, not \"\"".to_string()),
            (",weight", "weight must be a whole number from 0 to 256, not \"\"".to_string()),
            (",max=0", "max must be none or a whole number from 1 to 1000000, not 0".to_string()),
            (",max=1,tier=10", "tier must be a whole number from 0 to 9, not 10".to_string()),
            (",tier=1,max=2,tier=1", "tier is given twice".to_string()),
            (",wieght=2", format!("{allowed} \"wieght=2\"; did you mean 'weight'?")),
            (",", format!("{allowed} \"\"")),
            (",weight=1,", format!("{allowed} \"\"")),
        ] {
            let text = format!("a:1{options}");
            assert_eq!(started("80", &[&text]), Err(vec![format!("backend \"{text}\": {message}")]));
        }
    }

    #[test]
    fn tracked_clients_are_known_by_their_whole_addresses() {
        let mut config = started("80", &["a:1", "b:1"]).unwrap();
        assert_eq!(config.pools[0].affinity, None);
        config.track(tracked_max("77").unwrap());
        let Some(Affinity::Table(table)) = &config.pools[0].affinity else { panic!("{config:?}") };
        assert_eq!((table.entries_max, &table.mark), (77, &Mark::Source { prefix_v4: 32, prefix_v6: 128 }));
        assert!(tracked_max("0").is_err() && tracked_max("10000001").is_err() && tracked_max("x").is_err());
    }

    #[test]
    fn every_wrong_argument_is_reported() {
        for bad in ["a", "a:0", ",weight=2", "é:1,é", "a,weight=2:1"] {
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
