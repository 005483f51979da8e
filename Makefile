.PHONY: install test lint format benchmark

install:
	pip install -c constraints.txt -e ".[test]"

test:
	python -m pytest -n auto

lint:
	ruff check . && ruff format --check .

format:
	ruff check --fix . && ruff format .

benchmark:
	lamp-hf benchmark
