#!/bin/sh
# Installs what the tests talk to (Debian packages, as root) and the peers from the npm registry. Elsewhere it says
# what is missing: those tests are skipped, each with one loud line; with CI=true a skip is a failure. `bench`: also
# what the benchmarks measure with.
set -u
cd "$(dirname "$0")/.."

missing=""
want() { # want PACKAGE COMMAND...: the package is missing when none of the commands is found
  package=$1; shift
  for command in "$@"; do
    command -v "$command" >/dev/null 2>&1 && return
    ls /usr/lib/postgresql/*/bin/"$command" >/dev/null 2>&1 && return
  done
  missing="$missing $package"
}
want postgresql postgres
want pgbouncer pgbouncer
want rabbitmq-server rabbitmq-server
want nginx-light nginx /usr/sbin/nginx
want haproxy haproxy /usr/sbin/haproxy
want chromium chromium chromium-browser google-chrome
want nodejs node
want default-jdk-headless javac
want curl curl
want openssl openssl
want "gcc libc6-dev" cc
want npm npm
if [ "${1:-}" = bench ]; then
  want redis-server redis-server
  want wrk wrk
  want valgrind valgrind
fi

if [ -n "$missing" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "services: installing$missing"
    log=$(mktemp)
    # The servers are for private instances of the tests: what a package starts by itself is not wanted.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
      printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d && quiet=1
    fi
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
      tail -5 "$log" >&2
      echo "services: apt-get failed; tests that need$missing will be skipped" >&2
    fi
    [ "${quiet:-}" = 1 ] && rm -f /usr/sbin/policy-rc.d
    rm -f "$log"
  else
    echo "SERVICES MISSING:$missing - the tests that need them will be SKIPPED (as root on Debian they are installed)" >&2
  fi
fi
for packages in tests/tars/interop/js:var/tars-peers tests/kernel/asyncapi:var/asyncapi; do
  sh scripts/npm_packages.sh "${packages%:*}" "${packages#*:}" \
    || echo "services: npm could not install what ${packages%:*} names; its tests will be skipped" >&2
done
exit 0
