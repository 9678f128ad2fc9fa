export PYTHONPATH=/work/tmp/clones/ME/hw:/work/tmp/clones/ME/sim:/work/tmp/clones/ME/sw
export PY=/work/main/.venv/bin/python
cd /work/tmp/clones/ME
