# awq: build, test, check, run. `make help` lists the targets.
#
#   CC, CFLAGS, LDFLAGS, PREFIX, DESTDIR   as usual
#   BUILD=build/asan SAN=address,undefined  a sanitizer build beside the normal one
#   T=EXPR                                  only the tests whose names match
#
# Sources are found by place, so that a new file needs no line here:
#   common/        build/libawq.a          worker/         build/awq-worker
#   tools/NAME/    build/awq-NAME          tests/unit/test_NAME.c   build/tests/test_NAME
# A folder becomes a program once one of its files has a main.

BUILD  ?= build
PREFIX ?= /usr/local
CFLAGS ?= -O2 -g
SAN    ?=
T      ?=

.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# What the machine has, written by deploy/deps.sh; make runs that script when the file is missing.
DEPS_DIR := .deps
ifneq ($(filter-out help clean deps fmt,$(or $(MAKECMDGOALS),build)),)
include $(DEPS_DIR)/flags.mk
endif

$(DEPS_DIR)/flags.mk: deploy/deps.sh
	@sh deploy/deps.sh build

# ---- flags ----------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wvla
ifeq ($(SAN),)
HARDEN   := -fstack-protector-strong -fPIE $(if $(findstring -O0,$(CFLAGS)),,-D_FORTIFY_SOURCE=2)
HARDEN_L := -pie -Wl,-z,relro,-z,now
else
HARDEN   := -fsanitize=$(SAN) -fno-sanitize-recover=undefined -fno-omit-frame-pointer -fPIE
HARDEN_L := -fsanitize=$(SAN) -pie
endif
CPPFLAGS_ALL := -D_GNU_SOURCE -I. -I$(BUILD)/gen $(DEPS_CFLAGS) $(CPPFLAGS)
CFLAGS_ALL    = -std=c11 $(WARN) $(HARDEN) $(CFLAGS)
LDFLAGS_ALL   = $(HARDEN_L) $(LDFLAGS)

# ---- sources --------------------------------------------------------------------------------------

objects   = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
with_main = $(if $(1),$(shell grep -l '^int main.' $(1)))

COMMON  := $(sort $(wildcard common/*.c common/*/*.c))
WORKER  := $(sort $(wildcard worker/*.c worker/*/*.c))
SCRIPTS := $(sort $(wildcard common/scripts/*.lua))
TOOLS   := $(notdir $(patsubst %/,%,$(wildcard tools/*/)))
$(foreach t,$(TOOLS),$(eval SRC_$(t) := $(sort $(wildcard tools/$(t)/*.c))))
SRC_bench += tools/demo/ask.c tools/demo/child.c # starts and asks programs as the demo does
TOOLS_SRC := $(foreach t,$(TOOLS),$(SRC_$(t)))
UNIT    := $(sort $(wildcard tests/unit/test_*.c))
UNIT_HELP := $(filter-out $(UNIT),$(sort $(wildcard tests/unit/*.c)))
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
EXAMPLES := $(sort $(wildcard deploy/examples/*.c))
BENCH_SRC := $(sort $(wildcard tests/bench/*.c))
ALL_SRC := $(COMMON) $(WORKER) $(TOOLS_SRC) $(BENCH_SRC) $(UNIT) $(UNIT_HELP) $(FUZZ_SRC) $(EXAMPLES)

WORKER_MAIN := $(call with_main,$(WORKER))
WORKER_LIB  := $(filter-out $(WORKER_MAIN),$(WORKER)) # what unit tests of worker modules link with

LIB        := $(BUILD)/libawq.a
PROGRAMS   := $(if $(WORKER_MAIN),$(BUILD)/awq-worker) \
              $(foreach t,$(TOOLS),$(if $(call with_main,$(SRC_$(t))),$(BUILD)/awq-$(t)))
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT))

# ---- building -------------------------------------------------------------------------------------

.PHONY: help deps build objects run test unit integration check model mutants fmt install clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  %-13s%s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

deps: ## install the libraries, servers and tools that are missing
	@sh deploy/deps.sh all

build: $(LIB) $(PROGRAMS) $(call objects,$(WORKER) $(TOOLS_SRC)) ## compile the programs into build/

objects: $(LIB) $(PROGRAMS) $(UNIT_TESTS) $(call objects,$(ALL_SRC)) # everything that compiles

# Another compiler or other flags rebuild everything.
FLAGS_NOW := $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL)
$(BUILD)/flags: FORCE
	@mkdir -p $(BUILD)/gen
	@echo '$(FLAGS_NOW)' | cmp -s - $@ || echo '$(FLAGS_NOW)' > $@
FORCE:

$(BUILD)/obj/%.o: %.c $(BUILD)/flags | $(BUILD)/gen/scripts.inc
	@mkdir -p $(@D)
	@echo '  CC   $<'
	@$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# The Lua moves as rows SCRIPT(name, "sha1", "body"), in name order.
$(BUILD)/gen/scripts.inc: common/scripts/embed.sh $(SCRIPTS) $(BUILD)/gen/scripts.list
	@sh common/scripts/embed.sh $(SCRIPTS) > $@
$(BUILD)/gen/scripts.list: FORCE
	@mkdir -p $(@D)
	@echo '$(SCRIPTS)' | cmp -s - $@ || echo '$(SCRIPTS)' > $@

$(LIB): $(call objects,$(COMMON))
	@rm -f $@
	@$(AR) rcs $@ $^

link = @echo '  LINK $@'; mkdir -p $(@D); \
	$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(LIB) $(1) $(DEPS_LIBS)

$(BUILD)/awq-worker: $(call objects,$(WORKER)) $(LIB)
	$(call link)

define tool_rule
$(BUILD)/awq-$(1): $(call objects,$(SRC_$(1))) $(LIB)
	$$(call link)
endef
$(foreach t,$(TOOLS),$(eval $(call tool_rule,$(t))))

EXAMPLE_PROGRAMS := $(patsubst deploy/examples/%.c,$(BUILD)/example-%,$(EXAMPLES))
.PHONY: examples
examples: $(EXAMPLE_PROGRAMS) ## the examples in C, as build/example-NAME
$(EXAMPLE_PROGRAMS): $(BUILD)/example-%: $(BUILD)/obj/deploy/examples/%.o $(LIB)
	$(call link)

$(UNIT_TESTS): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(call objects,$(UNIT_HELP) $(WORKER_LIB)) $(LIB)
	$(call link,$(CMOCKA_LIBS))

-include $(patsubst %.o,%.d,$(call objects,$(ALL_SRC)))
.SECONDARY:

# ---- running --------------------------------------------------------------------------------------

run: build ## the main job on a private Redis and a sandbox (KEEP=1 leaves them up)
	@sh deploy/deps.sh run
	@$(BUILD)/awq-demo $(if $(KEEP),--keep)

# ---- testing --------------------------------------------------------------------------------------

test: build $(UNIT_TESTS) ## unit tests, then integration tests on real servers
	@sh deploy/deps.sh test
	@sh tests/run '$(BUILD)' all '$(T)'

unit: build $(UNIT_TESTS) ## only the unit tests
	@sh tests/run '$(BUILD)' unit '$(T)'

integration: build ## only the integration tests
	@sh deploy/deps.sh test
	@sh tests/run '$(BUILD)' integration '$(T)'

.PHONY: cells
cells: build ## the table of grants, client authentications and DPoP, each cell on a real server
	@sh deploy/deps.sh test
	@AWQ_BUILD=$(BUILD) /usr/bin/python3 tests/integration/cells.py

# ---- bench ----------------------------------------------------------------------------------------

PEERS := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(BENCH_SRC))
.PHONY: bench
bench: build $(PEERS) ## what a step costs, against others (B=NAME,... picks figures)
	@sh deploy/deps.sh test
	@test -e tests/bench/node_modules/bullmq || npm install --prefix tests/bench --no-save \
	    --ignore-scripts --no-audit --no-fund --loglevel=error
	@$(BUILD)/awq-bench --peers $(BUILD)/bench --node $(CURDIR)/$(DEPS_DIR)/bin/node --only '$(B)' \
	    --rounds $(or $(ROUNDS),5)

$(PEERS): $(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o $(LIB)
	$(call link)

.PHONY: tokens
tokens: build ## what waits for tokens, by the servers' logs (T=waiting or T=short; three minutes)
	@sh deploy/deps.sh test
	@AWQ_BUILD=$(BUILD) /usr/bin/python3 tests/bench/tokens.py $(T)

# ---- fuzzing --------------------------------------------------------------------------------------

# libFuzzer: each target starts from the vectors and keeps what it finds in build/fuzz/corpus/.
FUZZ_SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/%,$(FUZZ_SRC))
.PHONY: fuzz fuzzers
fuzz: ## each decoder under libFuzzer for FUZZ_SECONDS (60); T=EXPR picks targets
	+@$(MAKE) --no-print-directory CC=clang BUILD=build/fuzz SAN=fuzzer-no-link,address,undefined \
	    CFLAGS='-O1 -g' fuzzers
	@/usr/bin/python3 tests/fuzz/seeds.py build/fuzz/seeds
	@for f in $(FUZZ_SRC:tests/fuzz/fuzz_%.c=%); do \
	    case $$f in *$(T)*) ;; *) continue ;; esac; \
	    echo "== fuzz $$f"; mkdir -p build/fuzz/corpus/$$f build/fuzz/seeds/$$f; \
	    build/fuzz/fuzz_$$f -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1000 -verbosity=0 \
	        -print_final_stats=1 -artifact_prefix=build/fuzz/$$f- \
	        build/fuzz/corpus/$$f build/fuzz/seeds/$$f || exit 1; done

fuzzers: $(FUZZERS) # only with the sanitizers that `make fuzz` sets
$(FUZZERS): $(BUILD)/%: $(BUILD)/obj/tests/fuzz/%.o $(LIB)
	$(call link,-fsanitize=fuzzer)

# ---- checking -------------------------------------------------------------------------------------

CHECKS := format werror headers tidy cppcheck shell model unit-asan unit-valgrind integration-asan
.PHONY: $(CHECKS:%=check-%)

check: ## format, warnings, analysis, sanitizers
	@sh deploy/deps.sh check
	+@for c in $(CHECKS); do echo "== check $$c"; $(MAKE) --no-print-directory check-$$c || exit 1; done

# Other versions of clang-format lay some lines out differently; 14 (Debian 12) is the tree's.
check-format:
	@case "$$(clang-format --version)" in *version\ 14.*) \
	    git ls-files '*.c' '*.h' | xargs -r clang-format --dry-run -Werror ;; \
	*) echo "not compared: $$(clang-format --version), the layout is that of 14" ;; esac

check-werror:
	+@$(MAKE) --no-print-directory -s CC=gcc BUILD=build/gcc CFLAGS='-O2 -g -Werror' objects
	+@$(MAKE) --no-print-directory -s CC=clang BUILD=build/clang CFLAGS='-O1 -g -Werror' objects

HEADERS = $(shell git grep -l '^#ifndef AWQ_' -- '*.h') # those without a guard are lists of rows
check-headers: build # each header compiles alone
	@for h in $(HEADERS); do \
	    echo "#include \"$$h\"" | $(CC) $(CPPFLAGS_ALL) -std=c11 $(WARN) -Werror -fsyntax-only -x c - \
	        || { echo "$$h does not compile alone"; exit 1; }; done

# Each clang-tidy finds something else. 14 (Debian 12) decides; what another one says is shown.
check-tidy: $(patsubst %.c,$(BUILD)/tidy/%.ok,$(ALL_SRC))
$(BUILD)/tidy/%.ok: $(BUILD)/obj/%.o .clang-tidy
	@mkdir -p $(@D)
	@echo '  TIDY $*.c'
	@clang-tidy --quiet $*.c -- $(CPPFLAGS_ALL) -std=c11 2>$@.err || \
	    case "$$(clang-tidy --version)" in *version\ 14.*) cat $@.err; exit 1 ;; esac
	@touch $@

check-cppcheck:
	@mkdir -p $(BUILD)/cppcheck
	@cppcheck --quiet --enable=warning,performance,portability --std=c11 --inline-suppr \
	    --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches --cppcheck-build-dir=$(BUILD)/cppcheck -j 2 \
	    --error-exitcode=1 -D_GNU_SOURCE -I. -I$(BUILD)/gen common worker tools

check-model:
	@/usr/bin/python3 tests/model/model.py bounded

check-shell:
	@git grep -lE '^#!/bin/(ba)?sh' | xargs -r shellcheck

ASAN = $(MAKE) --no-print-directory -s BUILD=build/asan SAN=address,undefined CFLAGS='-O1 -g'
check-unit-asan:
	+@$(ASAN) unit

check-unit-valgrind: build $(UNIT_TESTS)
	@WRAP='valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite' \
	    UNIT_LIMIT_S=300 sh tests/run '$(BUILD)' unit

# The image builds its own programs, without sanitizers: the pass before has tested it.
check-integration-asan:
	+@$(ASAN) LABEL='not long and not image' integration

model: ## the lease protocol, every state of it (tests/model/README.md); takes minutes
	@sh deploy/deps.sh test
	@/usr/bin/python3 tests/model/model.py

FOR ?= 600
SEED ?= 1
.PHONY: chaos
chaos: build ## FOR seconds of kills, stops and lost answers, then a verdict (tests/chaos/README.md)
	@sh deploy/deps.sh test
	@AWQ_BUILD=$(BUILD) /usr/bin/python3 tests/chaos/chaos.py --for $(FOR) --seed $(SEED)

mutants: build ## break the code in known ways, and see a test notice each
	@sh deploy/deps.sh test
	@/usr/bin/python3 tests/mutants.py '$(T)'

fmt: ## rewrite the sources with clang-format
	@git ls-files '*.c' '*.h' | xargs -r clang-format -i

VERSION  = $(shell sed -n 's/.*AWQ_VERSION "\(.*\)"/\1/p' common/version.h)
UNIT_DIR = $(DESTDIR)$(PREFIX)/lib/systemd/system
OWN_LIBS = $(filter $(DEPS_DIR)/%,$(DEPS_LIBS)) # libraries built by deps, where the system's are too old
install: build ## copy the programs, the library (pkg-config awq), the provider profiles and the systemd unit under $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include
	$(if $(PROGRAMS),install -m 755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin)
	install -d $(DESTDIR)$(PREFIX)/lib/awq $(DESTDIR)$(PREFIX)/lib/pkgconfig
	install -m 644 $(LIB) $(DESTDIR)$(PREFIX)/lib
	$(if $(OWN_LIBS),install -m 644 $(OWN_LIBS) $(DESTDIR)$(PREFIX)/lib/awq)
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|; s|@LIBS@|$(patsubst $(DEPS_DIR)/lib/%,$${libdir}/awq/%,$(DEPS_LIBS)) -lm|' \
	    deploy/awq.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/awq.pc
	chmod 644 $(DESTDIR)$(PREFIX)/lib/pkgconfig/awq.pc
	$(if $(wildcard common/awq.h),install -m 644 common/awq.h $(DESTDIR)$(PREFIX)/include)
	install -d $(DESTDIR)$(PREFIX)/share/awq/providers
	install -m 644 common/scripts/enqueue.lua $(DESTDIR)$(PREFIX)/share/awq
	install -m 644 deploy/providers/README.md deploy/providers/*.yaml $(DESTDIR)$(PREFIX)/share/awq/providers
	install -d $(UNIT_DIR)
	sed 's|/usr/local/bin|$(PREFIX)/bin|' deploy/systemd/awq-worker@.service > $(UNIT_DIR)/awq-worker@.service
	chmod 644 $(UNIT_DIR)/awq-worker@.service

clean: ## remove build/ (what deps built stays in .deps/)
	rm -rf $(BUILD)
