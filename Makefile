# Each target sets up .venv by itself on a machine that has Python 3.11 and make.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-lowest lint bench flink-up flink-down spark-jar prism venv clean

demo: venv
	rm -rf demo-out
	$(BIN)/yt8m-data demo --out demo-out

test: venv
	$(BIN)/python -m pytest -n 2 --dist loadfile  # so that the fixtures of a file are made once

test-lowest:  # with the lowest versions that setup.cfg allows
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest --resolution lowest-direct --editable '.[cpu,test,dev]'
	.venv-lowest/bin/python -m pytest -n 2 --dist loadfile

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: venv
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

flink-up:
	flink/cluster up

flink-down:
	flink/cluster down

spark-jar:
	mvn -B -q -f spark/pom.xml package

prism: venv
	go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$$($(BIN)/python -c "from importlib import metadata; print(metadata.version('apache-beam'))")

venv: .venv/installed

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cpu,test,dev]'
	touch $@

clean:
	rm -rf .venv .venv-lowest demo-out build dist *.egg-info
