# Proves that a backend whose packets a firewall begins to drop costs no request and no slot, is taken out, and serves
# again once they get through: with a queue, without probes and with either kind of them. It runs in a network namespace
# of its own, which ends with it.
if [[ $(id -u) == 0 && -z ${IN_NAMESPACE:-} ]]; then IN_NAMESPACE=yes exec unshare --net bash "$0"; fi
source "$(dirname "$0")/library.sh"
needs_root
ip link set lo up
start_two_nginx

events() { grep --count "backend web/one: $1" "$PLB_LOG" || true; }
has_events() { (($(events "$1") > $2)); }
served() { wc -l <"$ROOM/one/access.log"; }
has_served_more() { (($(served) > $1)); }
drop() {
    nft --file - <<RULES
table inet hole {
    chain input {
        type filter hook input priority 0
        tcp dport ${ONE##*:} drop
    }
}
RULES
}
# All lines of one summary; nobody holds a slot, and nobody waits.
all_is_free() {
    local before
    before=$(wc -l <"$PLB_LOG")
    kill -USR1 "$PLB_ID"
    wait_for 5 summary_is_whole "$before"
    ! tail -n "+$((before + 1))" "$PLB_LOG" | grep 'summary: \(pool\|backend\)' |
        grep --quiet --invert-match ' 0 clients wait$\|: Up, 0 connections, '
}
summary_is_whole() { tail -n "+$(($1 + 1))" "$PLB_LOG" | grep --quiet 'summary: backend web/two'; }

for health in '' 'health: { type: tcp, interval: 100ms }' 'health: { type: http, path: /health, interval: 100ms }'; do
    cat >"$ROOM/plb.yaml" <<CONFIGURATION
max_connections: 2
server_retry: 3
timeout_cleanup: 200ms
timeout_queue: 20s
timeout_header_server_write: 200ms
timeout_header_server_read: 1s
listeners:
  - { name: web, listen: "127.0.0.1:0", pool: web }
pools:
  web:
    $health
    backends:
      - { address: "$ONE", name: one }
      - { address: "$TWO", name: two }
CONFIGURATION
    start_plb --config "$ROOM/plb.yaml"
    wrk --threads 1 --connections 8 --duration 60s --timeout 10s "http://$(listening_on '127.0.0.1:')/name" \
        >"$ROOM/wrk.log" 2>&1 &
    wrk=$!
    STARTED+=("$wrk")
    for round in 1 2; do
        wait_for 10 has_served_more "$(($(served) + 100))" || fail "no load arrives in round $round with '$health'"
        downs=$(events 'down after') ups=$(events 'up after')
        drop
        wait_for 10 has_events 'down after' "$downs" || fail "plb does not miss it in round $round with '$health'"
        nft delete table inet hole
        wait_for 10 has_events 'up after' "$ups" || fail "it stays down in round $round with '$health'"
    done
    wait_for 10 has_served_more "$(($(served) + 100))" || fail "it gets no more requests with '$health'"
    kill -INT "$wrk"
    wait "$wrk"
    grep --quiet 'requests in' "$ROOM/wrk.log"
    ! grep --extended-regexp 'Non-2xx|Socket errors' "$ROOM/wrk.log" || fail "requests were lost with '$health'"
    grep --quiet 'web/one: down after .*: timed out' "$PLB_LOG" || fail 'nothing was dropped'
    ! grep 'web/two: down' "$PLB_LOG" || fail 'the other one was blamed'
    wait_for 10 all_is_free || fail "slots are held with '$health'"
    stop_plb
done
