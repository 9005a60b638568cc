# Proves that contrib/logrotate/plb rotates the logs of a confined daemon, which goes on logging where it should.
source "$(dirname "$0")/library.sh"
needs_root
start_two_nginx
mkdir --mode 755 "$ROOM/empty"
write_daemon_configuration
start_daemon
V4=$(listening_on '127.0.0.1:')
has_lines() { [[ $(wc -l 2>/dev/null <"$1") -ge $2 ]]; }

fetch "http://$V4/name?before=rotation" >"$ROOM/page"
wait_for 5 has_lines "$ROOM/access.log" 1
sed "s,^/var/log/plb.log .* {,$ROOM/plb.log $ROOM/access.log {," "$HERE/../../contrib/logrotate/plb" >"$ROOM/logrotate"
logrotate --force --state "$ROOM/state" "$ROOM/logrotate"
for log in plb access; do
    expect "the size of $log.log" 0 "$(stat --format %s "$ROOM/$log.log")"
    [[ -s $ROOM/$log.log.1 ]] || fail "$log.log was not rotated"
done
fetch "http://$V4/name?after=rotation" >"$ROOM/page"
kill -USR1 "$PLB_ID"
for log in plb access; do wait_for 5 has_lines "$ROOM/$log.log" 1 || fail "$log.log is not written any more"; done
grep --quiet 'before=rotation' "$ROOM/access.log.1"
# From the very start of the file: what was there before has left no hole.
[[ $(head -c 500 "$ROOM/access.log") == 20*after=rotation* ]] || fail "access.log: $(head -c 500 "$ROOM/access.log")"
stop_daemon
