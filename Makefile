# What there is to do with the checkout. Each target sets up what it needs; all but `clean` need root.
# The machine's own sshd, PAM and accounts are never touched: everything runs in namespaces of its own.

PYTHON := .venv/bin/python
NATIVE := build/native
# Where builds of the test tailnet (tailscaled, headscale) and of the private Debians are kept between runs.
export PAM_TAILSCALE_CACHE ?= /var/cache/pam-tailscale-tests

.PHONY: demo check test bench lint native clean

demo: ## log in over an embedded tailnet: about a minute
	@tests/lab/prepare demo
	@tests/lab/reachable $(PYTHON) -m contrib.demo.demo

check: lint ## format, lint, types, unit and native tests: under two minutes
	tests/lab/reachable $(PYTHON) -m pytest -q -n 2 --dist loadgroup tests/test_repo.py tests/unit tests/native

test: lint ## everything, on real sshd and a real tailnet: half an hour, an hour the first time
	tests/lab/build-binaries $(PAM_TAILSCALE_CACHE)
	tests/lab/build-root $(PAM_TAILSCALE_CACHE) bookworm
	tests/lab/build-root $(PAM_TAILSCALE_CACHE) trixie
	tests/lab/build-root $(PAM_TAILSCALE_CACHE) bookworm booted
	tests/lab/build-root $(PAM_TAILSCALE_CACHE) trixie booted
	tests/lab/build-provider $(PAM_TAILSCALE_CACHE)
	tests/lab/reachable $(PYTHON) -m pytest -n 2 --dist loadgroup tests

bench: ## measure; prints a table and writes build/bench.json
	@tests/lab/prepare test
	tests/lab/reachable $(PYTHON) -m bench

lint:
	@tests/lab/prepare test
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

native: ## the PAM module and the key helper, into build/native
	$(MAKE) -C pam_tailscale/native OUT=$(CURDIR)/$(NATIVE)

clean:
	rm -rf build .mypy_cache .pytest_cache .ruff_cache
