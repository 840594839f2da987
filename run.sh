#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
#   ./run.sh demo     make an environment, install, train and evaluate CTAN on phantoms, and name the report to open
#   ./run.sh test     make the same environment, and run the tests; further arguments go to pytest
#
# A second call finds the environment (.venv) and installs only when setup.cfg or constraints.txt has changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf '\n==> %s\n' "$*"; }

environment() {
    local python=${PYTHON:-}
    if [ -z "$python" ]; then
        python=$(command -v python3.11 || command -v python3) || { echo "Python 3.10 to 3.12 is needed."; exit 1; }
    fi
    if [ ! -x .venv/bin/python ]; then
        say "Making a Python environment in .venv ($("$python" --version))"
        "$python" -m venv .venv
    fi
    local wanted
    wanted=$(cat setup.cfg constraints.txt | cksum)
    if [ "$(cat .venv/installed 2>/dev/null)" != "$wanted" ]; then
        say "Installing PyTorch (the version in constraints.txt)"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
        say "Installing this package and what it needs"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
        echo "$wanted" > .venv/installed
    else
        say "Using the environment in .venv"
    fi
}

demo() {
    environment
    local configs=bundles/openkbp_ctan/configs
    export PYTHONWARNINGS=ignore
    say "Training CTAN on a phantom cohort (written on first use; a few minutes on two CPU cores)"
    .venv/bin/python -m monai.bundle run --config_file $configs/train.json
    say "Evaluating it on held-out phantoms"
    .venv/bin/python -m monai.bundle run --config_file "['$configs/train.json','$configs/evaluate.json']"
    say "Done. Open bundles/openkbp_ctan/runs/phantom_ctan/evaluation_validation/report.html in a browser."
}

tests() {
    environment
    say "Running the tests that need neither real data nor much time"
    # As many processes as processors, four at most, of one thread each: threads of several would wait for one another.
    # In the order of the files: else the files with few tests, some of them long, would be left for the end.
    OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
        -m "not slow and not realdata and not label and not nextmonai" "$@"
}

case "${1:-}" in
    demo) demo ;;
    test) shift; tests "$@" ;;
    *) sed -n '4,8p' "${BASH_SOURCE[0]}" | cut -c3-; exit 2 ;;
esac
