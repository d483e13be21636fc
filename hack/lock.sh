#!/usr/bin/env bash
# Resolves the dependencies into requirements/: versions and hashes, no download addresses.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "$(PYTHONPATH=hack .venv/bin/python -m images.machine)"
compile() {
  .venv/bin/uv pip compile -q --system-certs --generate-hashes --no-emit-index-url --no-emit-find-links \
    --no-header --universal --python-version 3.11 "$@"
}
compile pyproject.toml --extra operator --extra trainer --group dev -o requirements/dev.txt
compile pyproject.toml --extra operator -c requirements/dev.txt -o requirements/operator.txt
compile pyproject.toml --extra trainer -c requirements/dev.txt -o requirements/trainer.txt
echo "uv==$(.venv/bin/uv --version | cut -d' ' -f2)" | compile - -o requirements/uv.txt
