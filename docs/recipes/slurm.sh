#!/bin/bash
# A search on a Slurm cluster: one worker for each GPU, and a supervisor on the first node.
#
#   sbatch --nodes 4 docs/recipes/slurm.sh partA --data /shared/dogs
#
# The arguments after the study's name go to `sieve run`. See docs/several-machines.md.
#SBATCH --job-name=sieve
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=4G
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=sieve-%j.log
set -euo pipefail

: "${SIEVE_STORAGE:?name the Postgres database, such as postgresql://sieve@db/sieve; its password belongs in ~/.pgpass}"
export SIEVE_HOME="${SIEVE_HOME:-$SLURM_SUBMIT_DIR/runs}"  # On a file system that all nodes share.
study=$1
shift

sieve run --study "$study" --workers 0 "$@" &
supervisor=$!
until sieve status --study "$study" > /dev/null 2>&1; do
    if ! kill -0 "$supervisor" 2> /dev/null; then wait "$supervisor"; exit; fi
    sleep 2
done
srun sieve worker --study "$study" --device "${SIEVE_DEVICE:-cuda:0}" &
workers=$!

# Ten minutes before the time limit (--signal), running trials finish and no new ones start; the job is then requeued.
go_on_later() {
    kill -TERM "$supervisor" "$workers"
    wait "$workers" || true
    scontrol requeue "$SLURM_JOB_ID"
    exit
}
trap go_on_later TERM
wait "$supervisor"
