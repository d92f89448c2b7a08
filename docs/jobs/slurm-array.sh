#!/usr/bin/env bash
# Folds a zoo with a SLURM job array: every task takes one part of the models, and a task that is requeued goes on where
# it was stopped.
#
#   sbatch --export=ALL,ZOO=/data/zoo,OUT=/data/folded docs/jobs/slurm-array.sh
#
# In: ZOO, a folder of checkpoints; OUT, the folder for the results, on a file system that all nodes share. PARTS must be
# given only if some tasks of the array are submitted again by themselves (`--array=3`). Out: the folded zoo, and one
# JSON line a model in OUT.reports/.
#SBATCH --job-name=bnfold
#SBATCH --array=0-7
#SBATCH --cpus-per-task=4
#SBATCH --mem=2G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@60
set -euo pipefail
: "${ZOO:?a folder of checkpoints}" "${OUT:?the folder for the results}"

parts=${PARTS:-$SLURM_ARRAY_TASK_COUNT}
mkdir -p "$OUT.reports"
# exec: signals of SLURM reach the program itself, which then removes what is half done.
exec bnfold-gpu --input "$ZOO" --output "$OUT" --copy-sidecars \
    --shard "$SLURM_ARRAY_TASK_ID/$parts" --jobs "${SLURM_CPUS_PER_TASK:-1}" \
    --format json >> "$OUT.reports/part-$SLURM_ARRAY_TASK_ID.jsonl"
