# Proves that an nginx that is killed or stopped under load costs no request, and gets requests again once it is back.
source "$(dirname "$0")/library.sh"
start_balanced
LOG=$ROOM/one/access.log

served() { wc -l <"$LOG"; }
has_served_more() { (($(served) > $1)); }
events() { grep --count "backend web/one: $1" "$PLB_LOG" || true; }
has_events() { (($(events "$1") > $2)); }

wrk --threads 1 --connections 20 --duration 60s --timeout 5s "http://$V4/name" >"$ROOM/wrk.log" 2>&1 &
wrk=$!
STARTED+=("$wrk")
wait_for 10 has_served_more 100 || fail 'no load arrives'

for way in killed stopped; do
    downs=$(events down) ups=$(events up)
    case $way in
        killed) kill -KILL -- "-$NGINX_ONE" ;;
        stopped) nginx -p "$ROOM/one" -c nginx.conf -e error.log -s stop 2>>"$ROOM/one/output.log" ;;
    esac
    wait_for 5 is_gone "$NGINX_ONE"
    wait_for 5 has_events down "$downs" || fail "plb does not miss the nginx that was $way"
    # A probe finds it within timeout_cleanup, and half a second for a busy machine.
    start_nginx one 127.0.0.1 "${ONE##*:}"
    NGINX_ONE=$NGINX
    back=${EPOCHREALTIME/./} before=$(served)
    wait_for 5 has_events up "$ups" || fail "the nginx that was $way stays down"
    wait_for 5 has_served_more "$((before + 100))" || fail "the nginx that was $way gets no requests"
    ((${EPOCHREALTIME/./} - back <= 1500000)) || fail "the nginx that was $way was back too late"
done

kill -INT "$wrk"
wait "$wrk"
cat "$ROOM/wrk.log"
grep --quiet 'requests in' "$ROOM/wrk.log"
! grep --extended-regexp 'Non-2xx|Socket errors' "$ROOM/wrk.log" || fail 'requests were lost'
stop_plb
