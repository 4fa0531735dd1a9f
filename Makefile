# What a person types. CI runs `make test`, and nothing else.

SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)

SHELFD := target/release/shelfd

.DEFAULT_GOAL := help
.PHONY: help run test torture fuzz kafka bench bench-quick fmt lint build setup tally clean bench-report soak micro

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## a demo node to look at: its addresses on the screen, and three commands to try
	@exec $(SHELFD) demo

test: ## everything CI checks: format, lints, licences, all tests, and what data they ran on
	@scripts/test.sh

torture: setup ## the long versions of all that shows that nothing is lost or oversold; hours; Ctrl-C prints what was done so far
	@scripts/torture.sh

fuzz: setup ## a coverage-guided fuzzer on every decoder and on sequences of operations, five minutes each
	@scripts/fuzz.sh

kafka: ## a real Kafka broker on this machine, with the topics of the README's page; says how to go on
	@scripts/setup.sh broker
	@scripts/kafka.sh demo

bench: setup ## the node beside its peers on this machine: every figure, its goal, and a plot; twenty minutes
	@scripts/setup.sh broker peers
	@scripts/bench.sh

bench-quick: setup ## the most telling rows in three minutes: a look, not a result
	@scripts/setup.sh broker peers
	@scripts/bench.sh quick

soak: setup ## what takes an hour: 50 million events, and half of what the node carries for long
	@scripts/bench.sh soak

bench-report: ## the table of the last `make bench` once more, as Markdown
	@scripts/bench.sh report --markdown

micro: setup ## the steps of one event timed one by one, and their instructions counted
	@scripts/setup.sh counter
	cargo bench --locked --bench micro
	@scripts/instructions.sh || [ $$? = 2 ]

fmt: setup ## write every source as rustfmt has it
	cargo fmt --all

lint: setup ## format, clippy, licences and advisories, without the tests
	cargo fmt --all --check
	cargo clippy --locked -p shelfd -p bare_loop --all-targets -- -D warnings
	scripts/deny.sh || [ $$? = 2 ]

build: setup ## the release binary, target/release/shelfd
	cargo build --release --locked

setup: ## what a fresh Debian 12 lacks: installed when it may be, otherwise named
	@scripts/setup.sh

clean: ## throw away everything that was built
	rm -rf target

tally: ## after a complete `make test`: keep what it ran on, so that a clone without the data can say what it left out
	@{ grep '^#' tests/shared_data.tally; cat target/test.tally.sums; } > target/shared_data.tally && mv target/shared_data.tally tests/shared_data.tally
