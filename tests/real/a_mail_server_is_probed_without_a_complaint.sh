# Proves that a Postfix that is probed with smtp finds nothing wrong with its client, and that plb misses it when it is
# gone. Postfix wants to be started by root.
source "$(dirname "$0")/library.sh"
needs_root
start_postfix

cat >"$ROOM/plb.yaml" <<CONFIGURATION
listeners:
  - { name: mail, listen: "127.0.0.1:0", protocol: tcp, pool: mail }
pools:
  mail:
    health: { type: smtp, helo: lb.example.org, interval: 300ms, rise: 2, fall: 2, initial: down }
    backends: [{ address: "127.0.0.1:$PORT", name: one }]
CONFIGURATION
start_plb --config "$ROOM/plb.yaml"
wait_for 10 grep --quiet 'backend mail/one: up after 2 probes' "$PLB_LOG" || fail 'no probe succeeds'

greetings() { grep --count 'disconnect from .* ehlo=1 quit=1 commands=2$' "$MAIL_LOG" || true; }
has_greeted() { (($(greetings) >= $1)); }
wait_for 20 has_greeted 12 || fail "Postfix was greeted $(greetings) times"
# A client gets through to it.
fetch --request NOOP "smtp://$(listening_on '127.0.0.1:')" >/dev/null

kill -TERM -- "-$POSTFIX"
wait_for 10 grep --quiet 'backend mail/one: down after 2 failed probes: ' "$PLB_LOG" || fail 'plb does not miss it'
! grep --extended-regexp 'smtpd\[.*(lost connection|improper|warning|error|fatal|timeout)' "$MAIL_LOG" ||
    fail 'Postfix complains'
! grep 'mail/one: .*status' "$PLB_LOG" || fail 'Postfix refused to serve'
wait_for 10 is_gone "$POSTFIX" || fail 'Postfix does not end'
kill -TERM "$PLB_ID"
wait "$PLB_ID"
