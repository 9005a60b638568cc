# Proves that plb understands the PROXY headers of HAProxy and curl, and HAProxy and nginx those of plb, for HTTP and TCP.
source "$(dirname "$0")/library.sh"

# free_port: sets PORT to one that nobody listens on, below those that the kernel gives to clients.
TAKEN=' '
free_port() {
    PORT=
    while [[ -z $PORT || $TAKEN == *" $PORT "* ]]; do
        PORT=$((20000 + RANDOM % 12000))
        if (: <"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then PORT=; fi
    done
    TAKEN+="$PORT "
}

# start_haproxy NAME: with $ROOM/NAME.cfg.
start_haproxy() {
    haproxy -db -f "$ROOM/$1.cfg" >>"$ROOM/$1.log" 2>&1 &
    STARTED+=("$!")
}

is_open() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

haproxy_defaults() {
    printf 'defaults\n    timeout connect 10s\n    timeout client 10s\n    timeout server 10s\n'
}

# Two that say what they are told: who the client is, where it connected to, and what X-Forwarded-For says.
free_port
BEHIND_NGINX=$PORT
nginx_configuration() {
    cat <<CONFIGURATION
daemon off;
pid nginx.pid;
events {}
http {
    access_log access.log;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
        listen $2;
        location / { return 200 "nobody\n"; }
    }
    server {
        listen 127.0.0.1:$BEHIND_NGINX proxy_protocol;
        location / {
            return 200 "\$proxy_protocol_addr:\$proxy_protocol_port \$proxy_protocol_server_addr:\$proxy_protocol_server_port [\$http_x_forwarded_for]";
        }
    }
}
CONFIGURATION
}
start_nginx behind 127.0.0.1

free_port
BEHIND_HAPROXY=$PORT
{
    haproxy_defaults
    cat <<CONFIGURATION
frontend behind
    mode http
    bind 127.0.0.1:$BEHIND_HAPROXY accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port] %[dst]:%[dst_port] [%[req.hdr(x-forwarded-for)]]"
CONFIGURATION
} >"$ROOM/behind.cfg"
start_haproxy behind
wait_for 10 is_open "$BEHIND_HAPROXY" || fail 'HAProxy does not start'

# plb with a listener for each of them, each protocol and each version.
ways=()
for server in NGINX HAPROXY; do
    for protocol in http tcp; do
        for version in v1 v2; do ways+=("$server-$protocol-$version"); done
    done
done
{
    printf 'accept_proxy: any\ntrusted_proxies: 127.0.0.1\naccess_log: %s/access.log\nserver_retry: 1\nlisteners:\n' "$ROOM"
    for way in "${ways[@]}"; do
        protocol=${way#*-}
        echo "  - { name: $way, listen: '127.0.0.1:0', protocol: ${protocol%-*}, pool: ${way%%-*}-${way##*-} }"
    done
    echo 'pools:'
    for version in v1 v2; do
        echo "  NGINX-$version: { send_proxy: $version, backends: ['127.0.0.1:$BEHIND_NGINX'] }"
        echo "  HAPROXY-$version: { send_proxy: $version, backends: ['127.0.0.1:$BEHIND_HAPROXY'] }"
    done
} >"$ROOM/plb.yaml"
start_plb --config "$ROOM/plb.yaml"
address_of() { sed -n "s/.*listener $1: listening on //p" "$PLB_LOG"; }

# HAProxy in front of each of them, with each kind of header.
declare -A FRONTS
{
    haproxy_defaults
    for way in "${ways[@]}"; do
        address=$(address_of "$way")
        for sends in send-proxy send-proxy-v2 'send-proxy-v2 proxy-v2-options crc32c,unique-id'; do
            free_port
            FRONTS[$PORT]=$way
            cat <<CONFIGURATION
listen front$PORT
    mode tcp
    bind 127.0.0.1:$PORT
    unique-id-format %ci
    server plb $address check inter 200ms check-send-proxy $sends
CONFIGURATION
        done
    done
} >"$ROOM/front.cfg"
start_haproxy front

for port in "${!FRONTS[@]}"; do
    wait_for 10 is_open "$port" || fail 'HAProxy does not start'
    found=$(fetch --interface 127.0.0.7 --write-out ' %{local_port}' "http://127.0.0.1:$port/")
    told=
    if [[ ${FRONTS[$port]} == *-http-* ]]; then told=127.0.0.7; fi
    expect "${FRONTS[$port]}" "127.0.0.7:${found##* } 127.0.0.1:$port [$told] ${found##* }" "$found"
done

for way in "${ways[@]}"; do
    address=$(address_of "$way")
    found=$(fetch --haproxy-protocol --write-out ' %{local_port}' "http://$address/")
    [[ $found == "127.0.0.1:${found##* } $address ["* ]] || fail "curl by $way: $found"
done

# Checks of the proxies have come meanwhile, and are no reason to complain.
checked() { kill -USR1 "$PLB_ID" && grep --quiet ' [1-9][0-9][0-9][0-9]* accepted' "$PLB_LOG"; }
wait_for 20 checked || fail 'HAProxy does not check'
! grep 'no PROXY header\|down after\|WARN\|ERROR' "$PLB_LOG" || fail 'plb complains'
expect 'lines with the client' 24 "$(grep --count ' 127.0.0.7:' "$ROOM/access.log")"
stop_plb
