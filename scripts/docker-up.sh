#!/usr/bin/env bash
# Get what the sandbox tests need on a Debian or Ubuntu machine where we are root: bubblewrap, and
# a Docker engine of our own that touches neither the host's network nor an engine that runs.
#
#   . scripts/docker-up.sh        install, start, export DOCKER_HOST
#   novum_docker_down             stop what was started
#
# Meant to be sourced. Never fails: where Docker cannot start, the tests marked `docker` skip and say so.

_novum_install() {
  command -v "$1" >/dev/null 2>&1 && return 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
  { [ -n "${_novum_updated:-}" ] || apt-get update -qq; } >/dev/null 2>&1
  _novum_updated=1
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null 2>&1
}

novum_docker_up() {
  _novum_install bwrap bubblewrap || echo "docker-up: bubblewrap could not be installed" >&2
  if [ -S "${DOCKER_HOST#unix://}" ] || { [ -z "${DOCKER_HOST:-}" ] && [ -S /var/run/docker.sock ]; }; then
    return 0 # an engine is here already; the tests find out whether it answers
  fi
  _novum_install dockerd docker.io || { echo "docker-up: no Docker engine could be installed" >&2; return 0; }
  NOVUM_DOCKER=$(mktemp -d /tmp/novum-dockerd-XXXXXX) || return 0
  setsid dockerd --data-root "$NOVUM_DOCKER/data" --exec-root "$NOVUM_DOCKER/exec" \
    --pidfile "$NOVUM_DOCKER/pid" -H "unix://$NOVUM_DOCKER/sock" --iptables=false --ip6tables=false \
    --bridge=none --ip-forward=false --ip-masq=false </dev/null >"$NOVUM_DOCKER/log" 2>&1 &
  local starter=$!
  for _ in $(seq 100); do
    if [ -S "$NOVUM_DOCKER/sock" ]; then
      export DOCKER_HOST="unix://$NOVUM_DOCKER/sock"
      echo "docker-up: a Docker engine answers on $DOCKER_HOST" >&2
      return 0
    fi
    kill -0 "$starter" 2>/dev/null || [ -s "$NOVUM_DOCKER/pid" ] || break
    sleep 0.1
  done
  echo "docker-up: dockerd did not start; the last of its log:" >&2
  tail -3 "$NOVUM_DOCKER/log" >&2
  novum_docker_down
}

novum_docker_down() {
  [ -n "${NOVUM_DOCKER:-}" ] || return 0
  if [ -s "$NOVUM_DOCKER/pid" ]; then
    local pid
    pid=$(cat "$NOVUM_DOCKER/pid")
    kill "$pid" 2>/dev/null
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  fi
  rm -rf "$NOVUM_DOCKER" 2>/dev/null
  case "${DOCKER_HOST:-}" in "unix://$NOVUM_DOCKER"*) unset DOCKER_HOST ;; esac
  unset NOVUM_DOCKER
  return 0
}

novum_docker_up
