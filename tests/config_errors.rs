//! Every mistake in a configuration file is reported with its line, its column, its path and what is allowed.

use std::time::{Duration, Instant};

use plb::config::{FILE_BYTES_MAX, parse, parse_with};

const SAMPLE: &str = include_str!("../plb.yaml.sample");

/// A good file of one listener (lines 1 to 4) and one pool (lines 5 to 9).
const GOOD: &str = "listeners:
  - name: web
    listen: 127.0.0.1:0
    pool: web
pools:
  web:
    backends:
      - 127.0.0.1:8081
      - { address: \"[::1]:8082\", weight: 2, name: second }
";

/// The errors of a file as they are printed.
fn errors(text: &str) -> Vec<String> {
    parse("f", text).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

/// [`GOOD`] with `old` replaced.
fn good_but(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old}");
    GOOD.replacen(old, new, 1)
}

#[test]
fn the_good_file_is_good() {
    let config = parse("f", GOOD).unwrap();
    assert_eq!(config.pools[0].backends[0].name, "127.0.0.1:8081");
    assert_eq!((config.pools[0].backends[1].host.as_str(), config.pools[0].backends[1].weight), ("::1", 2));
}

#[test]
fn a_wrong_setting_is_reported_with_what_is_allowed() {
    let duration = "must be a duration from 1ms to 720h with its unit (ms, s, m or h), such as 30s";
    let account = "a name or a number from 1 to 4294967294";
    let network = "an address or a network, such as 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32";
    let directory = "the absolute path of a directory, without '..' and not '/'";
    let table = [
        ("max_clients: 0", "f:1:14: max_clients: must be a whole number from 1 to 1000000, not 0".to_string()),
        ("max_clients: 1.5", "f:1:14: max_clients: must be a whole number from 1 to 1000000, not 1.5".to_string()),
        ("max_clients: \"9\"", "f:1:14: max_clients: must be a whole number from 1 to 1000000, not \"9\"".to_string()),
        ("max_clients:", "f:1:1: max_clients: must be a whole number from 1 to 1000000, not nothing".to_string()),
        ("max_clients: [1]", "f:1:14: max_clients: must be a whole number from 1 to 1000000, not a list".to_string()),
        ("max_clients: {a: 1}", "f:1:14: max_clients: must be a whole number from 1 to 1000000, not a map".to_string()),
        ("max_clients: 99999999999999999999", "f:1:14: max_clients: must be a whole number from 1 to 1000000, not \"99999999999999999999\"".to_string()),
        ("backlog: -1", "f:1:10: backlog: must be a whole number from 1 to 65535, not -1".to_string()),
        ("server_retry: 0", "f:1:15: server_retry: must be a whole number from 1 to 1000000, not 0".to_string()),
        ("timeout_idle: 30", format!("f:1:15: timeout_idle: {duration}, not 30")),
        ("timeout_idle: 0s", format!("f:1:15: timeout_idle: {duration}, not \"0s\"")),
        ("timeout_idle: 721h", format!("f:1:15: timeout_idle: {duration}, not \"721h\"")),
        ("buffer_memory: 63KiB", "f:1:16: buffer_memory: must be a size from 64KiB to 1024GiB in bytes, KiB, MiB or GiB, such as 8KiB, not \"63KiB\"".to_string()),
        ("head_max: 15KiB", "f:1:11: head_max: must be a size from 256 to 14KiB in bytes, KiB, MiB or GiB, such as 8KiB, not \"15KiB\"".to_string()),
        ("body_max: lots", "f:1:11: body_max: must be none or a size in bytes, KiB, MiB or GiB, such as 1MiB, not \"lots\"".to_string()),
        ("max_clients_per_address: 0", "f:1:26: max_clients_per_address: must be none or a whole number from 1 to 1000000, not 0".to_string()),
        ("accept_proxy: true", "f:1:15: accept_proxy: must be none or any or v1 or v2, not true".to_string()),
        ("accept_proxy: v3", "f:1:15: accept_proxy: must be none or any or v1 or v2, not \"v3\"; did you mean 'v1'?".to_string()),
        ("send_proxy: any", "f:1:13: send_proxy: must be none or v1 or v2, not \"any\"".to_string()),
        ("timeout_proxy_header: none", format!("f:1:23: timeout_proxy_header: {duration}, not \"none\"")),
        ("accept_rate: 0", "f:1:14: accept_rate: must be none or a whole number from 1 to 1000000, not 0".to_string()),
        ("max_requests: never", "f:1:15: max_requests: must be none or a whole number from 1 to 1000000000, not \"never\"".to_string()),
        ("min_body_rate: 1KiB/s", "f:1:16: min_body_rate: must be none or a size in bytes, KiB, MiB or GiB, such as 1MiB, not \"1KiB/s\"".to_string()),
        ("via: yes", "f:1:6: via: must be true or false, not \"yes\"".to_string()),
        ("upgrade: websockets", "f:1:10: upgrade: must be websocket or any or none, not \"websockets\"; did you mean 'websocket'?".to_string()),
        ("methods: get", "f:1:10: methods: must be any or a list of one or more methods, not \"get\"".to_string()),
        ("methods: []", "f:1:10: methods: must be any or a list of one or more methods, not a list".to_string()),
        ("methods: [GET, get]", "f:1:10: methods: must be a method in capitals but CONNECT, such as GET, not \"get\"".to_string()),
        ("methods: [CONNECT]", "f:1:10: methods: must be a method in capitals but CONNECT, such as GET, not \"CONNECT\"".to_string()),
        ("path_refuse: [nul, slahs]", "f:1:20: path_refuse[1]: must be nul or slash or dots or invalid, not \"slahs\"; did you mean 'slash'?".to_string()),
        ("path_refuse: true", "f:1:14: path_refuse: must be nul or slash or dots or invalid, not true".to_string()),
        ("normalize_path: 1", "f:1:17: normalize_path: must be true or false, not 1".to_string()),
        ("trailers: pass", "f:1:11: trailers: must be drop or forward, not \"pass\"".to_string()),
        ("upgrade: false", "f:1:10: upgrade: must be websocket or any or none, not false".to_string()),
        ("x_forwarded_port: 80", "f:1:19: x_forwarded_port: must be true or false, not 80".to_string()),
        ("forwarded: on", "f:1:12: forwarded: must be true or false, not \"on\"".to_string()),
        ("request_id: keeps", "f:1:13: request_id: must be none or make or keep, not \"keeps\"; did you mean 'keep'?".to_string()),
        ("request_id_in_response: make", "f:1:25: request_id_in_response: must be true or false, not \"make\"".to_string()),
        ("rewrite_location: 1", "f:1:19: rewrite_location: must be true or false, not 1".to_string()),
        ("trusted_proxies: localhost", format!("f:1:18: trusted_proxies: must be {network}, not \"localhost\"")),
        ("trusted_proxies: 10", format!("f:1:18: trusted_proxies: must be {network}, or a list of them, not 10")),
        ("trusted_proxies:\n  - 10.0.0.1\n  - 10.1.0.0/8\n  - ::1", "f:3:5: trusted_proxies[1]: \"10.1.0.0/8\" has bits behind its prefix; the network is 10.0.0.0/8".to_string()),
        ("trusted_proxies: [10.0.0.0/8, 10.0.0.0/33]", format!("f:1:31: trusted_proxies[1]: must be {network}, not \"10.0.0.0/33\"")),
        ("trusted_proxies: [10.0.0.1, {a: b}]", format!("f:1:29: trusted_proxies[1]: must be {network}, or a list of them, not a map")),
        ("trusted_proxies: [10.0.0.1, &a 10.0.0.2]", "f:1:29: trusted_proxies[1]: anchors (&name) and aliases (*name) are not allowed; write the value out".to_string()),
        ("error_pages: [503]", "f:1:14: error_pages: must be a map from statuses to files, such as { 503: /etc/plb/503.html }, not a list".to_string()),
        ("error_pages: { 503: 5 }", "f:1:21: error_pages.503: must be text: a file, not 5".to_string()),
        ("error_pages: { 503: /503.html }", "f:1:21: error_pages.503: \"/503.html\" cannot be read: there are no files here".to_string()),
        ("error_pages: { 500: /500.html }", "f:1:16: error_pages.500: plb has no such page; did you mean '400'? (allowed: 400, 401, 403, 404, 405, 408, 413, 414, 417, 429, 431, 501, 502, 503, 504, 505)".to_string()),
        ("log_level: wran", "f:1:12: log_level: must be error, warn, info, debug, trace or 0 (debug) to 3 (error), not \"wran\"; did you mean 'warn'?".to_string()),
        ("log_level: 4", "f:1:12: log_level: must be error, warn, info, debug, trace or 0 (debug) to 3 (error), not 4".to_string()),
        ("log_file: 5", "f:1:11: log_file: must be a file, -, syslog or udp://HOST:PORT, not 5".to_string()),
        ("log_file: \"\"", "f:1:11: log_file: must be a file, -, syslog or udp://HOST:PORT, not \"\"".to_string()),
        ("access_log: off", "f:1:13: access_log: must be none or a file, -, syslog or udp://HOST:PORT, not \"off\"".to_string()),
        ("log_file: none", "f:1:11: log_file: must be a file, -, syslog or udp://HOST:PORT, not \"none\"".to_string()),
        ("access_log: udp://a", "f:1:13: access_log: must be none or a file, -, syslog or udp://HOST:PORT, not \"udp://a\"".to_string()),
        ("access_log_format: jsn", "f:1:20: access_log_format: must be plb or combined or json, not \"jsn\"; did you mean 'json'?".to_string()),
        ("pid_file: 5", "f:1:11: pid_file: must be text: a file, auto or none, not 5".to_string()),
        ("pid_file: \"\"", "f:1:11: pid_file: must be a file, auto or none, not \"\"".to_string()),
        ("user: 0", format!("f:1:7: user: must be {account}, not 0")),
        ("user: -1", format!("f:1:7: user: must be {account}, not -1")),
        ("user: \"0\"", format!("f:1:7: user: must be {account}, not \"0\"")),
        ("user: 4294967295", format!("f:1:7: user: must be {account}, not 4294967295")),
        ("user: \"\"", format!("f:1:7: user: must be {account}, not \"\"")),
        ("group: a:b", format!("f:1:8: group: must be {account}, not \"a:b\"")),
        ("group: [a]", format!("f:1:8: group: must be {account}, not a list")),
        ("chroot_dir: var/empty", format!("f:1:13: chroot_dir: must be {directory}, not \"var/empty\"")),
        ("chroot_dir: /", format!("f:1:13: chroot_dir: must be {directory}, not \"/\"")),
        ("chroot_dir: /./", format!("f:1:13: chroot_dir: must be {directory}, not \"/./\"")),
        ("chroot_dir: /var/../tmp", format!("f:1:13: chroot_dir: must be {directory}, not \"/var/../tmp\"")),
        ("seccomp: on", "f:1:10: seccomp: must be true or false, not \"on\"".to_string()),
        ("core_dumps: 1", "f:1:13: core_dumps: must be true or false, not 1".to_string()),
        ("balance: round_robbin", "f:1:10: balance: must be round_robin or least_connections or random or hash or first, not \"round_robbin\"; did you mean 'round_robin'?".to_string()),
        ("balance: [random]", "f:1:10: balance: must be round_robin or least_connections or random or hash or first, not a list".to_string()),
        ("balance: { on: path }", "f:1:10: balance: the key 'type' is missing (required: type)".to_string()),
        ("balance: { type: hsh }", "f:1:18: balance.type: must be round_robin or least_connections or random or hash or first, not \"hsh\"; did you mean 'hash'?".to_string()),
        ("balance: { type: first, on: path }", "f:1:25: balance.on: unknown key (allowed: type)".to_string()),
        ("balance: { type: hash, name: a }", "f:1:24: balance.name: unknown key (allowed: load_factor, on, type)".to_string()),
        ("balance: { type: hash, on: cookie }", "f:1:10: balance: the key 'name' is missing (required: type, name)".to_string()),
        ("balance: { type: hash, on: header, name: a b }", "f:1:42: balance.name: must be 1 to 128 letters, digits and marks such as '-' and '_', not \"a b\"".to_string()),
        ("balance: { type: hash, load_factor: 1 }", "f:1:37: balance.load_factor: must be none or a number from 1.01 to 100 with at most two decimals, not 1".to_string()),
        ("balance: { type: hash, load_factor: 1.005 }", "f:1:37: balance.load_factor: must be none or a number from 1.01 to 100 with at most two decimals, not 1.005".to_string()),
        ("via: &a true", "f:1:6: via: anchors (&name) and aliases (*name) are not allowed; write the value out".to_string()),
        ("via: !!bool true", "f:1:6: via: tags (!name) are not allowed; write the plain value".to_string()),
        ("[a]: 1", "f:1:1: a key must be text, not a list or a map".to_string()),
        ("via: true\nvia: false", "f:2:1: via: duplicate key; it is already in line 1".to_string()),
    ];
    for (setting, message) in table {
        assert_eq!(errors(&format!("{setting}\n{GOOD}")), [message], "{setting}");
    }
}

#[test]
fn a_wrong_listener_is_reported_with_what_is_allowed() {
    let listen = "must be ADDRESS:PORT, such as 127.0.0.1:8080 or \"[::1]:8080\"";
    let table = [
        ("name: web", "name: a b", "f:2:11: listeners[0].name: must be 1 to 64 letters, digits, '.', '_' or '-', not \"a b\"".to_string()),
        ("name: web\n    ", "", "f:2:5: listeners[0]: the key 'name' is missing (required: name, listen, pool)".to_string()),
        ("pool: web", "pool: wbe", "f:4:11: listeners[0].pool: there is no pool \"wbe\"; did you mean 'web'? (pools: web)".to_string()),
        ("pool: web", "pool: web\n    protocol: htp", "f:5:15: listeners[0].protocol: must be http or tcp, not \"htp\"; did you mean 'http'?".to_string()),
        ("pool: web", "pool: web\n    timeout_tunnel: x", "f:5:21: listeners[0].timeout_tunnel: must be a duration from 1ms to 720h with its unit (ms, s, m or h), such as 30s, not \"x\"".to_string()),
        ("127.0.0.1:0", "localhost:80", format!("f:3:13: listeners[0].listen: {listen}, not \"localhost:80\"")),
        ("127.0.0.1:0", "80", format!("f:3:13: listeners[0].listen: {listen}, or a list of them, not 80")),
        ("127.0.0.1:0", "[1.2.3.4:0, x]", format!("f:3:25: listeners[0].listen[1]: {listen}, not \"x\"")),
        ("127.0.0.1:0", "[]", format!("f:3:13: listeners[0].listen: the list is empty; it must be {}, or a list of them", &listen[8..])),
        ("127.0.0.1:0", "[1.2.3.4:5, 1.2.3.4:5]", "f:3:25: listeners[0].listen[1]: duplicate address 1.2.3.4:5; it is already in line 3".to_string()),
        ("pool: web\n", "pool: web\n  - { name: web, listen: 1.2.3.4:0, pool: web }\n", "f:5:13: listeners[1].name: duplicate listener \"web\"; it is already in line 2".to_string()),
        ("pool: web\n", "pool: web\n  - 5\n", "f:5:5: listeners[1]: must be a map with the keys name, listen and pool, not 5".to_string()),
        ("  - name: web\n    listen: 127.0.0.1:0\n    pool: web\n", "", "f:1:1: listeners: must be a list of listeners, not nothing".to_string()),
    ];
    for (old, new, message) in table {
        assert_eq!(errors(&good_but(old, new)), [message], "{new}");
    }
}

#[test]
fn a_wrong_pool_is_reported_with_what_is_allowed() {
    let host = "must be HOST:PORT with a port from 1 to 65535, such as 10.0.0.1:80, app.example:80 or \"[::1]:80\"";
    let table = [
        ("weight", "wieght", "f:9:34: pools.web.backends[1].wieght: unknown key; did you mean 'weight'? (allowed: address, max_connections, name, state, tier, weight)".to_string()),
        ("weight: 2", "weight: 257", "f:9:42: pools.web.backends[1].weight: must be a whole number from 0 to 256, not 257".to_string()),
        ("\"[::1]:8082\"", "1.2.3.4", format!("f:9:20: pools.web.backends[1].address: {host}, not \"1.2.3.4\"")),
        ("address: \"[::1]:8082\", ", "", "f:9:9: pools.web.backends[1]: the key 'address' is missing (required: address)".to_string()),
        ("127.0.0.1:8081", "127.0.0.1:0", format!("f:8:9: pools.web.backends[0]: {host}, not \"127.0.0.1:0\"")),
        ("127.0.0.1:8081", "5", "f:8:9: pools.web.backends[0]: must be a map with the key address, or HOST:PORT, not 5".to_string()),
        ("name: second", "name: 5", "f:9:51: pools.web.backends[1].name: must be text: 1 to 64 letters, digits, '.', '_' or '-', not 5".to_string()),
        ("127.0.0.1:8081", "{ address: a:1, name: second }", "f:9:51: pools.web.backends[1]: duplicate backend \"second\"; it is already in line 8 (names must differ in a pool)".to_string()),
        ("backends:", "backends: []\n    via:", "f:7:15: pools.web.backends: the list is empty; it must be a list of HOST:PORT or maps".to_string()),
        ("  web:\n", "  web: { backends: [a:1] }\n  web:\n", "f:7:3: pools.web: duplicate key; it is already in line 6".to_string()),
        ("  web:\n", "  a b: { backends: [a:1] }\n  web:\n", "f:6:3: pools.\"a b\": a pool's name must be 1 to 64 letters, digits, '.', '_' or '-', not \"a b\"".to_string()),
        ("  web:\n", "  api: 7\n  web:\n", "f:6:8: pools.api: must be a map with the key backends, not 7".to_string()),
    ];
    for (old, new, message) in table {
        let found = errors(&good_but(old, new));
        assert!(found.contains(&message), "{new}: {found:#?}");
        assert!(found.len() == 1 || new.contains("via"), "{new}: {found:#?}");
    }
}

#[test]
fn a_wrong_socket_setting_is_reported_once_wherever_it_stands() {
    let seconds = |max: &str| format!("must be none or a duration of whole seconds from 1s to {max}, such as 30s, not");
    let source = "must be none, an address of this host, or a list of an IPv4 and an IPv6 one, such as [10.0.0.1, \"fd00::1\"], not";
    let table = [
        ("tcp_nodelay: 1", "tcp_nodelay: must be true or false, not 1".to_string()),
        ("tcp_keep_alive: 1500ms", format!("tcp_keep_alive: {} \"1500ms\"", seconds("9h"))),
        ("tcp_keep_alive: 10h", format!("tcp_keep_alive: {} \"10h\"", seconds("9h"))),
        ("tcp_user_timeout: 60", format!("tcp_user_timeout: {} 60", seconds("24h"))),
        ("source: eth0", format!("source: {source} \"eth0\"")),
        ("source: [10.0.0.1, 10.0.0.2]", format!("source: {source} a list")),
    ];
    for (setting, message) in table {
        let column = 1 + setting.find(' ').expect("a space");
        let top = errors(&format!("{setting}\n{GOOD}"));
        assert_eq!(top, [format!("f:1:{}: {message}", column + 1)], "{setting}");
        let pool = errors(&good_but("    backends:", &format!("    {setting}\n    backends:")));
        assert_eq!(pool, [format!("f:7:{}: pools.web.{message}", column + 5)], "{setting}");
    }
    let listener = errors(&good_but("pool: web", "pool: web\n    source: 10.0.0.1"));
    assert!(listener.len() == 1 && listener[0].contains("listeners[0].source: unknown key"), "{listener:?}");
    let unknown = errors(&format!("tcp_no_delay: true\n{GOOD}"));
    assert!(unknown[0].contains("did you mean 'tcp_nodelay'?"), "{unknown:?}");
    assert_eq!(unknown[0].matches("tcp_keep_alive").count(), 1, "{unknown:?}");
}

#[test]
fn a_wrong_limit_of_clients_is_reported_with_what_is_allowed() {
    let map = "must be a map with the keys requests, period and burst, or none";
    let count = "must be a whole number from 1 to 1000000";
    let table = [
        ("rate_limit: 5", format!("f:5:17: listeners[0].rate_limit: {map}, not 5")),
        ("rate_limit: {}", "f:5:17: listeners[0].rate_limit: the key 'requests' is missing (required: requests)".to_string()),
        ("rate_limit: { requests: 0 }", format!("f:5:29: listeners[0].rate_limit.requests: {count}, not 0")),
        ("rate_limit: { requests: 1, burst: 0 }", format!("f:5:39: listeners[0].rate_limit.burst: {count}, not 0")),
        ("rate_limit: { requests: 1, period: 0s }", "f:5:40: listeners[0].rate_limit.period: must be a duration from 1ms to 720h with its unit (ms, s, m or h), such as 30s, not \"0s\"".to_string()),
        ("rate_limit: { requests: 1, brust: 2 }", "f:5:32: listeners[0].rate_limit.brust: unknown key; did you mean 'burst'? (allowed: burst, period, requests)".to_string()),
        ("routes: [{ deny: true, rate_limit: { requests: x } }]", format!("f:5:52: listeners[0].routes[0].rate_limit.requests: {count}, not \"x\"")),
    ];
    for (line, message) in table {
        assert_eq!(errors(&good_but("    pool: web\n", &format!("    pool: web\n    {line}\n"))), [message], "{line}");
    }
    assert_eq!(errors(&good_but("    pool: web\n", "    pool: web\n    rate_limit: none\n")), [""; 0]);
}

#[test]
fn a_wrong_access_is_reported_with_what_is_allowed() {
    let network = "must be an address or a network, such as 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32";
    let table = [
        ("access: deny", "f:5:13: listeners[0].access: must be a map with the keys rules and default, or none, not \"deny\"".to_string()),
        ("access: { rules: [allow: 10.0.0.1] }", "f:5:13: listeners[0].access: the key 'default' is missing (required: rules, default)".to_string()),
        ("access: { rules: [allow: 10.0.0.1], default: dney }", "f:5:50: listeners[0].access.default: must be allow or deny, not \"dney\"; did you mean 'deny'?".to_string()),
        ("access: { rules: [{ allow: 10.0.0.1/8 }], default: deny }", "f:5:32: listeners[0].access.rules[0].allow: \"10.0.0.1/8\" has bits behind its prefix; the network is 10.0.0.0/8".to_string()),
        ("access: { rules: [{ allow: [\"::1\", ::2/129] }], default: deny }", format!("f:5:40: listeners[0].access.rules[0].allow[1]: {network}, not \"::2/129\"")),
        ("access: { rules: [{ deny: { file: a } }], default: deny }", "f:5:39: listeners[0].access.rules[0].deny.file: \"a\" cannot be read: there are no files here".to_string()),
        ("access: { rules: [{ deny: 10.0.0.1 }], default: deny, action: { pool: wbe } }", "f:5:75: listeners[0].access.action.pool: there is no pool \"wbe\"; did you mean 'web'? (pools: web)".to_string()),
        ("max_clients: 0", "f:5:18: listeners[0].max_clients: must be none or a whole number from 1 to 1000000, not 0".to_string()),
    ];
    for (line, message) in table {
        assert_eq!(errors(&good_but("    pool: web\n", &format!("    pool: web\n    {line}\n"))), [message], "{line}");
    }
}

#[test]
fn the_pool_of_those_who_are_denied_must_suit_the_listener() {
    let access = "access: { rules: [deny: 10.0.0.1], default: allow, action: { pool: tar } }";
    let tar = "pools:\n  tar: { backends: [a:1], affinity: { type: insert_cookie, name: c } }\n";
    let text = good_but("    pool: web\n", &format!("    pool: web\n    {access}\n")).replace("pools:\n", tar);
    assert_eq!(errors(&text), [""; 0]);
    let found = errors(&text.replace("    pool: web\n", "    pool: web\n    protocol: tcp\n"));
    let message = "its pool's affinity is of a type that a tcp listener cannot follow (allowed: source)";
    assert_eq!(found, [format!("f:6:13: listeners[0].access: {message}")]);
    let hashed = text.replace("affinity: { type: insert_cookie, name: c }", "balance: { type: hash, on: path }");
    assert_eq!(errors(&hashed), [""; 0]);
    let found = errors(&hashed.replace("    pool: web\n", "    pool: web\n    protocol: tcp\n"));
    let message = "its pool's backends are chosen by a hash of what a tcp listener does not know (allowed: on: source)";
    assert_eq!(found, [format!("f:6:13: listeners[0].access: {message}")]);
}

#[test]
fn the_clients_of_a_listener_are_its_own_limit_and_its_rate_may_be_that_of_all() {
    let text = format!("max_clients: 7\naccept_rate: 9\n{GOOD}");
    let config = parse("f", &text.replace("    pool: web\n", "    pool: web\n    max_clients: 3\n")).unwrap();
    assert_eq!((config.max_clients, config.listeners[0].clients_max), (7, Some(3)));
    let config = parse("f", &text).unwrap();
    assert_eq!((config.listeners[0].clients_max, config.listeners[0].accept_rate), (None, Some(9)));
}

#[test]
fn a_wrong_password_file_is_reported_with_its_line_and_without_its_hashes() {
    let read = |auth: &str, users: &'static str| {
        let text = good_but(
            "    pool: web\n",
            &format!("    pool: web\n    routes: [{{ deny: true, basic_auth: {auth} }}]\n"),
        );
        let found = parse_with("f", &text, &|_, _| Ok(users.as_bytes().to_vec())).err().unwrap_or_default();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let good = "ann:$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";
    assert_eq!(read("{ realm: a, file: u }", good), [""; 0]);
    let at = "listeners[0].routes[0].basic_auth";
    let of = "must be of bcrypt ($2y$..) or sha-crypt ($5$.., $6$..)";
    let long = "$2y$14$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW";
    let dear = "at most 12 is allowed: all clients would wait while one password is verified";
    let table = [
        ("5", good, format!("{at}: must be a map with the keys realm and file, not 5")),
        ("{ realm: a }", good, format!("{at}: the key 'file' is missing (required: realm, file)")),
        (
            "{ realm: 'a\"b', file: u }",
            good,
            format!("{at}.realm: must be 1 to 64 characters of printable ASCII without '\"' and '\\', not \"a\\\"b\""),
        ),
        ("{ realm: a, file: u }", "", format!("{at}.file: u: there is no user in it (a line is USER:HASH)")),
        ("{ realm: a, file: u }", "# a\nann:secret\n", format!("{at}.file: u:2: the hash {of}")),
        ("{ realm: a, file: u }", "ann:$apr1$a$secret\n", format!("{at}.file: u:1: the hash {of}")),
        ("{ realm: a, file: u }", "ann:{SHA}secret=\n", format!("{at}.file: u:1: the hash {of}")),
        (
            "{ realm: a, file: u }",
            concat!("ann:", "$2y$14$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW"),
            format!("{at}.file: u:1: the cost of bcrypt is 14, {dear}"),
        ),
    ];
    for (auth, users, message) in table {
        let found = read(auth, users);
        let is_told = |line: &String| line.starts_with("f:5:") && line.ends_with(&message);
        assert!(found.iter().any(is_told), "{auth} {users}: {message}\n{found:#?}");
        assert!(found.iter().all(|line| !line.contains("secret") && !line.contains(long)), "{found:#?}");
    }
}

#[test]
fn a_wrong_route_is_reported_with_what_is_allowed() {
    let actions = "pool, redirect, respond, deny";
    let path = "a path that begins with '/', without %-escapes, '//', '/./', '/../', '?', '#' and ';'";
    let target = "a path, or http:// or https:// with a host";
    let table = [
        ("{}", "f:6:9: routes[0]: must have one of ACTIONS, not none".to_string()),
        ("5", "f:6:9: routes[0]: must be a map with one of the keys pool, redirect, respond and deny, not 5".to_string()),
        ("{ pool: web, deny: true }", "f:6:9: routes[0]: must have one of ACTIONS, not pool, deny".to_string()),
        ("{ deny: false }", "f:6:17: routes[0].deny: must be true, not false".to_string()),
        ("{ pool: wbe }", "f:6:17: routes[0].pool: there is no pool \"wbe\"; did you mean 'web'? (pools: web)".to_string()),
        ("{ deny: true, strip_prefix: /a }", "f:6:37: routes[0].strip_prefix: means nothing where no pool serves".to_string()),
        ("{ deny: true, matches: {} }", "f:6:23: routes[0].matches: unknown key; did you mean 'match'? (allowed: ".to_string()),
        ("{ pool: web, body_max: x }", "f:6:32: routes[0].body_max: must be none or a size in bytes, KiB, MiB or GiB, such as 1MiB, not \"x\"".to_string()),
        ("{ pool: web, match: }", "f:6:22: routes[0].match: must be a map of conditions, not nothing".to_string()),
        ("{ pool: web, match: { hosts: a } }", "f:6:31: routes[0].match.hosts: unknown key; did you mean 'host'? (allowed: client, ".to_string()),
        ("{ pool: web, match: { host: [a, b c] } }", "f:6:41: routes[0].match.host[1]: must be a host, or *. and a host for all below it, not \"b c\"".to_string()),
        ("{ pool: web, match: { host: [] } }", "f:6:37: routes[0].match.host: the list is empty, so that no request could meet it".to_string()),
        ("{ pool: web, match: { host: } }", "f:6:31: routes[0].match.host: must be a host, or *. and a host for all below it, not nothing".to_string()),
        ("{ pool: web, match: { path: a } }", format!("f:6:37: routes[0].match.path: must be {path}, not \"a\"")),
        ("{ pool: web, match: { path_prefix: /%61 } }", format!("f:6:44: routes[0].match.path_prefix: must be {path}, not \"/%61\"")),
        ("{ pool: web, match: { path_regex: 'a(b' } }", "f:6:43: routes[0].match.path_regex: must be a regular expression: unclosed group".to_string()),
        ("{ pool: web, match: { path_regex: '((a{100}){100}){100}' } }", "f:6:43: routes[0].match.path_regex: must be a regular expression: Compiled regex exceeds size limit of 262144 bytes.".to_string()),
        ("{ pool: web, match: { path_regex: '\\pL' } }", "f:6:43: routes[0].match.path_regex: must be a regular expression: Unicode not allowed here".to_string()),
        ("{ pool: web, match: { query: x } }", "f:6:38: routes[0].match.query: must be a map with the key name, or a list of them, not \"x\"".to_string()),
        ("{ pool: web, match: { header: [{ equals: x }] } }", "f:6:40: routes[0].match.header[0]: the key 'name' is missing (required: name)".to_string()),
        ("{ pool: web, match: { header: { name: a b } } }", "f:6:39: routes[0].match.header: must be 1 to 128 letters, digits and marks such as '-' and '_', not \"a b\"".to_string()),
        ("{ pool: web, match: { method: [GET, 'A B'] } }", "f:6:45: routes[0].match.method[1]: must be a method in capitals but CONNECT, such as GET, not \"A B\"".to_string()),
        ("{ pool: web, match: { method: get } }", "f:6:39: routes[0].match.method: must be a method in capitals but CONNECT, such as GET, not \"get\"".to_string()),
        ("{ pool: web, match: { client: 10.0.0.1/8 } }", "f:6:39: routes[0].match.client: \"10.0.0.1/8\" has bits behind its prefix; the network is 10.0.0.0/8".to_string()),
        ("{ pool: web, match: { not: { not: {} } } }", "f:6:38: routes[0].match.not.not: unknown key".to_string()),
        ("{ redirect: /a }", "f:6:21: routes[0].redirect: must be a map with the key to, not \"/a\"".to_string()),
        ("{ redirect: {} }", "f:6:21: routes[0].redirect: the key 'to' is missing (required: to)".to_string()),
        ("{ redirect: { to: /a, status: 300 } }", "f:6:39: routes[0].redirect.status: must be 301, 302, 303, 307 or 308, not 300".to_string()),
        ("{ redirect: { to: \"//b{path}\" } }", format!("f:6:27: routes[0].redirect.to: must be {target}, not \"//b{{path}}\"")),
        ("{ redirect: { to: \"https://{path}\" } }", format!("f:6:27: routes[0].redirect.to: must be {target}, not \"https://{{path}}\"")),
        ("{ redirect: { to: \"/{pth}\" } }", "f:6:27: routes[0].redirect.to: has the unknown placeholder \"pth\"; did you mean 'path'? (allowed: {host}, ".to_string()),
        ("{ respond: { status: 199 } }", "f:6:30: routes[0].respond.status: must be a whole number from 200 to 599, not 199".to_string()),
        ("{ respond: { status: 204, text: a } }", "f:6:20: routes[0].respond: a response 204 has no content".to_string()),
        ("{ respond: { status: 304 } }", "f:6:20: routes[0].respond: a response 304 has no content".to_string()),
        ("{ respond: { file: /a } }", "f:6:28: routes[0].respond.file: \"/a\" cannot be read: there are no files here".to_string()),
        ("{ respond: { headers: { X: \"a\\r\\nb\" } } }", "f:6:36: routes[0].respond.headers.X: must be printable ASCII, not \"a\\r\\nb\"".to_string()),
        ("{ respond: { headers: { X: 5 } } }", "f:6:36: routes[0].respond.headers.X: must be text: printable ASCII, not 5".to_string()),
        ("{ respond: { headers: { content-type: a } } }", "f:6:31: routes[0].respond.headers: the type belongs into content_type".to_string()),
        ("{ pool: web, replace_prefix: { from: /a } }", "f:6:38: routes[0].replace_prefix: the key 'to' is missing (required: from, to)".to_string()),
        ("{ pool: web, strip_prefix: /a, replace_prefix: { from: /a, to: / } }", "f:6:56: routes[0].replace_prefix: there is a strip_prefix already".to_string()),
        ("{ pool: web, request_headers: { set: { content-length: \"5\" } } }", "f:6:48: routes[0].request_headers.set.content-length: content-length is a field that plb writes itself".to_string()),
        ("{ pool: web, request_headers: { add: { Host: a } } }", "f:6:48: routes[0].request_headers.add.Host: Host is a field that plb writes itself".to_string()),
        ("{ pool: web, request_headers: { set: { Host: a b } } }", "f:6:54: routes[0].request_headers.set.Host: must be a host, or HOST:PORT, not \"a b\"".to_string()),
        ("{ pool: web, response_headers: { set: { Host: a } } }", "f:6:49: routes[0].response_headers.set.Host: Host is a field that plb writes itself".to_string()),
        ("{ pool: web, response_headers: { remove: [a, Connection] } }", "f:6:54: routes[0].response_headers.remove[1]: Connection is a field that plb writes itself".to_string()),
        ("{ pool: web, response_headers: { add: { A: \"{path}\" } } }", "f:6:40: routes[0].response_headers: {path} and {query} are for requests only".to_string()),
        ("{ pool: web, response_headers: { add: { A: \"{host}{host}{host}{host}{host}\" } } }", "f:6:40: routes[0].response_headers: adds up to 1280 bytes to a head (at most 1024)".to_string()),
        ("{ deny: true, response_headers: { set: { Content-Type: a } } }", "f:6:41: routes[0].response_headers: the type belongs into content_type".to_string()),
    ];
    for (route, message) in table {
        let text = good_but("    pool: web\n", &format!("    pool: web\n    routes:\n      - {route}\n"));
        let message = message.replace(": routes", ": listeners[0].routes").replace("ACTIONS", actions);
        let found = errors(&text);
        assert!(found.len() == 1 && found[0].starts_with(&message), "{route}: {message}\n{found:#?}");
    }
}

#[test]
fn a_listener_without_routes_needs_a_pool_and_one_of_tcp_has_no_routes() {
    assert_eq!(errors(&good_but("    pool: web\n", "    routes: [{ deny: true }]\n")), [""; 0]);
    let tcp = "    pool: web\n    protocol: tcp\n    routes: [{ deny: true }]\n";
    assert_eq!(
        errors(&good_but("    pool: web\n", tcp)),
        ["f:6:5: listeners[0].routes: routes are for the protocol http"]
    );
    assert_eq!(
        errors(&good_but("    pool: web\n", "    pool: web\n    routes: []\n")),
        ["f:5:13: listeners[0].routes: the list is empty; it must be a list of routes"]
    );
    assert_eq!(
        errors(&good_but("    pool: web\n", "    routes: [{ pool: web }]\n    no_route: 500\n")),
        ["f:5:15: listeners[0].no_route: must be 404 or 503, not 500"]
    );
}

#[test]
fn a_wrong_affinity_is_reported_with_what_is_allowed() {
    let name = "1 to 128 letters, digits and marks such as '-' and '_'";
    let table = [
        ("type: source, ttl: 5", "f:7:36: pools.web.affinity.ttl: must be a duration from 1ms to 720h with its unit (ms, s, m or h), such as 30s, not 5".to_string()),
        ("ttl: 5s", "f:7:15: pools.web.affinity: the key 'type' is missing (required: type)".to_string()),
        ("type: cookies", "f:7:23: pools.web.affinity.type: must be source or basic_auth or url_parameter or path_parameter or cookie or header or insert_cookie or prefix_cookie, not \"cookies\"; did you mean 'cookie'?".to_string()),
        ("type: source, name: a", "f:7:31: pools.web.affinity.name: unknown key (allowed: failback, prefix_v4, prefix_v6, table_size, ttl, type)".to_string()),
        ("type: source, failback: back", "f:7:41: pools.web.affinity.failback: must be stay or return, not \"back\"".to_string()),
        ("type: cookie", "f:7:15: pools.web.affinity: the key 'name' is missing (required: type, name)".to_string()),
        ("type: cookie, name: a;b", format!("f:7:37: pools.web.affinity.name: must be {name}, not \"a;b\"")),
        ("type: prefix_cookie, name: S, ttl: 1s", "f:7:47: pools.web.affinity.ttl: unknown key (allowed: name, type)".to_string()),
        ("type: insert_cookie, name: S, path: x", "f:7:53: pools.web.affinity.path: must be a path of at most 128 printable characters that begins with '/' and has no ';', not \"x\"".to_string()),
        ("type: insert_cookie, name: S, domain: a b", "f:7:55: pools.web.affinity.domain: must be a domain, not \"a b\"".to_string()),
        ("type: insert_cookie, name: S, same_site: none", "f:7:58: pools.web.affinity.same_site: browsers take a cookie with same_site: none only with secure: true".to_string()),
        ("type: insert_cookie, name: S, secret: short", "f:7:55: pools.web.affinity.secret: the secret must have 16 to 1024 bytes, not 5".to_string()),
        ("type: insert_cookie, name: S, secret: 0x23456789abcdefgh, secret_file: s", "f:7:88: pools.web.affinity.secret_file: only one of secret and secret_file can be used".to_string()),
        ("type: insert_cookie, name: S, secret_file: s", "f:7:60: pools.web.affinity.secret_file: \"s\" cannot be read: there are no files here".to_string()),
    ];
    for (affinity, message) in table {
        assert_eq!(
            errors(&good_but("    backends:", &format!("    affinity: {{ {affinity} }}\n    backends:"))),
            [message],
            "{affinity}"
        );
    }
    let text = good_but("    backends:", "    affinity: source\n    backends:");
    assert_eq!(errors(&text), ["f:7:15: pools.web.affinity: must be a map with the key type, not \"source\""]);
    let tcp = good_but("    pool: web", "    pool: web\n    protocol: tcp");
    let with =
        |kind: &str| errors(&tcp.replace("    backends:", &format!("    affinity: {{ type: {kind} }}\n    backends:")));
    assert_eq!(with("source"), [""; 0]);
    let message = "its affinity is of a type that a tcp listener cannot follow (allowed: source)";
    assert_eq!(with("basic_auth"), [format!("f:4:11: listeners[0].pool: {message}")]);
    let with = |on: &str| {
        errors(&tcp.replace("    backends:", &format!("    balance: {{ type: hash, on: {on} }}\n    backends:")))
    };
    assert_eq!(with("source"), [""; 0]);
    let message = "its backends are chosen by a hash of what a tcp listener does not know (allowed: on: source)";
    assert_eq!(with("uri"), [format!("f:4:11: listeners[0].pool: {message}")]);
}

#[test]
fn a_wrong_health_is_reported_with_what_is_allowed() {
    let table = [
        (
            "type: tpc",
            "f:7:21: pools.web.health.type: must be tcp or http or smtp or exchange, not \"tpc\"; did you mean 'tcp'?",
        ),
        ("helo: a", "f:7:21: pools.web.health.helo: is for the type smtp, not for tcp"),
        (
            "type: http, status: [200, 99]",
            "f:7:41: pools.web.health.status[1]: must be a status from 200 to 599 or a range such as 200-299, not 99",
        ),
        ("type: exchange", "f:7:13: pools.web.health: the key 'expect' is missing (required for the type exchange)"),
        ("interval: 0s", "f:7:25: pools.web.health.interval: must be a duration from 1ms to 720h with its unit"),
        ("interval: 1s, timeout: 2s", "f:7:38: pools.web.health.timeout: must be at most the interval, 1s"),
        ("fast_interval: 3s", "f:7:30: pools.web.health.fast_interval: must be at most the interval, 2s"),
        ("rise: 0", "f:7:21: pools.web.health.rise: must be a whole number from 1 to 1000, not 0"),
        ("fall: 1001", "f:7:21: pools.web.health.fall: must be a whole number from 1 to 1000, not 1001"),
        ("initial: unknown", "f:7:24: pools.web.health.initial: must be up or down, not \"unknown\""),
        ("port: 0", "f:7:21: pools.web.health.port: must be a whole number from 1 to 65535, not 0"),
        ("address: a:80", "f:7:24: pools.web.health.address: must be the name or the address of a host, not \"a:80\""),
        ("send_proxy: v3", "f:7:27: pools.web.health.send_proxy: must be none or v1 or v2, not \"v3\""),
        ("raise: 2", "f:7:15: pools.web.health.raise: unknown key; did you mean 'rise'? (allowed: "),
    ];
    for (health, message) in table {
        let found = errors(&good_but("    backends:", &format!("    health: {{ {health} }}\n    backends:")));
        assert!(found.len() == 1 && found[0].starts_with(message), "{health}: {found:#?}");
    }
    let text = good_but("    backends:", "    health: tcp\n    backends:");
    assert_eq!(errors(&text), ["f:7:13: pools.web.health: must be a map with the key type, not \"tcp\""]);
    let text = format!("on_down: drop\n{GOOD}");
    assert_eq!(errors(&text), ["f:1:10: on_down: must be keep or close, not \"drop\""]);
}

#[test]
fn what_a_health_section_leaves_out_follows_from_its_interval() {
    let text = good_but("    backends:", "    health: { interval: 700ms, address: \"[::1]\" }\n    backends:");
    let pools = parse("f", &text).expect("it is right").pools;
    let health = pools[0].health.as_ref().expect("it is there");
    assert_eq!([health.fast_interval, health.timeout], [Duration::from_millis(700); 2]);
    assert_eq!(health.address.as_deref(), Some("::1"));
}

#[test]
fn whoever_takes_headers_says_from_whom() {
    let message = "it needs trusted_proxies: the only ones who are believed";
    for protocol in ["tcp", "http"] {
        let bare = good_but("    pool: web", &format!("    pool: web\n    protocol: {protocol}"));
        let own = bare.replace("    pool: web\n", "    pool: web\n    accept_proxy: v2\n");
        assert_eq!(errors(&own), [format!("f:5:19: listeners[0].accept_proxy: {message}")]);
        assert_eq!(
            errors(&format!("accept_proxy: any\n{bare}")),
            [format!("f:3:5: listeners[0].accept_proxy: {message}")]
        );
        let empty = own.replace("accept_proxy: v2", "accept_proxy: v2\n    trusted_proxies: []");
        assert_eq!(errors(&format!("trusted_proxies: 10.0.0.1\n{empty}")).len(), 1);
        for good in [format!("trusted_proxies: 10.0.0.1\n{own}"), format!("accept_proxy: none\n{bare}")] {
            assert_eq!(errors(&good), [""; 0]);
        }
    }
}

#[test]
fn a_file_that_is_no_configuration_is_refused() {
    let missing = "is missing (required: listeners, pools)";
    let map = "must be a map with the keys listeners and pools";
    let table = [
        ("", vec![format!("f:1:1: {map}, not nothing")]),
        ("# nothing\n", vec![format!("f:1:1: {map}, not nothing")]),
        ("- 1\n", vec![format!("f:1:1: {map}, not a list")]),
        ("{}", vec![format!("f:1:1: the key 'listeners' {missing}"), format!("f:1:1: the key 'pools' {missing}")]),
        (
            "listeners: []\npools: {}",
            vec![
                "f:1:12: listeners: the list is empty; it must be a list of listeners".to_string(),
                "f:2:8: pools: the map is empty; it must be a map from pool names to pools".to_string(),
            ],
        ),
    ];
    for (text, messages) in table {
        assert_eq!(errors(text), messages, "{text}");
    }
    assert_eq!(
        errors(&format!("{GOOD}---\n{GOOD}")),
        ["f:10:1: a second document begins here; the file must hold only one"]
    );
    for text in ["a: [1", "a: \"b", "a: b: c", "a: 1\n b: 2", "a: *b", "a: @", "%YAML 9"] {
        let found = errors(text);
        assert!(found.len() == 1 && found[0].contains(": not valid YAML: "), "{text}: {found:?}");
    }
}

#[test]
fn all_mistakes_are_reported_in_one_run_by_line() {
    let text = "\
max_client: 1000
timeout_idle: 4
listeners:
  - name: web
    listen: 127.0.0.1:99999
    pool: wbe
pools:
  web:
    backends: [127.0.0.1:8081]
  web:
    backends:
      - { address: 127.0.0.1:8082, weight: -1 }
";
    let found = errors(text);
    let starts = [
        "f:1:1: max_client: unknown key; did you mean 'max_clients'? (allowed: accept_proxy, ",
        "f:2:15: timeout_idle: must be a duration",
        "f:5:13: listeners[0].listen: must be ADDRESS:PORT",
        "f:6:11: listeners[0].pool: there is no pool \"wbe\"; did you mean 'web'? (pools: web)",
        "f:10:3: pools.web: duplicate key; it is already in line 8",
        "f:12:44: pools.web.backends[0].weight: must be a whole number from 0 to 256, not -1",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}");
    }
}

#[test]
fn defaults_at_top_level_reach_the_sections_and_the_sections_win() {
    let text = format!("timeout_keep_alive: 7s\nserver_retry: 3\n{GOOD}");
    let config = parse("f", &text).unwrap();
    assert_eq!(config.listeners[0].timeouts.keep_alive, Duration::from_secs(7));
    assert_eq!(config.pools[0].server_retry, 3);
    let text = text.replace("    pool: web", "    pool: web\n    timeout_keep_alive: 8s");
    let config = parse("f", &text.replace("    backends", "    server_retry: 9\n    backends")).unwrap();
    assert_eq!(config.listeners[0].timeouts.keep_alive, Duration::from_secs(8));
    assert_eq!(config.pools[0].server_retry, 9);
}

#[test]
fn hostile_files_are_refused_fast() {
    let laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_string()
        + &('b'..='z')
            .map(|c| format!("{c}: &{c} [{}]\n", vec![format!("*{}", (c as u8 - 1) as char); 9].join(",")))
            .collect::<String>();
    // Long enough to show what is not linear, short enough for a debug build.
    let many = |piece: &str| piece.repeat(FILE_BYTES_MAX / 8 / piece.len());
    let files = [
        "[".repeat(100_000),
        many("["),
        many("{"),
        many("- "),
        many("? "),
        many("a: "),
        many("{a: "),
        many("!"),
        many("&"),
        many("'"),
        many("a"),
        many("\n"),
        many("- a\n"),
        many("|\n "),
        many("#\n"),
        many("\t"),
        many("? a\n"),
        many("%a\n"),
        many("- [\n"),
        format!("[{}", many("a,")),
        format!("[{}", many("a: b,")),
        format!("{{{}", many("a,")),
        format!("\"{}", many("\\x41")),
        format!("a: [{}]", "1,".repeat(60_000)),
        (0..15_000).map(|n| format!("k{n}: 1\n")).collect(),
        many("k: 1\n"),
        format!("pools:\n{}", (0..50_000).map(|n| format!(" p{n}: {{}}\n")).collect::<String>()),
        format!("pools:\n  a:\n    backends:\n{}", "      - a:1\n".repeat(70_000)),
        laughs,
        "x".repeat(FILE_BYTES_MAX + 1),
    ];
    for text in files {
        let begun = Instant::now();
        let found = errors(&text);
        let name: String = text.chars().take(20).collect();
        assert!(!found.is_empty() && found.len() <= 101, "{name:?}: {} errors", found.len());
        assert!(begun.elapsed() < Duration::from_secs(10), "{name:?} took {:?}", begun.elapsed());
    }
    assert!(errors(&"x".repeat(FILE_BYTES_MAX + 1))[0].starts_with("f:1:1: the file is too long: 1048577 bytes"));
}

#[test]
fn more_entries_than_the_limits_are_refused() {
    let pools: String = (0..1_001).map(|n| format!(" p{n}: {{ backends: [a:1] }}\n")).collect();
    let found = errors(&format!("listeners: [{{ name: a, listen: 1.2.3.4:0, pool: p0 }}]\npools:\n{pools}"));
    assert_eq!(found, ["f:1003:2: pools: too many pools: 1001 (at most 1000)"]);
    let listeners: String = (0..1_001).map(|n| format!(" - {{ name: l{n}, listen: 1.2.3.4:0, pool: p }}\n")).collect();
    let found = errors(&format!("listeners:\n{listeners}pools: {{ p: {{ backends: [a:1] }} }}"));
    assert_eq!(found, ["f:1002:4: listeners: too many entries: 1001 (at most 1000)"]);
    let backends: String = (0..65_534).map(|n| format!("  - h{n}:1\n")).collect();
    let pools = format!("pools:\n a:\n  backends:\n{backends} b: {{ backends: [a:1, a:2] }}\n");
    let found = errors(&format!("listeners: [{{ name: a, listen: 1.2.3.4:0, pool: a }}]\n{pools}"));
    assert_eq!(found, ["f:65539:23: pools.b.backends: too many backends (at most 65535 over all pools)"]);
}

#[test]
fn every_truncation_is_read_without_a_panic() {
    for text in [&SAMPLE[SAMPLE.find("\nlisteners:").unwrap()..], GOOD] {
        for end in (0..=text.len()).filter(|&end| text.is_char_boundary(end)) {
            let _ = parse("f", &text[..end]);
        }
    }
}

#[test]
fn every_mutation_is_read_without_a_panic_and_each_error_has_a_place() {
    const ALPHABET: &[char] = &[
        '[', ']', '{', '}', ':', '-', ' ', '\n', '\t', '"', '\'', '#', '&', '*', '!', '|', '>', '?', '%', '@', '0',
        'x', 'é', '\u{0}', '\r', ',',
    ];
    let active = SAMPLE.replace("# log_", "log_").replace("# timeout", "timeout");
    for seed in 0..3_000_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as usize % below
        };
        let base = if seed % 2 == 0 { GOOD } else { &active[active.find("listeners:").unwrap()..] };
        let mut text: Vec<char> = base.chars().collect();
        for _ in 0..=random(4) {
            let at = random(text.len());
            match random(3) {
                0 => drop(text.remove(at)),
                1 => text[at] = ALPHABET[random(ALPHABET.len())],
                _ => text.insert(at, ALPHABET[random(ALPHABET.len())]),
            }
        }
        let text: String = text.into_iter().collect();
        let lines = text.split(['\n', '\r']).count();
        for error in parse("f", &text).err().unwrap_or_default() {
            assert!(error.line >= 1 && error.line <= lines + 1 && error.column >= 1, "seed {seed}: {error}\n{text}");
            assert!(!error.message.contains('\n'), "seed {seed}: {error}");
        }
    }
}

#[test]
fn an_error_shows_its_line_with_a_caret() {
    let found = parse("f", &good_but("weight", "wieght")).unwrap_err();
    let excerpt = found[0].excerpt();
    let (line, caret) = excerpt.trim_end().split_once('\n').unwrap();
    assert_eq!(line.find("wieght"), caret.find('^'));
}

#[test]
fn what_is_wrong_with_attempts_and_emergencies_is_reported_with_what_is_allowed() {
    let mishaps = "must be connect or no_response or timeout or malformed or 404 or 408 or 425 or 429 or 500 or 502 or 503 or 504";
    let statuses = "must be a status from 200 to 599, or a range of them such as 502-504";
    let table = [
        ("retries: -1", "f:7:14: pools.web.retries: must be all or a whole number from 0 to 100, not -1".to_string()),
        ("retries: 101", "f:7:14: pools.web.retries: must be all or a whole number from 0 to 100, not 101".to_string()),
        (
            "retries: none",
            "f:7:14: pools.web.retries: must be all or a whole number from 0 to 100, not \"none\"".to_string(),
        ),
        ("retry_on: [connect, 501]", format!("f:7:25: pools.web.retry_on[1]: {mishaps}, not 501")),
        ("retry_on: always", format!("f:7:15: pools.web.retry_on: {mishaps}, not \"always\"")),
        ("failover: off", "f:7:15: pools.web.failover: must be true or false, not \"off\"".to_string()),
        ("failure_statuses: [500, 600]", format!("f:7:29: pools.web.failure_statuses[1]: {statuses}, not 600")),
        ("failure_statuses: 504-502", format!("f:7:23: pools.web.failure_statuses: {statuses}, not \"504-502\"")),
        (
            "emergency: wep",
            "f:7:16: pools.web.emergency: there is no pool \"wep\"; did you mean 'web'? (pools: web)".to_string(),
        ),
        ("emergency: web", "f:7:16: pools.web.emergency: the emergencies lead round in a circle: web, web".to_string()),
        (
            "emergency: 5",
            "f:7:16: pools.web.emergency: must be the name of a pool, or a map with the key respond, not 5".to_string(),
        ),
        (
            "emergency: { pool: web }",
            "f:7:16: pools.web.emergency: must be the name of a pool, or a map with the key respond, not a map"
                .to_string(),
        ),
        ("emergency: {}", "f:7:16: pools.web.emergency: the key 'respond' is missing (required: respond)".to_string()),
        (
            "emergency: { respond: { status: 100 } }",
            "f:7:37: pools.web.emergency.respond.status: must be a whole number from 200 to 599, not 100".to_string(),
        ),
    ];
    for (setting, message) in table {
        let text = good_but("    backends:", &format!("    {setting}\n    backends:"));
        assert_eq!(errors(&text), [message], "{setting}");
    }
    let top = good_but("pools:", "emergency: web\npools:");
    assert!(errors(&top)[0].starts_with("f:5:1: emergency: unknown key"), "{:?}", errors(&top));
}

#[test]
fn a_circle_of_emergencies_is_found_where_it_is_and_a_chain_into_it_is_none_of_its_own() {
    let chain = |last: &str| {
        format!(
            "{GOOD}    emergency: b\n  b: {{ emergency: c, backends: [a:1] }}\n  c: {{ emergency: {last}, backends: [a:1] }}\n  d: {{ backends: [a:1] }}\n"
        )
    };
    assert_eq!(errors(&chain("d")), [""; 0]);
    let circle = "the emergencies lead round in a circle";
    assert_eq!(
        errors(&chain("b")),
        [
            format!("f:11:19: pools.b.emergency: {circle}: b, c, b"),
            format!("f:12:19: pools.c.emergency: {circle}: c, b, c")
        ]
    );
}

#[test]
fn a_tcp_listener_has_no_emergency_that_it_cannot_follow() {
    let tcp = good_but("    pool: web", "    pool: web\n    protocol: tcp");
    let with = |emergency: &str, b: &str| {
        errors(&format!("{tcp}    emergency: {emergency}\n  b: {{ {b}, backends: [a:1] }}\n"))
    };
    assert_eq!(with("b", "server_retry: 1"), [""; 0]);
    let response = "emergency is a response, which a tcp listener cannot give (allowed: a pool)";
    assert_eq!(
        with("{ respond: { status: 503 } }", "retries: 1"),
        [format!("f:4:11: listeners[0].pool: its {response}")]
    );
    assert_eq!(
        with("b", "emergency: { respond: { status: 503 } }"),
        [format!("f:4:11: listeners[0].pool: in an emergency, \"b\"'s {response}")]
    );
    let affinity = "affinity is of a type that a tcp listener cannot follow (allowed: source)";
    assert_eq!(
        with("b", "affinity: { type: basic_auth }"),
        [format!("f:4:11: listeners[0].pool: in an emergency, \"b\"'s {affinity}")]
    );
}
