# Shared by the scripts beside it: sourced, never run. Finds Rust, installs Debian packages, says what it does.
set -euo pipefail

started_at=$SECONDS
say() { printf '\033[1m== %4ss  %s\033[0m\n' "$((SECONDS - started_at))" "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Runs a command as root: directly, or by sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo -n true 2>/dev/null || say "sudo may ask for your password"; sudo "$@"
  else fail "this needs root: run as root, or install sudo, or run yourself: $*"
  fi
}

# Installs those of the named Debian packages that are missing. Nothing is asked and nothing is done twice.
need_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ "${#missing[@]}" -eq 0 ] && return
  command -v apt-get >/dev/null || fail "install these packages first: ${missing[*]}"
  say "installing Debian packages: ${missing[*]}"
  # A cluster of the machine is not needed: maskline starts a private one.
  if printf '%s\n' "${missing[@]}" | grep -q '^postgresql$' && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    as_root mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
  as_root "${apt[@]}" update || say "the package lists could not be updated; trying with the old ones"
  as_root "${apt[@]}" install -y --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}" >/dev/null
}

# Puts cargo on the path.
need_rust() {
  local home=${CARGO_HOME:-${HOME:-}/.cargo}
  command -v cargo >/dev/null || export PATH="$home/bin:$PATH"
  command -v cargo >/dev/null || fail "Rust 1.94 or later is needed: https://www.rust-lang.org/tools/install"
  local have
  have=$(rustc --version | sed -n 's/^rustc 1\.\([0-9]*\).*/\1/p')
  [ "${have:-0}" -ge 94 ] || fail "Rust 1.94 or later is needed, this is $(rustc --version)"
}

# Builds the binary as it is shipped and puts it at target/maskline. The target is named because the names of functions,
# by which the profile knows them, depend on that.
build_shipped() {
  local host
  host=$(rustc -vV | sed -n 's/^host: //p')
  CARGO_ENCODED_RUSTFLAGS="-Cprofile-use=$PWD/pgo/maskline.profdata" \
    cargo build --locked --release --bin maskline --target "$host" --target-dir target
  ln -f "target/$host/release/maskline" target/maskline
  profile_fits target/maskline ||
    say "the profile in pgo/ is of another compiler, machine or Cargo.lock: built without it (scripts/profile makes a new one)"
}

# Whether the functions of a binary have the names by which the profile knows them. They change with the compiler, the
# machine's kind, the version of maskline and everything in Cargo.lock; what does not fit is left out without a word.
profile_fits() {
  local name
  name=$(grep -aom1 '_ZN8maskline4main17h[0-9a-f]\{16\}E' pgo/maskline.profdata | head -n1)
  [ -n "$name" ] && grep -aqF "$name" "$1"
}

# What every build needs: a C compiler for the crypto library.
BUILD_PACKAGES=(gcc g++ make libc6-dev ca-certificates)
# What the running service needs: its own PostgreSQL; setpriv drops root.
RUN_PACKAGES=(postgresql util-linux)

cd "$(dirname "${BASH_SOURCE[0]}")/.."
