//! The configuration files: each balancer set up for the same work, one HTTP and two TCP listeners.
//!
//! No access log, no route, no cookie and no field added to requests where it is not the point; one thread or worker,
//! backend connections kept for reuse, limits that no unit reaches; no response is put into files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::unistd::geteuid;

use crate::balancer::Kind;
use crate::messages::{self, COOKIE};
use crate::origin::Origin;

/// The idle backend connections that nginx keeps, where the backends are few.
const IDLE_MAX: usize = 128;

/// Where a balancer listens.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// For HTTP clients.
    pub http: SocketAddr,
    /// For TCP clients who want their bytes back.
    pub echo: SocketAddr,
    /// For HTTP clients whose bytes go through as they are.
    pub tunnel: SocketAddr,
}

/// What a balancer is set up for besides the plain work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scene {
    /// The number of HTTP backends.
    pub backends: u16,
    /// What becomes of every exchange's line.
    pub access_log: AccessLog,
    /// What a backend is told of a request.
    pub told: Told,
    /// How many routes there are, each for a host of its own; without any, all requests go the same way.
    pub routes: u16,
    /// Whether clients come back to their backend.
    pub affinity: Affinity,
}

/// The fields that are added to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// None.
    Nothing,
    /// X-Forwarded-For.
    Address,
    /// X-Forwarded-For and X-Request-Id, with a value made for it.
    AddressAndId,
}

/// Whether clients come back to their backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Each request goes to the next one.
    Off,
    /// By a cookie that the balancer inserts, and that backends never see.
    Cookie,
}

/// Whether there is an access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// There is none.
    Off,
    /// It goes to the file of [`access_log`].
    File,
}

impl Scene {
    /// Nothing.
    pub const PLAIN: Scene =
        Scene { backends: 1, access_log: AccessLog::Off, told: Told::Nothing, routes: 0, affinity: Affinity::Off };

    /// The hosts that have a route.
    fn hosts(self) -> impl Iterator<Item = String> {
        (0..self.routes).map(messages::host)
    }
}

/// The access log of a balancer that has this directory.
pub fn access_log(directory: &Path) -> PathBuf {
    directory.join("access.log")
}

/// Writes the configuration of `kind` into `directory`, which is also for files that the balancer itself makes; returns
/// the path of what it is to be started with.
pub fn write(kind: Kind, scene: Scene, listen: Listen, origin: &Origin, directory: &Path) -> io::Result<PathBuf> {
    let text = match kind {
        Kind::Haproxy => haproxy(scene, listen, origin, directory, ""),
        Kind::HaproxySplice => haproxy(scene, listen, origin, directory, "    option splice-response\n"),
        Kind::Nginx => nginx(scene, listen, origin, directory),
        Kind::Plb => plb(scene, listen, origin, directory),
        // What it needs to know are its arguments.
        Kind::Relay => String::new(),
    };
    let lines = scene.hosts().map(|host| format!("{host} servers\n"));
    fs::write(haproxy_map(directory), lines.collect::<String>())?;
    let path = directory.join("configuration");
    fs::write(&path, text)?;
    Ok(path)
}

/// Where haproxy finds the backend of each host, when they are many: a list of conditions would be gone through.
fn haproxy_map(directory: &Path) -> PathBuf {
    directory.join("hosts.map")
}

/// Where Debian's package libnginx-mod-stream puts the module that nginx needs for TCP.
pub fn nginx_stream_module() -> PathBuf {
    PathBuf::from("/usr/lib/nginx/modules/ngx_stream_module.so")
}

fn haproxy(scene: Scene, listen: Listen, origin: &Origin, directory: &Path, option: &str) -> String {
    let servers = |addresses: &[SocketAddr]| -> String {
        addresses.iter().enumerate().map(|(index, address)| format!("    server s{index} {address}\n")).collect()
    };
    format!(
        "global
    nbthread 1
    maxconn 8000
    maxpipes 500
    tune.pool-low-fd-ratio 100
    tune.pool-high-fd-ratio 100
defaults
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
    default-server pool-purge-delay 1h
    balance roundrobin
    backlog 4096
{option}{}listen tunnel
    mode tcp
    bind {}
{}listen echo
    mode tcp
    bind {}
{}",
        haproxy_web(scene, listen, origin, directory),
        listen.tunnel,
        servers(&origin.web),
        listen.echo,
        servers(&origin.echoes),
    )
}

fn haproxy_web(scene: Scene, listen: Listen, origin: &Origin, directory: &Path) -> String {
    let server = |(index, address): (usize, &SocketAddr)| match scene.affinity {
        Affinity::Off => format!("    server s{index} {address}\n"),
        Affinity::Cookie => format!("    server s{index} {address} cookie s{index}\n"),
    };
    let servers: String = origin.web.iter().enumerate().map(server).collect();
    let told = match scene.told {
        Told::Nothing => "",
        Told::Address => "    option forwardfor\n",
        Told::AddressAndId => {
            "    option forwardfor\n    unique-id-format %[uuid()]\n    unique-id-header X-Request-Id\n"
        }
    };
    let affinity = match scene.affinity {
        Affinity::Off => String::new(),
        Affinity::Cookie => format!("    cookie {COOKIE} insert indirect\n"),
    };
    let pool = format!("    http-reuse always\n{affinity}{servers}");
    let routes = match scene.routes {
        0 => return format!("listen web\n    mode http\n    bind {}\n{told}{pool}", listen.http),
        1 => scene.hosts().map(|host| format!("    use_backend servers if {{ req.hdr(host) -i {host} }}\n")).collect(),
        _ => format!("    use_backend %[req.hdr(host),lower,map_str({})]\n", haproxy_map(directory).display()),
    };
    format!(
        "frontend web\n    mode http\n    bind {}\n{told}{routes}backend servers\n    mode http\n{pool}",
        listen.http
    )
}

fn nginx(scene: Scene, listen: Listen, origin: &Origin, directory: &Path) -> String {
    let web = nginx_web(scene, listen);
    let directory = directory.display();
    let servers = |addresses: &[SocketAddr]| -> String {
        addresses.iter().map(|address| format!("        server {address};\n")).collect()
    };
    let temporary = |name| format!("    {name}_temp_path {directory}/{name};\n");
    format!(
        "load_module {};
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr emerg;
events {{ worker_connections 16384; }}
http {{
{}    access_log off;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    proxy_max_temp_file_size 0;
    proxy_read_timeout 1h;
    send_timeout 1h;
    server_names_hash_max_size 4096;
    upstream web {{
{}        keepalive {};
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
{web}}}
stream {{
    upstream web {{
{}    }}
    upstream echo {{
{}    }}
    server {{
        listen {} backlog=4096;
        proxy_pass echo;
        proxy_timeout 1h;
    }}
    server {{
        listen {} backlog=4096;
        proxy_pass web;
        proxy_timeout 1h;
    }}
}}
",
        nginx_stream_module().display(),
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(temporary).concat(),
        servers(&origin.web),
        IDLE_MAX.max(4 * origin.web.len()),
        servers(&origin.web),
        servers(&origin.echoes),
        listen.echo,
        listen.tunnel,
    )
}

/// The servers of its HTTP site; it has no cookie of its own.
fn nginx_web(scene: Scene, listen: Listen) -> String {
    let told = match scene.told {
        Told::Nothing => "",
        Told::Address => "            proxy_set_header X-Forwarded-For $remote_addr;\n",
        Told::AddressAndId => {
            "            proxy_set_header X-Forwarded-For $remote_addr;\n            proxy_set_header X-Request-Id $request_id;\n"
        }
    };
    let server = |options: &str, name: &str| {
        format!(
            "    server {{
        listen {}{options};
{name}        location / {{
            proxy_pass http://web;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
{told}        }}
    }}
",
            listen.http
        )
    };
    if scene.routes == 0 {
        return server(" backlog=4096", "");
    }
    let others = format!(
        "    server {{\n        listen {} default_server backlog=4096;\n        return 503;\n    }}\n",
        listen.http
    );
    scene.hosts().fold(others, |text, host| text + &server("", &format!("        server_name {host};\n")))
}

fn plb(scene: Scene, listen: Listen, origin: &Origin, directory: &Path) -> String {
    let backends = |addresses: &[SocketAddr]| -> Vec<String> { addresses.iter().map(SocketAddr::to_string).collect() };
    let access_log = match scene.access_log {
        AccessLog::Off => String::new(),
        AccessLog::File => format!("access_log: {:?}\naccess_log_format: plb\n", access_log(directory)),
    };
    let told = match scene.told {
        Told::Nothing => "x_forwarded_for: false\n",
        Told::Address => "x_forwarded_for: true\n",
        Told::AddressAndId => "x_forwarded_for: true\nrequest_id: make\n",
    };
    let routes: String =
        scene.hosts().map(|host| format!("      - {{ match: {{ host: {host} }}, pool: web }}\n")).collect();
    let ways = if scene.routes == 0 { "    pool: web\n".to_string() } else { format!("    routes:\n{routes}") };
    let affinity = match scene.affinity {
        Affinity::Off => String::new(),
        Affinity::Cookie => format!("    affinity: {{ type: insert_cookie, name: {COOKIE} }}\n"),
    };
    format!(
        "{access_log}core_dumps: {}
log_level: warn
max_clients: 8000
idle_max: 3000
buffer_memory: 64MiB
backlog: 4096
timeout_keep_alive: 1h
timeout_tunnel: 1h
timeout_idle: 1h
timeout_forward_client_write: 1h
timeout_forward_server_read: 1h
{told}x_forwarded_proto: false
x_forwarded_host: false
listeners:
  - name: web
    listen: \"{}\"
    protocol: http
{ways}  - {{ name: tunnel, listen: \"{}\", protocol: tcp, pool: tunnel }}
  - {{ name: echo, listen: \"{}\", protocol: tcp, pool: echo }}
pools:
  web:
{affinity}    backends: {:?}
  tunnel:
    backends: {:?}
  echo:
    backends: {:?}
",
        // One that ordinary users cannot look at can only be measured by root.
        !geteuid().is_root(),
        listen.http,
        listen.tunnel,
        listen.echo,
        backends(&origin.web),
        backends(&origin.web),
        backends(&origin.echoes),
    )
}
