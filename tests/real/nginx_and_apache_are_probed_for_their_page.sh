# Proves that an nginx and an Apache whose health page says 503 get no more requests until it says 200 again, and that
# neither finds anything wrong with the probes.
source "$(dirname "$0")/library.sh"
start_nginx one 127.0.0.1
ONE=127.0.0.1:$PORT
start_apache two 127.0.0.1
TWO=127.0.0.1:$PORT
echo one >"$FILES/who"

cat >"$ROOM/plb.yaml" <<CONFIGURATION
listeners:
  - { name: web, listen: "127.0.0.1:0", pool: web }
pools:
  web:
    health:
      { type: http, path: "/health?deep", host: www.example.org, body: alive,
        interval: 400ms, fast_interval: 50ms, rise: 2, fall: 2 }
    backends:
      - { address: "$ONE", name: one }
      - { address: "$TWO", name: two }
CONFIGURATION
start_plb --config "$ROOM/plb.yaml"
WEB=$(listening_on '127.0.0.1:')

events() { grep --count "backend web/$1: $2" "$PLB_LOG" || true; }
has_events() { (($(events "$1" "$2") > $3)); }
# The names of the servers that answer twelve requests.
servers() {
    for _ in {1..12}; do
        fetch --dump-header - --output /dev/null "http://$WEB/who" | sed -n 's/^[Ss]erver: \([A-Za-z]*\).*/\1/p'
    done | sort -u | xargs
}

expect 'who answers at first' 'Apache nginx' "$(servers)"
for round in 1 2; do
    for name in one two; do
        downs=$(events "$name" 'down after 2 failed probes: status 503') ups=$(events "$name" up)
        touch "$ROOM/$name/sick"
        wait_for 10 has_events "$name" 'down after 2 failed probes: status 503' "$downs" || fail "$name stays up"
        [[ $name == one ]] && other=Apache || other=nginx
        expect "who answers without $name in round $round" "$other" "$(servers)"
        rm "$ROOM/$name/sick"
        wait_for 10 has_events "$name" up "$ups" || fail "$name stays down"
        expect "who answers with $name again" 'Apache nginx' "$(servers)"
    done
done
grep --quiet '"GET /health?deep HTTP/1.1" 200 .*"plb"' "$ROOM/one/access.log" || fail 'nginx knows no probe'
! grep --invert-match --extended-regexp '\[(notice|info)\]|:notice\]' "$ROOM/one/error.log" "$ROOM/two/error.log" ||
    fail 'a server complains'
stop_plb
