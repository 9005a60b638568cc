# Proves that plb starts, serves and stops with the capabilities and the system calls that the units in contrib/systemd
# leave to it, and where it may write to its log alone: with root, and without. systemd itself is not asked.
source "$(dirname "$0")/library.sh"
needs_root
UNITS=$HERE/../../contrib/systemd
start_two_nginx
mkdir --mode 755 "$ROOM/empty"
mkdir --mode 777 "$ROOM/logs"

# names WORD...: the system calls of these groups and calls.
names() {
    local word members
    for word; do
        if [[ $word == @* ]]; then
            mapfile -t members < <(systemd-analyze --no-pager syscall-filter "$word" | sed -n '2,$s/^ *\([@a-z]\)/\1/p')
            names "${members[@]}"
        else
            echo "$word"
        fi
    done
}

# allowed UNIT...: the system calls that are left by all SystemCallFilter= of these, and by those that every unit has.
allowed() {
    local -A calls=()
    local words call
    while read -ra words; do
        if [[ ${words[0]} == '~'* ]]; then
            words[0]=${words[0]#'~'}
            for call in $(names "${words[@]}"); do unset "calls[$call]"; done
        else
            for call in $(names "${words[@]}"); do calls[$call]=; done
        fi
    done < <(sed -n 's/^SystemCallFilter=//p' "$@")
    { printf '%s\n' "${!calls[@]}" && names @default; } | sort --unique
}

# try NAME SETPRIV-OPTION...: serves and stops in what the units leave.
try() {
    local name=$1 plb
    shift
    PLB_LOG=$ROOM/logs/$name.log
    sed "s,^log_file: .*,log_file: $PLB_LOG," "$ROOM/plb.yaml" >"$ROOM/$name.yaml"
    # shellcheck disable=SC2016 # the words are for the other bash
    unshare --mount --propagation private bash -c '
        mount --bind "$1" "$1" && mount -o remount,bind,ro / || exit 1
        shift
        exec "$@"' bash "$ROOM/logs" \
        setpriv --no-new-privs "$@" strace -f -o "$ROOM/logs/$name.calls" -qq "$PLB" --config "$ROOM/$name.yaml" \
        2>"$ROOM/$name.err" &
    STARTED+=($!)
    wait_for 10 grep --quiet --no-messages 'plb: serving' "$PLB_LOG" || fail "$name: $(cat "$ROOM/$name.err" "$PLB_LOG")"
    plb=$(pgrep --parent $!)
    fetch "http://$(listening_on '127.0.0.1:')/name"
    kill -TERM "$plb"
    wait $! || fail "$name: status $?"
    sed -n 's/^[0-9]* *\([a-z0-9_]*\)(.*/\1/p' "$ROOM/logs/$name.calls" | sort --unique >"$ROOM/$name.made"
    grep --quiet accept4 "$ROOM/$name.made"
}

# expect_within NAME UNIT...
expect_within() {
    local name=$1
    shift
    allowed "$@" >"$ROOM/$name.allowed"
    expect "the calls of $name that the unit does not allow" '' "$(comm -23 "$ROOM/$name.made" "$ROOM/$name.allowed" | xargs)"
}

# bounding UNIT: its last CapabilityBoundingSet= as setpriv writes it.
bounding() {
    sed -n 's/^CapabilityBoundingSet=//p' "$1" | tail -n 1 | tr 'A-Z ' 'a-z,' | sed 's/cap_/+/g; s/^/-all,/'
}

write_daemon_configuration
sed -i '/^pid_file\|^access_log/d' "$ROOM/plb.yaml"
try root --inh-caps=-all --bounding-set="$(bounding "$UNITS/plb.service")"
expect_within root "$UNITS/plb.service"
sed -i '/^user\|^chroot_dir/d' "$ROOM/plb.yaml"
try nobody --reuid=nobody --regid=nogroup --clear-groups --inh-caps=-all,+net_bind_service \
    --ambient-caps=+net_bind_service --bounding-set="$(bounding "$UNITS/unprivileged.conf")"
expect_within nobody "$UNITS/plb.service" "$UNITS/unprivileged.conf"
