#!/usr/bin/env bash
# Plants the bugs of planted.txt in a copy of the engine, each behind a switch so that one build has them all, and says
# which tests go red with each: the rows of PLANTED.md. A bug that no test notices, or that does not apply any more, is
# a failure. `planted.sh [NAME…]` switches those on alone. CASES (2000) is how many histories each property is given.
set -euo pipefail
engine=$(cd "$(dirname "$0")/../.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
export CARGO_TARGET_DIR=${PLANTED_TARGET_DIR:-$copy/target}
CASES=${CASES:-2000}
failed=0

# A workspace of the engine alone.
cp -r "$engine" "$copy/engine"
cp "$engine/../Cargo.lock" "$copy/"
sed -e '/^\[profile/,$d' -e 's/^members = .*/members = ["engine"]/' -e '/^default-members/d' \
  -e '/^sluice-proto = /d' "$engine/../Cargo.toml" >"$copy/Cargo.toml"
printf '[profile.dev]\nopt-level = 1\ndebug = false\n' >>"$copy/Cargo.toml"
cd "$copy"
cat >>engine/src/lib.rs <<'RUST'

/// Whether the bug of this name is planted.
pub(crate) fn is_planted(name: &str) -> bool {
    static PLANTED: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("PLANTED").unwrap_or_default());
    *PLANTED == name
}
RUST

rows=()
rule=
while IFS='|' read -r name file change; do
  case $name in
    '') continue ;;
    '#'*)
      rule=${name#\# }
      continue
      ;;
  esac
  before=$(cksum <"engine/src/$file")
  perl -0pi -e "${change//BUG/crate::is_planted(\"$name\")}" "engine/src/$file"
  if [ "$(cksum <"engine/src/$file")" = "$before" ]; then
    echo "| $name | \`$file\` | **does not apply** |"
    failed=1
  else
    rows+=("$name|$file|${rule%.}")
  fi
done <"$engine/tests/flow/planted.txt"

# The first history that goes wrong is enough.
sed -i 's/max_shrink_iters: [0-9_]*/max_shrink_iters: 0/' engine/tests/flow/*.rs
export PROPTEST_MAX_SHRINK_ITERS=0 RUST_BACKTRACE=0
built=$(cargo test -p sluice-engine --lib --test flow --no-run 2>&1) || { echo "$built"; exit 1; }
# The properties first; the engine's own tests only for what they let pass.
mapfile -t binaries < <(sed -n 's/.*Executable.*(\(.*\))/\1/p' <<<"$built" | sort)

# reds NAME: the tests that go red with a bug. A tenth of the histories is enough for most.
reds() {
  local binary status cases
  for cases in $((CASES / 10)) "$CASES"; do
    for binary in "${binaries[@]}"; do
      status=0
      PLANTED=$1 PROPTEST_CASES=$cases timeout 60 "$binary" >log 2>&1 || status=$?
      [ $status = 0 ] && continue
      # A bug may make a test abort, or never end: then it is known what was red before.
      sed -n 's/^test \([a-z_:0-9]*\) \.\.\. FAILED$/`\1`/p' log | sort -u | head -4 | grep . || echo "a test that does not end, or ends all"
      return
    done
  done
}

if [ -n "$(reds '')" ]; then
  echo "red without any bug: $(reds '')"
  exit 1
fi
shown=
for row in "${rows[@]}"; do
  IFS='|' read -r name file rule <<<"$row"
  if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
  red=$(reds "$name" | paste -sd ' ')
  [ -n "$red" ] || failed=1
  if [ "$rule" != "$shown" ]; then
    printf '\n## %s\n\n| bug | file | what goes red |\n| --- | --- | --- |\n' "$rule"
    shown=$rule
  fi
  echo "| $name | \`$file\` | ${red:-**nothing**} |"
done
exit $failed
