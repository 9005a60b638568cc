# Proves that the sample configuration starts as it stands for a user without privileges.
#
# The sample's three ports on 127.0.0.1 must be free.
source "$(dirname "$0")/library.sh"
cp "$HERE/../../plb.yaml.sample" "$ROOM/plb.yaml"
chmod 644 "$ROOM/plb.yaml"
# The folder of the build need not be open to everybody.
cp "$PLB" "$ROOM/plb"
chmod 755 "$ROOM/plb"
PLB=$ROOM/plb
user=$(id -un)
if [[ $(id -u) == 0 ]]; then
    user=nobody
    AS=(setpriv --reuid=nobody --regid=nogroup --clear-groups --no-new-privs)
fi

is_free() { ! (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
for port in 8080 8081 8082; do wait_for 30 is_free "$port" || fail "something else listens on 127.0.0.1:$port"; done

expect 'the check' "$ROOM/plb.yaml: the configuration is valid" "$("${AS[@]}" "$PLB" --check --config "$ROOM/plb.yaml")"
start_plb --config "$ROOM/plb.yaml"
expect 'the user of plb' "$user" "$(stat --format %U "/proc/$PLB_ID")"
expect 'where it listens' 127.0.0.1:8080 "$(listening_on '127.0.0.1:')"
# The sample's backends are the reader's to provide.
status=$(curl --silent --output "$ROOM/page" --write-out '%{http_code}' http://127.0.0.1:8080/)
expect 'the answer without backends' 503 "$status"
grep --quiet 'No server is available' "$ROOM/page"
stop_plb
