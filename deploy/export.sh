#!/bin/sh
# Fills the model volume: the configurations and Python steps of this image, then weights, exported and gated.
# Finished steps are kept below SENSORIUM_HOME, so a second run of the same image has little to do.
set -eu
cp -R /app/model_repository/. "${SENSORIUM_MODEL_REPOSITORY}/"
python -m cli.catalogues
exec python -m export --profile "${1:-lite}" --target "${2:-onnxruntime}"
