# Proves that a daemon that cannot start says why on the terminal, ends with a status, and does nothing to the one that
# runs.
source "$(dirname "$0")/library.sh"
needs_root
start_two_nginx
mkdir --mode 755 "$ROOM/empty"
write_daemon_configuration
start_daemon
V4=$(listening_on '127.0.0.1:')

# refused STATUS WORDS SED-SCRIPT: a plb with another log, and what the script changes.
refused() {
    local status=0
    sed "s/plb.log/other.log/; $3" "$ROOM/plb.yaml" >"$ROOM/other.yaml"
    timeout 10 "$PLB" --config "$ROOM/other.yaml" --daemonize >"$ROOM/output" 2>&1 || status=$?
    expect "the status where '$2' is wrong" "$1" "$status"
    grep --fixed-strings "$2" "$ROOM/output" || fail "no word of '$2': $(cat "$ROOM/output")"
}

refused 1 "cannot listen on $V4" "s/127.0.0.1:0/$V4/; s/plb.pid/other.pid/"
refused 1 "already running as process $PLB_ID" ''
refused 1 'no-such-user' 's/user: nobody/user: no-such-user/; s/plb.pid/other.pid/'
chmod 777 "$ROOM/empty"
refused 1 "$ROOM/empty: only root may write to it" 's/plb.pid/other.pid/'
chmod 755 "$ROOM/empty"
refused 78 'wob' 's/pool: web/pool: wob/'

expect 'the pid file' "$PLB_ID" "$(cat "$ROOM/plb.pid")"
expect 'an answer' 200 "$(curl --silent --output "$ROOM/page" --write-out '%{http_code}' "http://$V4/name")"
stop_daemon
