# Proves that a daemon that root starts in front of two nginx serves once the command has returned, as an unprivileged
# user in an empty root directory, without capabilities and with nothing open but what it needs, and that it stops well.
source "$(dirname "$0")/library.sh"
needs_root
start_two_nginx
mkdir --mode 755 "$ROOM/empty"
write_daemon_configuration

start_daemon 3<"$ROOM/plb.yaml"
V4=$(listening_on '127.0.0.1:')
# No waiting: the command has returned.
for name in one two; do expect 'an answer' "$name" "$(fetch "http://$V4/name" "http://$V4/name" | grep "$name")"; done

expect 'its user and group' 'nobody nogroup' "$(ps -o user=,group= -p "$PLB_ID" | xargs)"
expect 'its groups' '' "$(status_of Groups)"
for set in CapInh CapPrm CapEff CapBnd CapAmb; do expect "$set" 0000000000000000 "$(status_of "$set")"; done
expect 'no_new_privs' 1 "$(status_of NoNewPrivs)"
expect 'seccomp' 2 "$(status_of Seccomp)"
expect 'its root directory' "$ROOM/empty" "$(readlink "/proc/$PLB_ID/root")"
expect 'its working directory' "$ROOM/empty" "$(readlink "/proc/$PLB_ID/cwd")"
expect 'its session and its terminal' "$PLB_ID ?" "$(ps -o sid=,tty= -p "$PLB_ID" | xargs)"
expect 'its core dumps' '0 0' "$(awk '/^Max core file size/ { print $5, $6 }' "/proc/$PLB_ID/limits")"
for descriptor in 0 1 2; do
    expect "descriptor $descriptor" /dev/null "$(readlink "/proc/$PLB_ID/fd/$descriptor")"
done
files=$(readlink "/proc/$PLB_ID/fd/"* | grep '^/' | grep --invert-match '^/dev/null$' | sort | xargs)
expect 'its files' "$ROOM/access.log $ROOM/plb.log $ROOM/plb.pid" "$files"

stop_daemon
expect 'the pid file after the end' 0 "$(stat --format %s "$ROOM/plb.pid")"
expect 'the lines of the access log' 4 "$(wc -l <"$ROOM/access.log")"

# A pid file that was left behind, with the number of a process that lives.
echo $$ >"$ROOM/plb.pid"
start_daemon
expect 'an answer' 200 "$(curl --silent --output "$ROOM/page" --write-out '%{http_code}' "http://$(listening_on '127.0.0.1:')/name")"
stop_daemon
