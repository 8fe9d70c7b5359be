#!/usr/bin/env bash
# Tests, a short training, sampling and PyTorch beside it, on a machine with an NVIDIA GPU and without Rust.
# usage: OUT=FOLDER ./run.sh [PYTHON]     PYTHON imports torch and diffusers; without one the peer is left out
# The CUDA libraries are those of CUDA_HOME, or of the nvidia/* packages beside PYTHON's torch.
# Everything is written below $OUT (./out by default). CT_NO_TESTS=1 leaves the tests out.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Both may be relative to where this is called.
python=
if [ -n "${1:-}" ]; then
  # The link itself, by which a virtual environment knows its packages.
  python=$(cd "$(dirname "$(command -v "$1" || echo "$1")")" && pwd)/$(basename "$1")
fi
out=${OUT:-$PWD/out}
mkdir -p "$out"
out=$(cd "$out" && pwd)
failed=0

libraries=()
for dir in "${CUDA_HOME:-/usr/local/cuda}"/lib64 "${CUDA_HOME:-/usr/local/cuda}"/lib; do
  [ -d "$dir" ] && libraries+=("$dir")
done
if [ -n "$python" ]; then
  while IFS= read -r dir; do libraries+=("$dir"); done < <("$python" - <<'END_OF_PYTHON'
import glob, os, site, sysconfig
roots = {sysconfig.get_paths()["purelib"], *site.getsitepackages()}
for root in sorted(roots):
    for folder in sorted(glob.glob(os.path.join(root, "nvidia", "*", "lib"))):
        print(folder)
END_OF_PYTHON
  )
fi
# Wheels name libraries by their major version alone, which is what programs are linked with.
for dir in "${libraries[@]}"; do export LD_LIBRARY_PATH="$dir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"; done

# A name for the files, then the command; its time and exit code go into steps.txt.
step() {
  local name=$1 start code
  shift
  start=$(date +%s.%N)
  echo "== $name: $*"
  "$@" >"$out/$name.txt" 2>&1
  code=$?
  echo "$name exit $code seconds $(awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN { print b - a }')" | tee -a "$out/steps.txt"
  if [ $code -ne 0 ]; then
    failed=1
    tail -n 5 "$out/$name.txt"
  fi
  return $code
}

: >"$out/steps.txt"
cat "$here/COMMIT" >"$out/commit.txt"
if ! nvidia-smi -L >"$out/gpu.txt" 2>&1; then
  echo "skipped: no CUDA device" | tee -a "$out/steps.txt"
  exit 0
fi
nvidia-smi >>"$out/gpu.txt"
cat "$out/gpu.txt"
cd "$out" || exit 1
rm -rf runs

if [ -z "${CT_NO_TESTS:-}" ]; then
  # The same tests as on the CPU, their inputs on the GPU; one test at a time, since they share one stream.
  step tests env CT_TEST_DEVICE=cuda CT_TEST_CASES=8 "$here/tests/kernels" --test-threads 1
fi
ct=("$here/ct" --device cuda)
"$here/ct" train toy --device cuda:99 >no_such_gpu.txt 2>&1
grep -q "no GPU number 99" no_such_gpu.txt || { echo "a wrong ordinal is not explained"; failed=1; }
step train_toy "${ct[@]}" train toy --set train.steps=500 --out runs/toy
step train_digits "${ct[@]}" train digits --set train.steps=500 --out runs/digits
step train_digits_cpu "$here/ct" train digits --set train.steps=500 --out runs/digits-cpu
step train_sct "${ct[@]}" train digits --set train.recipe=sct --set train.steps=100 --out runs/sct
step train_digits_bf16 "${ct[@]}" train digits --precision bf16 --set train.steps=500 --out runs/digits-bf16
step sample_one "${ct[@]}" sample --model runs/digits --num 1
step sample_many "${ct[@]}" sample --model runs/digits --num 4096 --batch 256
step sample_bf16 "${ct[@]}" sample --model runs/digits --num 4096 --batch 256 --precision bf16 --grid samples-bf16.png
step edit "${ct[@]}" edit inpaint --model runs/digits --data digits --num 4 --rect 2,2,4,4
step eval "${ct[@]}" eval --model runs/digits
step eval_bf16 "${ct[@]}" eval --model runs/digits-bf16
step device_steps "$here/bench/device_steps" cuda
if [ -n "$python" ]; then
  step peer "$python" "$here/bench/pytorch/cuda_steps.py"
fi
if [ $failed -eq 0 ]; then echo "all of it ran; what it found is in $out"; else echo "something failed; see $out/steps.txt"; fi
exit $failed
