#!/usr/bin/env bash
# Builds the CUDA module, tests it on the card, runs it under compute-sanitizer, and measures.
#
#   [OUT=folder] [PYTHON=python3] [ARCHITECTURES=native] bench/cuda/run.sh
#
# Needs a card, nvcc, and a Python with torch, CuPy, pytest, hypothesis, scikit-build-core, pybind11,
# cmake and ninja; no network. A part that fails does not stop the others, and shows in the exit status. Within 8 minutes.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
out=${OUT:-bench/cuda/results}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
names=() states=()
readonly DEADLINE=470  # seconds for everything

# part NAME SECONDS COMMAND...: its output goes to $out/NAME.log, and its end to the screen.
part() {
  local name=$1 limit=$2 begun=$SECONDS status
  shift 2
  [ "$limit" -gt $((DEADLINE - SECONDS)) ] && limit=$((DEADLINE - SECONDS))
  if [ "$limit" -lt 5 ]; then
    left_out "$name" "FAILED: no time was left for it"
    return 1
  fi
  printf '\n=== %s (at %s s, at most %s s)\n' "$name" "$SECONDS" "$limit"
  timeout -k 10 "$limit" "$@" >"$out/$name.log" 2>&1
  status=$?
  tail -n "${LINES_SHOWN:-12}" "$out/$name.log"
  names+=("$name")
  case $status in
    0) states+=("ok, $((SECONDS - begun)) s") ;;
    124 | 137) states+=("${CUT_OFF:-FAILED:} longer than $limit s") ;;
    *) states+=("FAILED: status $status, $out/$name.log") ;;
  esac
  return "$status"
}
left_out() {
  names+=("$1")
  states+=("$2")
}
finish() {
  printf '\n=== results in %s, %s s\n' "$out" "$SECONDS"
  local i failed=0
  for i in "${!names[@]}"; do
    printf '%-12s %s\n' "${names[$i]}" "${states[$i]}"
    case ${states[$i]} in FAILED*) failed=1 ;; esac
  done
  exit "$failed"
}

# A virtual environment over the Python at hand, or else that Python itself.
base=${PYTHON:-python3}
python=$base
# Without pip, since that of the Python at hand is visible there, and not every Python can install one.
if "$base" -m venv --system-site-packages --without-pip "$work/venv" >"$work/venv.log" 2>&1; then
  python=$work/venv/bin/python
  # Made from a virtual environment, it would see the system's packages and not that one's.
  "$base" -c 'import sys; print(*(p for p in sys.path if p.endswith("-packages")), sep="\n")' \
    >"$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/base.pth"
  PATH=$work/venv/bin:$PATH:$(dirname "$("$base" -c 'import sys; print(sys.executable)')")
else
  echo "no venv ($(tail -n 1 "$work/venv.log")): installing into $base itself"
fi
for folder in /usr/local/cuda/bin /opt/cuda/bin; do
  [ -d "$folder" ] && PATH=$PATH:$folder
done
export PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INDEX=1 PIP_BREAK_SYSTEM_PACKAGES=1

missing=$("$python" - <<'PY'
import importlib.metadata as m, importlib.util as u
need = ("pip", "scikit_build_core", "pybind11", "numpy", "pytest", "hypothesis", "torch")
print(*(name.replace("_", "-") for name in need if u.find_spec(name) is None))
if u.find_spec("pip") and [int(n) for n in m.version("pip").split(".")[:2]] < [23, 1]:
    print("pip>=23.1")  # which passes -C on
PY
)
command -v cmake >/dev/null || missing+=" cmake"
command -v ninja >/dev/null || command -v make >/dev/null || missing+=" ninja (or make)"
command -v nvcc >/dev/null || missing+=" nvcc"
if [ -n "${missing// /}" ]; then
  echo "expected these to be installed (there may be no network here), got without: $missing" >&2
  exit 2
fi

cat >"$work/describe.sh" <<'SH'
query=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit,ecc.mode.current
nvidia-smi --query-gpu="$query" --format=csv || echo "nvidia-smi: not there"
nvcc --version | tail -n 2
uname -r
"$1" - <<'PY'
import importlib, sys
print("Python", sys.version.split()[0])
for name in ("numpy", "torch", "cupy", "numba", "bitsandbytes"):
    try:
        print(name, importlib.import_module(name).__version__)
    except Exception as error:
        print(f"{name}: not here ({type(error).__name__}: {error})")
import torch
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print("torch sees", names, "by CUDA", torch.version.cuda)
PY
SH
LINES_SHOWN=14 part machine 60 bash "$work/describe.sh" "$python"

# "native" is this card alone, by nvcc of 11.5 and newer.
part build 300 "$python" -m pip install --no-build-isolation --no-deps --force-reinstall -v \
  -Ccmake.define.FUSEDSTEP_CUDA=ON -Ccmake.define.CMAKE_CUDA_ARCHITECTURES="${ARCHITECTURES:-native}" \
  -Cbuild-dir="$work/build" . ||
  { left_out the-rest "FAILED: nothing to test without a build"; finish; }
# Without a device all tests would be skipped silently.
part device 60 "$python" -c '
import fusedstep, sys
found = fusedstep.show_config("dict")["cuda"]
print(fusedstep.__file__, found, sep="\n")
sys.exit(not isinstance(found, list))'

# The suite turns warnings into errors; those of other libraries on this machine are not our fault.
tests=("$python" -m pytest -q -p no:cacheprovider -W default -m "not long")
part tests 140 "${tests[@]}" --junitxml="$out/tests.xml" --durations=10 -k "not emulated" \
  tests/cuda/test_exact.py tests/cuda/test_device.py tests/cuda/test_graphs.py

# A few steps of every kind under each tool: kernels run tens of times slower there, and what exceeds the
# time limit is left out. Without torch's cache every array is an allocation whose bounds memcheck knows.
# API errors that other libraries provoke and handle are not reported.
short='torch and (test_every_rule or test_every_rule_in_the_whole_step) and (adamw or lamb or rowwise or rprop)
  and not amsgrad and not weight_decay and not maximize and not initial and not inside and not lr_decay
  or torch and (test_groups or test_hardly)'
short=${short//$'\n'/ }
for tool in 'memcheck --report-api-errors no' racecheck; do
  if command -v compute-sanitizer >/dev/null; then
    # shellcheck disable=SC2086 # a tool and its options
    CUT_OFF="left out, without an error:" LINES_SHOWN=6 part "${tool%% *}" 50 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 \
      compute-sanitizer --tool $tool --error-exitcode 9 --target-processes all \
      "${tests[@]}" -k "$short" tests/cuda/test_exact.py
  else
    left_out "${tool%% *}" "left out: no compute-sanitizer here"
  fi
done

rm -f "$out/report.md" "$out/results.json"
LINES_SHOWN=4 part benchmark 170 "$python" -m bench.cuda.compare --output "$out"
# It writes after every case, so there are results even if it ran out of time.
[ -f "$out/report.md" ] && printf '\n' && cat "$out/report.md"
finish
