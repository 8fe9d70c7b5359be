"""Measure questions by name, and print one line of JSON for each.

A name is one of `--list`, or the beginning of some: `run.py cpu_f32/conv3x3`.
"""

import argparse
import os
import sys

import common  # first: it restarts Python with the malloc that PyTorch likes

import torch

import kernels
import sample
import train_step

# Steps after which a process does not grow any more.
MEMORY_STEPS = 4


def measure_memory(name, make, args):
    if args.memory_format == "best":
        sys.exit(f"{name}: a process has one peak of memory; name one --memory-format")
    step = make(args.memory_format)
    for _ in range(MEMORY_STEPS):
        step()
    common.report(name, args)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure; everything without a name")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=5, help="timings at least")
    parser.add_argument("--seconds", type=float, default=0.0, help="go on until so much time is measured")
    parser.add_argument("--warmup", type=int, default=2, help="runs that are not timed")
    parser.add_argument("--memory-format", choices=[*common.FORMATS, "best"], default="best")
    args = parser.parse_args()

    timed = kernels.questions() | train_step.questions() | sample.questions()
    memory = {f"memory/train_step/{name}": make for name, make in train_step.steps().items()}
    known = [*timed, *memory]
    if args.list:
        print("\n".join(known))
        return
    names = [name for name in known if name in args.names]
    if not names:
        names = [name for name in timed if not args.names or name.startswith(tuple(args.names))]
    if not names:
        sys.exit(f"no measurement is called {' or '.join(args.names)}; --list shows all names")

    torch.set_num_threads(args.threads)
    for name in names:
        if name in memory:
            measure_memory(name, memory[name], args)
        else:
            common.measure(name, timed[name], args)


if __name__ == "__main__":
    main()
