//! The configuration files: each balancer set up for the same work, one HTTP and two TCP listeners.
//!
//! No access log, one thread or worker, no field added to requests, backend connections kept for reuse, limits that no
//! unit reaches; no response is put into files.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::balancer::Kind;
use crate::origin::Origin;

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

/// The text of the configuration of `kind`; `directory` is for files that the balancer itself makes.
pub fn text(kind: Kind, listen: Listen, origin: &Origin, directory: &Path) -> String {
    match kind {
        Kind::Haproxy => haproxy(listen, origin, ""),
        Kind::HaproxySplice => haproxy(listen, origin, "    option splice-response\n"),
        Kind::Nginx => nginx(listen, origin, directory),
        Kind::Plb => plb(listen, origin),
        // What it needs to know are its arguments.
        Kind::Relay => String::new(),
    }
}

/// Where Debian's package libnginx-mod-stream puts the module that nginx needs for TCP.
pub fn nginx_stream_module() -> PathBuf {
    PathBuf::from("/usr/lib/nginx/modules/ngx_stream_module.so")
}

fn haproxy(listen: Listen, origin: &Origin, option: &str) -> String {
    let servers = |(index, address): (usize, &SocketAddr)| format!("    server s{index} {address}\n");
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
    backlog 4096
{option}listen web
    mode http
    http-reuse always
    bind {}
    server s0 {}
listen tunnel
    mode tcp
    bind {}
    server s0 {}
listen echo
    mode tcp
    bind {}
    balance roundrobin
{}",
        listen.http,
        origin.http,
        listen.tunnel,
        origin.http,
        listen.echo,
        origin.echoes.iter().enumerate().map(servers).collect::<String>()
    )
}

fn nginx(listen: Listen, origin: &Origin, directory: &Path) -> String {
    let directory = directory.display();
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
    upstream web {{
        server {};
        keepalive 128;
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
    upstream echo {{
{}    }}
    server {{
        listen {} backlog=4096;
        proxy_pass echo;
        proxy_timeout 1h;
    }}
    server {{
        listen {} backlog=4096;
        proxy_pass {};
        proxy_timeout 1h;
    }}
}}
",
        nginx_stream_module().display(),
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(temporary).concat(),
        origin.http,
        listen.http,
        origin.echoes.iter().map(|address| format!("        server {address};\n")).collect::<String>(),
        listen.echo,
        listen.tunnel,
        origin.http,
    )
}

fn plb(listen: Listen, origin: &Origin) -> String {
    format!(
        "log_level: warn
max_clients: 8000
buffer_memory: 64MiB
backlog: 4096
timeout_keep_alive: 1h
timeout_tunnel: 1h
x_forwarded_for: false
x_forwarded_proto: false
x_forwarded_host: false
listeners:
  - {{ name: web, listen: \"{}\", protocol: http, pool: web }}
  - {{ name: tunnel, listen: \"{}\", protocol: tcp, pool: web }}
  - {{ name: echo, listen: \"{}\", protocol: tcp, pool: echo }}
pools:
  web:
    backends: [\"{}\"]
  echo:
    backends: {:?}
",
        listen.http,
        listen.tunnel,
        listen.echo,
        origin.http,
        origin.echoes.iter().map(SocketAddr::to_string).collect::<Vec<_>>(),
    )
}
