//! The configuration files: each balancer set up for the same work, one HTTP and two TCP listeners.
//!
//! No access log where it is not the point, one thread or worker, no field added to requests, backend connections kept for reuse, limits that no
//! unit reaches; no response is put into files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::balancer::Kind;
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
    pub const PLAIN: Scene = Scene { backends: 1, access_log: AccessLog::Off };
}

/// The access log of a balancer that has this directory.
pub fn access_log(directory: &Path) -> PathBuf {
    directory.join("access.log")
}

/// The text of the configuration of `kind`; `directory` is for files that the balancer itself makes.
pub fn text(kind: Kind, scene: Scene, listen: Listen, origin: &Origin, directory: &Path) -> String {
    match kind {
        Kind::Haproxy => haproxy(listen, origin, ""),
        Kind::HaproxySplice => haproxy(listen, origin, "    option splice-response\n"),
        Kind::Nginx => nginx(listen, origin, directory),
        Kind::Plb => plb(scene, listen, origin, directory),
        // What it needs to know are its arguments.
        Kind::Relay => String::new(),
    }
}

/// Where Debian's package libnginx-mod-stream puts the module that nginx needs for TCP.
pub fn nginx_stream_module() -> PathBuf {
    PathBuf::from("/usr/lib/nginx/modules/ngx_stream_module.so")
}

fn haproxy(listen: Listen, origin: &Origin, option: &str) -> String {
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
{option}listen web
    mode http
    http-reuse always
    bind {}
{}listen tunnel
    mode tcp
    bind {}
{}listen echo
    mode tcp
    bind {}
{}",
        listen.http,
        servers(&origin.web),
        listen.tunnel,
        servers(&origin.web),
        listen.echo,
        servers(&origin.echoes),
    )
}

fn nginx(listen: Listen, origin: &Origin, directory: &Path) -> String {
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
    upstream web {{
{}        keepalive {};
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen {} backlog=4096;
        location / {{
            proxy_pass http://web;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
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
        listen.http,
        servers(&origin.web),
        servers(&origin.echoes),
        listen.echo,
        listen.tunnel,
    )
}

fn plb(scene: Scene, listen: Listen, origin: &Origin, directory: &Path) -> String {
    let backends = |addresses: &[SocketAddr]| -> Vec<String> { addresses.iter().map(SocketAddr::to_string).collect() };
    let access_log = match scene.access_log {
        AccessLog::Off => String::new(),
        AccessLog::File => format!("access_log: {:?}\naccess_log_format: plb\n", access_log(directory)),
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
x_forwarded_for: false
x_forwarded_proto: false
x_forwarded_host: false
listeners:
  - {{ name: web, listen: \"{}\", protocol: http, pool: web }}
  - {{ name: tunnel, listen: \"{}\", protocol: tcp, pool: web }}
  - {{ name: echo, listen: \"{}\", protocol: tcp, pool: echo }}
pools:
  web:
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
        backends(&origin.echoes),
    )
}
