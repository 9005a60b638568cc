# What the tests against real programs are made of; each test sources it and then runs from top to bottom.
#
# It starts plb, nginx, Apache and Postfix on loopback ports, waits for states with a bound, and ends with the test whatever it has
# started. It must never touch a process that it has not started, nor wait for time to pass.

set -Eeuo pipefail
set -m # so that what is started in the background leads a process group, and its children end with it
trap 'echo "${BASH_SOURCE[0]##*/}:$LINENO: failed: $BASH_COMMAND" >&2' ERR
trap finish EXIT

: "${PLB:?is the plb to test}"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOM=$(mktemp -d)
chmod 755 "$ROOM"
STARTED=()
# Files that all nginx serve, and the folder that uploads go to.
FILES=$ROOM/files
mkdir -p "$FILES/upload" "$FILES/chunked" "$FILES/slow"
echo alive >"$FILES/health"

# Ends what was started, and shows the logs of a test that failed.
finish() {
    local status=$? group
    trap - EXIT ERR
    for group in "${STARTED[@]}"; do kill -TERM -- "-$group" 2>/dev/null || true; done
    for group in "${STARTED[@]}"; do
        wait_for 5 is_gone "$group" || kill -KILL -- "-$group" 2>/dev/null || true
    done
    if ((status != 0)); then tail -n 20 "$ROOM"/*.log "$ROOM"/*/error.log 2>/dev/null || true; fi
    rm -rf "$ROOM"
    exit "$status"
}

is_gone() { ! kill -0 -- "-$1" 2>/dev/null; }

fail() {
    echo "$*" >&2
    return 1
}

# expect WHAT WANTED FOUND
expect() { [[ $2 == "$3" ]] || fail "$1: wanted '$2', found '$3'"; }

# wait_for SECONDS COMMAND...: asks for a state until it is there; fails when it never comes.
wait_for() {
    local limit=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < limit)) || return 1
        sleep 0.02
    done
}

# start_nginx NAME ADDRESS: starts an nginx on ADDRESS:PORT, and sets PORT unless it is set to one already.
start_nginx() {
    local name=$1 address=$2 port=${3:-} home=$ROOM/$1
    mkdir -p "$home"
    while [[ -z $port ]]; do
        # Below the ports that the kernel gives to clients.
        port=$((20000 + RANDOM % 12000))
        if (: <"/dev/tcp/${address//[\[\]]/}/$port") 2>/dev/null; then port=; fi
    done
    nginx_configuration "$name" "$address:$port" >"$home/nginx.conf"
    nginx -p "$home" -c nginx.conf -e error.log >>"$home/output.log" 2>&1 &
    NGINX=$!
    STARTED+=("$NGINX")
    PORT=$port
    wait_for 10 curl --silent --output /dev/null "http://$address:$port/name" || fail "$name does not start"
}

nginx_configuration() {
    local user=
    if [[ $(id -u) == 0 ]]; then user='user root root;'; fi
    cat <<CONFIGURATION
daemon off;
$user
worker_processes 1;
pid nginx.pid;
error_log error.log;
events {}
http {
    access_log access.log;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    default_type application/octet-stream;
    server {
        listen $2;
        root $FILES;
        location = /name { return 200 "$1\n"; }
        location = /connection { return 200 "\$connection \$connection_requests\n"; }
        location = /truth {
            return 200 "\$server_protocol \$host \$http_x_forwarded_for \$http_x_forwarded_proto \$http_x_forwarded_host";
        }
        location = /seen { return 200 "\$request_uri|\$http_x_real_ip|\$http_x_debug|\$http_cookie"; }
        # Well unless the file is there.
        location = /health {
            if (-f $ROOM/$1/sick) { return 503; }
            return 200 "alive\n";
        }
        # Its length is not known beforehand, hence it comes in chunks.
        location /chunked/ { ssi on; ssi_types *; }
        location = /text.txt { gzip on; gzip_types *; }
        location /slow/ { limit_rate 128k; }
        location /upload/ { dav_methods PUT; client_max_body_size 0; }
    }
}
CONFIGURATION
}

# start_two_nginx: sets ONE and TWO to their addresses.
start_two_nginx() {
    start_nginx one 127.0.0.1
    ONE=127.0.0.1:$PORT NGINX_ONE=$NGINX
    start_nginx two '[::1]'
    TWO="[::1]:$PORT" NGINX_TWO=$NGINX
}

# start_plb ARGUMENT...: starts plb and waits until it serves; sets PLB_ID, and PLB_LOG to its log.
start_plb() {
    PLB_LOG=$ROOM/plb.log
    : >"$PLB_LOG"
    "${AS[@]}" "$PLB" "$@" 2>"$PLB_LOG" &
    PLB_ID=$!
    STARTED+=("$PLB_ID")
    wait_for 10 grep --quiet 'plb: serving' "$PLB_LOG" || fail "plb does not serve"
}
AS=()

# start_balanced: starts two nginx and plb in front of them; sets V4 and V6 to where it listens.
start_balanced() {
    start_two_nginx
    cat >"$ROOM/plb.yaml" <<CONFIGURATION
listeners:
  - { name: web, listen: ["127.0.0.1:0", "[::1]:0"], protocol: http, pool: web }
pools:
  web:
    server_retry: 3
    timeout_cleanup: 1s
    backends:
      - { address: "$ONE", name: one }
      - { address: "$TWO", name: two }
CONFIGURATION
    start_plb --config "$ROOM/plb.yaml"
    V4=$(listening_on '127.0.0.1:') V6=$(listening_on '\[::1\]:')
}

# Where plb says that it listens, of what begins with $1.
listening_on() { sed -n "s/.*: listening on \($1[0-9]*\)$/\1/p" "$PLB_LOG"; }

fetch() { curl --silent --show-error --fail --max-time 60 "$@"; }

# random_file PATH BYTES
random_file() { head -c "$2" /dev/urandom >"$FILES/$1"; }

checksum() { sha256sum | cut -d' ' -f1; }

# stop_plb: asks it to stop, and expects a good end.
stop_plb() {
    local status=0
    kill -TERM "$PLB_ID"
    wait "$PLB_ID" || status=$?
    expect 'the exit status of plb' 0 "$status"
    ! grep ' ERROR ' "$PLB_LOG" || fail 'plb has logged an error'
}

# needs_root: ends the test, as passed, for whoever is not root.
needs_root() {
    if [[ $(id -u) != 0 ]]; then
        echo 'skipped: it needs root'
        exit 0
    fi
}

# write_daemon_configuration: what a daemon in $ROOM/empty, with all its files in $ROOM, is told.
write_daemon_configuration() {
    cat >"$ROOM/plb.yaml" <<CONFIGURATION
user: nobody
chroot_dir: $ROOM/empty
pid_file: $ROOM/plb.pid
log_file: $ROOM/plb.log
access_log: $ROOM/access.log
listeners:
  - { name: web, listen: "127.0.0.1:0", pool: web }
pools:
  web: { backends: ["$ONE", "$TWO"] }
CONFIGURATION
}

# start_daemon: starts plb in the background; sets PLB_ID, and PLB_LOG to its log.
start_daemon() {
    PLB_LOG=$ROOM/plb.log
    : >"$PLB_LOG"
    timeout 10 "$PLB" --config "$ROOM/plb.yaml" --daemonize || fail "plb does not start: status $?"
    PLB_ID=$(cat "$ROOM/plb.pid")
    STARTED+=("$PLB_ID")
}

# stop_daemon: asks it to stop, and expects a good end.
stop_daemon() {
    kill -TERM "$PLB_ID"
    wait_for 10 is_gone "$PLB_ID" || fail 'plb does not stop'
    grep --quiet 'plb: stopped' "$PLB_LOG" || fail 'plb has not said that it stops'
    ! grep ' ERROR ' "$PLB_LOG" || fail 'plb has logged an error'
}

# status_of FIELD: of /proc/PID/status.
status_of() { sed -n "s/^$1:[[:space:]]*\(.*[^[:space:]]\)[[:space:]]*$/\1/p" "/proc/$PLB_ID/status"; }

# start_apache NAME ADDRESS: starts an Apache on ADDRESS with the same files, and sets PORT and APACHE.
start_apache() {
    local name=$1 address=$2 home=$ROOM/$1
    mkdir -p "$home"
    # Whoever is root starts it, and somebody else serves.
    if [[ $(id -u) == 0 ]]; then chown -R nobody:nogroup "$home" "$FILES/upload"; fi
    PORT=
    while [[ -z $PORT ]]; do
        PORT=$((20000 + RANDOM % 12000))
        if (: <"/dev/tcp/${address//[\[\]]/}/$PORT") 2>/dev/null; then PORT=; fi
    done
    apache_configuration "$home" "$address:$PORT" >"$home/apache.conf"
    apache2 -d "$home" -f apache.conf -DFOREGROUND >>"$home/output.log" 2>&1 &
    APACHE=$!
    STARTED+=("$APACHE")
    wait_for 10 curl --silent --output /dev/null "http://$address:$PORT/name" || fail "$name does not start"
}

apache_configuration() {
    local module
    for module in mpm_event authz_core dir mime include dav dav_fs rewrite deflate filter; do
        echo "LoadModule ${module}_module /usr/lib/apache2/modules/mod_$module.so"
    done
    if [[ $(id -u) == 0 ]]; then printf 'User nobody\nGroup nogroup\n'; fi
    cat <<CONFIGURATION
Listen $2
ServerName unnamed.example
PidFile apache.pid
ErrorLog error.log
DefaultRuntimeDir $1
Mutex file:$1
DavLockDB $1/locks
KeepAlive On
MaxKeepAliveRequests 0
DocumentRoot $FILES
TypesConfig /dev/null
AddType text/plain .txt
RewriteEngine On
RewriteCond $1/sick -f
RewriteRule ^/health$ - [R=503,L]
<Directory $FILES>
    Options +Includes
    Require all granted
</Directory>
<Location /chunked/>
    SetOutputFilter INCLUDES
</Location>
<Location /upload/>
    Dav On
</Location>
AddOutputFilterByType DEFLATE text/plain
CONFIGURATION
}

# start_postfix: starts a Postfix that only answers, and sets PORT, POSTFIX and MAIL_LOG.
start_postfix() {
    local home=$ROOM/postfix
    mkdir -p "$home/queue" "$home/data"
    chown postfix "$home/data"
    MAIL_LOG=$home/mail.log
    PORT=
    while [[ -z $PORT ]]; do
        PORT=$((20000 + RANDOM % 12000))
        if (: <"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then PORT=; fi
    done
    cat >"$home/main.cf" <<CONFIGURATION
compatibility_level = 3.6
config_directory = $home
queue_directory = $home/queue
data_directory = $home/data
maillog_file = $MAIL_LOG
maillog_file_prefixes = $ROOM
myhostname = mail.example.org
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
smtpd_peername_lookup = no
CONFIGURATION
    cat >"$home/master.cf" <<'CONFIGURATION'
PORT      inet  n       -       n       -       -       smtpd
anvil     unix  -       -       n       -       1       anvil
rewrite   unix  -       -       n       -       -       trivial-rewrite
postlog   unix-dgram n  -       n       -       1       postlogd
CONFIGURATION
    sed -i "s/^PORT /127.0.0.1:$PORT /" "$home/master.cf"
    postfix -c "$home" check >>"$home/output.log" 2>&1 || fail 'Postfix does not like its files'
    "$(postconf -c "$home" -hx daemon_directory)/master" -c "$home" -d >>"$home/output.log" 2>&1 &
    POSTFIX=$!
    STARTED+=("$POSTFIX")
    wait_for 10 curl --silent --max-time 2 --request NOOP --output /dev/null "smtp://127.0.0.1:$PORT" ||
        fail 'Postfix does not start'
}
