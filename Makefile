# What there is to do with the checkout. Each target sets up what it needs; all but `clean` need root.
# The machine's own sshd, PAM and accounts are never touched: everything runs in namespaces of its own.

PYTHON := .venv/bin/python
NATIVE := build/native
# Where builds of the test tailnet (tailscaled, headscale) and of the private Debians are kept between runs.
export PAM_TAILSCALE_CACHE ?= /var/cache/pam-tailscale-tests

SUITE ?= bookworm
# Seconds for all targets of `fuzz` together.
FUZZ_SECONDS ?= 600

.PHONY: demo check test bench fuzz deb deb-checks package-roots lint native clean

demo: ## log in over an embedded tailnet: about a minute
	@tests/lab/prepare demo
	@tests/lab/reachable $(PYTHON) -m contrib.demo.demo

check: lint ## format, lint, types, unit and native tests: under two minutes
	tests/lab/reachable $(PYTHON) -m pytest -q -n 2 --dist loadgroup tests/test_repo.py tests/unit tests/native

test: lint ## everything, on real sshd and a real tailnet: an hour, more the first time
	tests/lab/build-binaries $(PAM_TAILSCALE_CACHE)
	tests/lab/build-root $(PAM_TAILSCALE_CACHE) bookworm
	tests/lab/build-root $(PAM_TAILSCALE_CACHE) trixie
	tests/lab/build-root $(PAM_TAILSCALE_CACHE) bookworm booted
	tests/lab/build-root $(PAM_TAILSCALE_CACHE) trixie booted
	tests/lab/build-provider $(PAM_TAILSCALE_CACHE)
	$(MAKE) package-roots
	tests/lab/reachable $(PYTHON) -m pytest -n 2 --dist loadgroup tests

bench: ## measure; prints a table and writes build/bench.json
	@tests/lab/prepare test
	tests/lab/reachable $(PYTHON) -m bench

fuzz: ## ten minutes of looking for bytes that break the reading of a policy file; what was found is in build/fuzz
	@tests/lab/prepare test
	for target in hujson compile; do \
		$(PYTHON) -m tests.fuzz $$target build/fuzz/$$target -max_total_time=$$(($(FUZZ_SECONDS) / 2)) || exit; done

deb: ## the Debian packages, into build/deb; SUITE=trixie for Debian 13
	@tests/lab/prepare deb
	@mkdir -p build
	@packages=$$(tests/lab/build-debs $(PAM_TAILSCALE_CACHE) $(SUITE)) && rm -rf build/deb && cp -r "$$packages" build/deb
	@ls -l build/deb/*.deb

deb-checks: ## what Debian's tools say of the packages, for both releases; one line a check
	@tests/lab/prepare test
	@$(MAKE) --no-print-directory package-roots
	@tests/lab/reachable $(PYTHON) -m pytest -q -rA -n 2 --dist loadgroup tests/distro/test_packages.py

package-roots: # before the tests, whose time limit is for tests
	for kind in build booted; do for suite in bookworm trixie; do \
		tests/lab/build-root $(PAM_TAILSCALE_CACHE) $$suite $$kind || exit; done; done
	tests/lab/build-root $(PAM_TAILSCALE_CACHE) trixie checks

lint:
	@tests/lab/prepare test
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

native: ## the PAM module and the key helper, into build/native
	$(MAKE) -C pam_tailscale/native OUT=$(CURDIR)/$(NATIVE)

clean:
	rm -rf build .mypy_cache .pytest_cache .ruff_cache
