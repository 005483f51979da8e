.PHONY: install test fast lint types format architecture benchmark

install:
	pip install -c constraints.txt -e ".[test]"

test:
	python -m pytest -n auto

fast:
	python -m pytest -n auto -m "not slow"

lint:
	ruff check . && ruff format --check .

types:
	mypy

format:
	ruff check --fix . && ruff format .

architecture:
	python tests/architecture.py

benchmark:
	lamp-hf benchmark
