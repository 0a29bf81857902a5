#!/bin/sh
# Makes sure that a container engine answers and that mmdebstrap and git are there, saying first what it is about to do.
set -eu
venv=$1

say() { printf '%s\n' "$*" >&2; }
answers() { "$venv/bin/python" -c 'import docker; docker.from_env(timeout=5).ping()' >/dev/null 2>&1; }
can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }

missing=
command -v mmdebstrap >/dev/null 2>&1 || missing="mmdebstrap"
command -v git >/dev/null 2>&1 || missing="$missing git"
command -v gpgv >/dev/null 2>&1 || missing="$missing gpgv"
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing="$missing debian-archive-keyring"
if ! answers && ! command -v dockerd >/dev/null 2>&1; then
    missing="$missing docker.io iptables"
fi

if [ -n "$missing" ]; then
    if can_install; then
        say "Missing on this machine: $missing. Installing them with apt-get."
        apt-get update -qq
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    else
        say "Missing on this machine: $missing. On Debian or Ubuntu run: sudo apt-get install $missing"
        case "$missing" in *docker.io*) exit 1 ;; esac
    fi
fi

answers && exit 0
if [ "$(id -u)" != 0 ]; then
    say "No container engine answers. Start one (sudo systemctl start docker), or name one with DOCKER_HOST."
    exit 1
fi
if [ -d /run/systemd/system ]; then
    say "No container engine answers: starting docker with systemctl."
    systemctl start docker
else
    say "No container engine answers: starting dockerd in the background; its log is /var/log/dockerd.log."
    # A killed daemon leaves its number behind; another process may have it by now, and dockerd would then refuse to start.
    grep -qsx dockerd /proc/[0-9]*/comm || rm -f /var/run/docker.pid /var/run/docker/containerd/containerd.pid
    nohup setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null &
fi
tries=0
until answers; do
    tries=$((tries + 1))
    if [ "$tries" -gt 60 ]; then
        say "The engine did not answer within a minute. The end of its log:"
        tail -n 20 /var/log/dockerd.log >&2 2>/dev/null || true
        exit 1
    fi
    sleep 1
done
