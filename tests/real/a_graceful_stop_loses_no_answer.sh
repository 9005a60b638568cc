# Proves that plb, told to stop, takes no more clients, finishes the answers that are under way, and ends well.
source "$(dirname "$0")/library.sh"
start_balanced
CLIENTS=8

# About three seconds at nginx's pace.
random_file slow/answer 400000
wanted=$(checksum <"$FILES/slow/answer")
clients=()
for number in $(seq "$CLIENTS"); do
    fetch --no-buffer --output "$ROOM/answer-$number" "http://$V4/slow/answer" &
    clients+=("$!")
    STARTED+=("$!")
done
for number in $(seq "$CLIENTS"); do
    wait_for 10 test -s "$ROOM/answer-$number" || fail 'no answer begins'
done

kill -TERM "$PLB_ID"
wait_for 5 grep --quiet "stopping: $CLIENTS clients" "$PLB_LOG" || fail 'the answers were over too early'
is_closed() { ! (: <"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; }
wait_for 2 is_closed "$V4" || fail 'plb still takes clients'
kill -0 "$PLB_ID" || fail 'plb has not waited'

for client in "${clients[@]}"; do wait "$client" || fail 'an answer was lost'; done
for number in $(seq "$CLIENTS"); do
    expect "answer $number" "$wanted" "$(checksum <"$ROOM/answer-$number")"
done
status=0
wait "$PLB_ID" || status=$?
expect 'the exit status of plb' 0 "$status"
grep --quiet 'plb: stopped' "$PLB_LOG"
! grep 'cut off' "$PLB_LOG" || fail 'clients were cut off'
