#!/usr/bin/env bash
# Prepares .venv with vigil in it. Usage: scripts/set_up.sh [setup|test|test-device]
# Debian packages that are missing are installed where that is permitted (root, or sudo without a
# password); otherwise one line says what to install. "test" also wants a mosquitto broker,
# an RTSP server, a browser, and as root what boots devices; "test-device" an emulator (0.6 GB).
# TORCH="torch==2.9.1" (any pip requirement or wheel file) takes another PyTorch than the pinned one.
set -euo pipefail
cd "$(dirname "$0")/.."

goal=${1:-setup}
tests=no
[[ $goal != test* ]] || tests=yes
python=${PYTHON:-python3}
extras=${EXTRAS:-train,broker,page,cpu-fast,dev}
torch=${TORCH:-}
venv=.venv

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 69; }

install_debian() {
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
    sudo -n true 2>/dev/null || return 1
  fi
  command -v apt-get >/dev/null || return 1
  say "installing Debian packages: $*"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null 2>&1 || true
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}

command -v "$python" >/dev/null || install_debian python3 python3-venv ||
  fail "there is no $python; install it: sudo apt-get install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  fail "Python 3.10 or newer is needed, $("$python" --version) found; name another: make setup PYTHON=python3.12"

# Without pip it is the rest of an attempt that was broken off.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  "$python" -c 'import ensurepip, venv' 2>/dev/null || install_debian python3-venv ||
    fail "this Python cannot make virtual environments; install: sudo apt-get install python3-venv"
  say "making $venv with $("$python" --version)"
  "$python" -m venv "$venv"
fi

stamp="$venv/.set-up"
wanted=$(cat pyproject.toml constraints.txt "$0" | sha256sum | cut -c1-64)-$extras-$torch
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
  say "installing wheels into $venv (several hundred MB on the first run)"
  pins=constraints.txt
  if [ -n "$torch" ]; then
    # The pinned PyTorch and the CUDA packages of exactly that release must not stand in its way.
    pins="$venv/constraints.txt"
    grep -vE '^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==' constraints.txt > "$pins"
  fi
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --constraint "$pins" --editable ".[$extras]" ${torch:+"$torch"} \
    2> >(grep -v '^WARNING: Location' >&2) ||
    fail "pip could not install the wheels, see above; check the network, then run this again"
  printf '%s' "$wanted" > "$stamp"
fi

if [ $tests = yes ] && ! command -v mosquitto >/dev/null && [ ! -x /usr/sbin/mosquitto ]; then
  install_debian mosquitto ||
    say "no mosquitto broker: its tests will be skipped; install: sudo apt-get install mosquitto"
fi

# Test cameras: GStreamer's RTSP server through the system's Python, and an H.264 encoder.
rtsp=(python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-tools gstreamer1.0-plugins-base
  gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly)
if [ $tests = yes ] && ! compgen -G "/usr/lib/*/girepository-1.0/GstRtspServer-1.0.typelib" >/dev/null; then
  install_debian "${rtsp[@]}" ||
    say "no RTSP server: its tests will be skipped; install: sudo apt-get install ${rtsp[*]}"
fi

if [ $tests = yes ] && [ ! -x /usr/bin/chromium ] && ! command -v chromium chromium-browser >/dev/null; then
  install_debian chromium ||
    say "no Chromium: the page's tests in a browser will be skipped; install: sudo apt-get install chromium"
fi

if [ $tests = yes ] && ! command -v systemd-analyze >/dev/null && [ ! -x /usr/bin/systemd-analyze ]; then
  install_debian systemd ||
    say "no systemd: tests of the unit files will be skipped; install: sudo apt-get install systemd"
fi

# Booted devices: systemd-nspawn, what makes their disks and what reaches them. They need root.
ground=(mmdebstrap e2fsprogs iproute2 openssh-client systemd-container)
if [ $tests = yes ] && [ "$(id -u)" -eq 0 ] &&
  ! { [ -x /usr/bin/systemd-nspawn ] && [ -x /usr/bin/mmdebstrap ]; }; then
  install_debian "${ground[@]}" ||
    say "no booted devices: flashing will not be proved; install: apt-get install ${ground[*]}"
fi

# Emulated machines, with a kernel and a drive of their own.
emulator=(qemu-system-x86 nbdkit)
[ "$HOSTTYPE" != aarch64 ] || emulator=(qemu-system-arm nbdkit)
if [ "$goal" = test-device ] && [ "$(id -u)" -eq 0 ] &&
  ! { command -v "qemu-system-$HOSTTYPE" && command -v nbdkit; } >/dev/null; then
  install_debian "${emulator[@]}" ||
    say "no emulated machines: their tests will be skipped; install: apt-get install ${emulator[*]}"
fi
