# Every task of the project; `make help` lists them. New .c and .lua files are picked up without an edit here.
#
# Products go to $(BUILD). Our own flags live in FG_CFLAGS and friends; CFLAGS, CPPFLAGS and LDFLAGS belong to the
# user and are only ever appended (LuaRocks passes CFLAGS=... on the command line, which would destroy a +=).

BUILD   ?= build
CC      ?= cc
AR      ?= ar
LUA     ?= lua5.4
BUSTED  ?= busted
LIBFLAG ?= -shared
PREFIX  ?= /usr/local
JOBS    ?= $(or $(shell nproc 2>/dev/null),2)

# One short line per step; V=1 shows the commands.
Q   := $(if $(V),,@)
say  = $(if $(V),:,printf '  %-5s %s\n')

BINDIR      ?= $(PREFIX)/bin
LIBDIR      ?= $(PREFIX)/lib
INCLUDEDIR  ?= $(PREFIX)/include
SHAREDIR    ?= $(PREFIX)/share/forger
LUADIR      ?= $(PREFIX)/share/lua/5.4
INST_LIBDIR ?= $(PREFIX)/lib/lua/5.4

version_of = $(shell sed -n 's/^.define FG_VERSION_$(1)  *//p' include/forger.h)
MAJOR   := $(call version_of,MAJOR)
VERSION := $(MAJOR).$(call version_of,MINOR).$(call version_of,PATCH)

# ---- where Lua, libpng and zlib are: pkg-config, or what the caller says ---------------------------------------
pkg = $(shell pkg-config $(1) 2>/dev/null)
LUA_CFLAGS := $(or $(LUA_INCDIR:%=-I%),$(call pkg,--cflags lua5.4),-I/usr/include/lua5.4)
LUA_LIBS   ?= $(or $(call pkg,--libs lua5.4),-llua5.4)
EXT_CFLAGS := $(or $(foreach d,$(PNG_INCDIR) $(ZLIB_INCDIR),-I$(d)),$(call pkg,--cflags libpng zlib))
EXT_LIBS   := $(foreach d,$(PNG_LIBDIR) $(ZLIB_LIBDIR),-L$(d)) -lpng -lz -lm -lpthread
CHECK_LIBS  = $(or $(call pkg,--libs check),-lcheck)

# ---- flags ---------------------------------------------------------------------------------------------------------
ROOMS     := base kernels tensor autograd ops layers optim io
FG_WARN   := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes $(if $(WERROR),-Werror)
FG_CFLAGS := -std=gnu11 -O2 -ffp-contract=off -fPIC -fvisibility=hidden -pthread $(FG_WARN) \
             -Iinclude $(addprefix -Isrc/,$(ROOMS)) $(EXT_CFLAGS)
ALL_CFLAGS  = $(FG_CFLAGS) $(SAN) $(CPPFLAGS) $(CFLAGS)
ALL_LDFLAGS = -Wl,--as-needed $(SAN) $(LDFLAGS)

# A file's suffix chooses its instruction set; the dispatch table calls it only where CPU and OS support it.
ISA_AVX2       := -mavx2 -mfma -mf16c
ISA_AVX512     := $(ISA_AVX2) -mavx512f -mavx512bw -mavx512vl -mavx512dq
ISA_AVX512BF16 := $(ISA_AVX512) -mavx512bf16
ISA_AMX        := $(ISA_AVX512BF16) -mamx-tile -mamx-bf16
isa_flags = $(if $(filter src/kernels/%,$(1)),-O3) $(if $(filter %_avx2.c,$(1)),$(ISA_AVX2)) \
            $(if $(filter %_avx512.c,$(1)),$(ISA_AVX512)) $(if $(filter %_avx512bf16.c,$(1)),$(ISA_AVX512BF16)) \
            $(if $(filter %_amx.c,$(1)),$(ISA_AMX))

# ---- sources and products ------------------------------------------------------------------------------------------
X86_FILES  := $(foreach s,avx2 avx512 avx512bf16 amx,$(wildcard src/*/*_$(s).c))
NEON_FILES := $(wildcard src/*/*_neon.c)
MACHINE    := $(shell $(CC) -dumpmachine 2>/dev/null)
CORE_SRC   := $(filter-out $(if $(filter x86_64%,$(MACHINE)),,$(X86_FILES)) \
              $(if $(filter aarch64%,$(MACHINE)),,$(NEON_FILES)),$(wildcard $(ROOMS:%=src/%/*.c)))
DOUBLE_SRC := $(filter-out $(X86_FILES) $(NEON_FILES),$(CORE_SRC))
# src/binding/embed*.c serves hosts that link Forger in; it is no part of the loadable module.
EMBED_SRC  := $(wildcard src/binding/embed*.c)
BIND_SRC   := $(filter-out $(EMBED_SRC),$(wildcard src/binding/*.c))
LUA_SRC    := $(shell find lua -name '*.lua' 2>/dev/null | LC_ALL=C sort)

CORE_OBJ   := $(CORE_SRC:%.c=$(BUILD)/obj/%.o)
DOUBLE_OBJ := $(DOUBLE_SRC:%.c=$(BUILD)/double/%.o)
BIND_OBJ   := $(BIND_SRC:%.c=$(BUILD)/obj/%.o)
EMBED_OBJ  := $(EMBED_SRC:%.c=$(BUILD)/obj/%.o) $(BUILD)/obj/forger_lua_files.o

LIB_A    := $(BUILD)/libforger.a
LIB_SO   := $(BUILD)/libforger.so
LIB_LUA  := $(BUILD)/libforger_lua.a
LIB_DBL  := $(BUILD)/double/libforger_double.a
MODULE   := $(BUILD)/lua/forger/core.so

# A C test is a program of its own. test_grad*.c and tests marked `build: double` use the double-precision core,
# tests marked `build: both` use both; a test that includes forger_lua.h or lua.h links Lua and the binding.
TEST_SRC    := $(wildcard tests/c/test_*.c)
marked       = $(if $(TEST_SRC),$(shell grep -l -- '$(1)' $(TEST_SRC)))
TEST_BOTH   := $(call marked,build: both)
TEST_DBLSRC := $(sort $(wildcard tests/c/test_grad*.c) $(call marked,build: double) $(TEST_BOTH))
TEST_FLTSRC := $(sort $(filter-out $(TEST_DBLSRC),$(TEST_SRC)) $(TEST_BOTH))
TEST_LUASRC := $(call marked,include.*lua\.h)
TEST_HELP   := $(filter-out $(TEST_SRC),$(wildcard tests/c/*.c))
TEST_FLT    := $(TEST_FLTSRC:%.c=$(BUILD)/%)
TEST_DBL    := $(TEST_DBLSRC:%.c=$(BUILD)/double/%)
TEST_BIN    := $(TEST_FLT) $(TEST_DBL)
BENCH_BIN   := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/bench_*.c))
EXAMPLE_BIN := $(patsubst %.c,$(BUILD)/%,$(wildcard examples/*.c))

ENV_PATH  := $(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;
ENV_CPATH := $(abspath $(BUILD))/lua/?.so;;
LUA_ENV    = LUA_PATH='$(ENV_PATH)' LUA_CPATH='$(ENV_CPATH)' LUA_PATH_5_4= LUA_CPATH_5_4=
WITH_ENV   = unset LUA_PATH_5_4 LUA_CPATH_5_4; export LUA_PATH='$(ENV_PATH)' LUA_CPATH='$(ENV_CPATH)';

.PHONY: all lib lua help demo check check-run bench bench-peers asan tsan fuzz fuzz-run lint fmt docs env deps examples \
        install install-lua install-c uninstall dist clean FORCE
.DELETE_ON_ERROR:
.SECONDARY:

all: lib lua                ## build the libraries and the Lua module
lib: $(LIB_A) $(LIB_SO) $(BUILD)/forger.pc
lua: $(LIB_LUA) $(MODULE)
examples: $(EXAMPLE_BIN)    ## build the C examples

help:                       ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1@\2/p' Makefile | awk -F@ '{ printf "%-18s %s\n", $$1, $$2 }'
	@echo "Variables: BUILD CC CFLAGS LDFLAGS WERROR=1 LUA LUA_INCDIR PREFIX DESTDIR JOBS"

# ---- libraries -----------------------------------------------------------------------------------------------------
# Objects depend on the flags they were built with; `make install` alone never rebuilds for other flags.
$(BUILD)/flags: $(if $(filter install%,$(MAKECMDGOALS)),,FORCE)
	@mkdir -p $(@D)
	@echo '$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS)' | cmp -s - $@ || \
	    { $(call find_headers,$(EXT_CFLAGS),png.h zlib.h) && echo '$(CC) $(ALL_CFLAGS) $(LUA_CFLAGS)' > $@; }
$(BUILD)/lua-headers: $(BUILD)/flags
	@$(call find_headers,$(LUA_CFLAGS),lua.h lauxlib.h) && touch $@

find_headers = sh tests/support/find-headers.sh '$(CC) $(1) $(CPPFLAGS) $(CFLAGS)' $(2)

$(BUILD)/obj/src/binding/%.o: src/binding/%.c $(BUILD)/flags $(BUILD)/lua-headers
	@mkdir -p $(@D)
	@$(say) CC $@
	$(Q)$(CC) $(FG_CFLAGS) -Isrc/binding $(LUA_CFLAGS) $(SAN) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	@$(say) CC $@
	$(Q)$(CC) $(FG_CFLAGS) $(call isa_flags,$<) $(SAN) $(if $(filter $(X86_FILES),$<),$(ISA_SAN)) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/double/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	@$(say) CC $@
	$(Q)$(CC) $(FG_CFLAGS) -DFG_DOUBLE $(SAN) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# The Lua files as C arrays: struct fg_lua_file { module, path, bytes, size } fg_lua_files[], ended by a NULL module.
$(BUILD)/forger_lua_files.c: tests/support/embed-lua.sh $(LUA_SRC)
	@mkdir -p $(@D)
	$(Q)sh tests/support/embed-lua.sh $(LUA_SRC) > $@

$(BUILD)/obj/forger_lua_files.o: $(BUILD)/forger_lua_files.c $(BUILD)/flags
	@mkdir -p $(@D)
	@$(say) CC $@
	$(Q)$(CC) $(ALL_CFLAGS) -Isrc/binding -MMD -MP -c -o $@ $<

$(LIB_A): $(CORE_OBJ)
$(LIB_DBL): $(DOUBLE_OBJ)
$(LIB_LUA): $(BIND_OBJ) $(EMBED_OBJ)
$(LIB_A) $(LIB_DBL) $(LIB_LUA):
	@mkdir -p $(@D)
	@rm -f $@
	@$(say) AR $@
	$(Q)$(AR) rcs $@ $^

$(LIB_SO): $(CORE_OBJ)
	@$(say) LINK $@
	$(Q)$(CC) -shared -Wl,-soname,libforger.so.$(MAJOR) -Wl,-z,nodelete $(ALL_LDFLAGS) -o $@.$(VERSION) $^ $(EXT_LIBS)
	$(Q)ln -sf libforger.so.$(VERSION) $@.$(MAJOR)
	$(Q)ln -sf libforger.so.$(VERSION) $@

# The module keeps the core's symbols to itself, so that a host's own libforger never answers for them.
$(MODULE): $(BIND_OBJ) $(LIB_A)
	@mkdir -p $(@D)
	@$(say) LINK $@
	$(Q)$(CC) $(LIBFLAG) -Wl,-z,nodelete -Wl,--exclude-libs,ALL $(ALL_LDFLAGS) -o $@ $(BIND_OBJ) $(LIB_A) $(EXT_LIBS)

pc_file = sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' forger.pc.in
$(BUILD)/forger.pc: forger.pc.in include/forger.h Makefile
	@mkdir -p $(@D)
	$(Q)$(pc_file) > $@

# ---- test, benchmark and example programs ---------------------------------------------------------------------------
PROG_CFLAGS = $(FG_CFLAGS) $(SAN) -Itests/c -Isrc/binding $(LUA_CFLAGS) $(CPPFLAGS) $(CFLAGS) -MMD -MP -MF $@.d -MT $@
prog_libs   = $(if $(filter $(1),$(TEST_LUASRC) $(wildcard examples/*.c)),$(LIB_LUA)) $(LIB_A) \
              $(if $(filter $(1),$(TEST_LUASRC) $(wildcard examples/*.c)),-rdynamic $(LUA_LIBS)) $(EXT_LIBS)

$(TEST_LUASRC:%.c=$(BUILD)/%) $(EXAMPLE_BIN): $(LIB_LUA)
$(TEST_FLT): $(BUILD)/tests/c/%: tests/c/%.c $(TEST_HELP) $(LIB_A)
	@mkdir -p $(@D)
	@$(say) LINK $@
	$(Q)$(CC) $(PROG_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(TEST_HELP) $(call prog_libs,$<) $(CHECK_LIBS)

$(TEST_DBL): $(BUILD)/double/tests/c/%: tests/c/%.c $(TEST_HELP) $(LIB_DBL)
	@mkdir -p $(@D)
	@$(say) LINK $@
	$(Q)$(CC) $(PROG_CFLAGS) -DFG_DOUBLE $(ALL_LDFLAGS) -o $@ $< $(TEST_HELP) $(LIB_DBL) $(EXT_LIBS) $(CHECK_LIBS)

$(BENCH_BIN) $(EXAMPLE_BIN): $(BUILD)/%: %.c $(LIB_A)
	@mkdir -p $(@D)
	@$(say) LINK $@
	$(Q)$(CC) $(PROG_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(call prog_libs,$<)

# ---- tasks ---------------------------------------------------------------------------------------------------------
deps:
	@sh tests/support/install-deps.sh build

demo: deps                  ## train a DCGAN on MNIST; pictures go to runs/dcgan_mnist
	@$(MAKE) --no-print-directory -j$(JOBS) all
	$(WITH_ENV) $(LUA) examples/dcgan_mnist.lua --out runs/dcgan_mnist

check:                      ## build and run all tests, C then Lua
	@sh tests/support/install-deps.sh build check
	@$(MAKE) --no-print-directory -j$(JOBS) check-bin
	@$(MAKE) --no-print-directory check-run

check-bin: all $(TEST_BIN) $(EXAMPLE_BIN)
check-run:
	@$(WITH_ENV) FORGER_BUILD='$(BUILD)' BUSTED='$(BUSTED)' LUA='$(or $(TEST_LUA),$(LUA))' \
	    sh tests/support/run-tests.sh $(TEST_BIN)

asan:                       ## all tests under AddressSanitizer and UBSan, then the thread team under TSan
	@sh tests/support/install-deps.sh build check
	@$(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)/asan SAN='$(ASAN)' check-bin
	@sh tests/support/preload-lua.sh $(BUILD)/asan/lua-asan '$(LUA)' "$$($(CC) -print-file-name=libasan.so)"
	@CK_FORK=no ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:$(ASAN_OPTIONS) LSAN_OPTIONS=use_poisoned=1:$(LSAN_OPTIONS) UBSAN_OPTIONS=print_stacktrace=1 \
	    $(MAKE) --no-print-directory BUILD=$(BUILD)/asan SAN='$(ASAN)' TEST_LUA='$(abspath $(BUILD)/asan/lua-asan)' check-run
	@$(MAKE) --no-print-directory tsan
ASAN = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g

tsan:                       ## the thread team's tests under ThreadSanitizer
	@$(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)/tsan SAN='-fsanitize=thread -O1 -g' tsan-run
tsan-run: $(filter %/test_team,$(TEST_FLT))
	@set -e; for t in $^; do CK_FORK=no TSAN_OPTIONS=halt_on_error=1 $$t; done

bench: all $(BENCH_BIN)     ## build and run the benchmarks
	@set -e; for b in $(BENCH_BIN); do echo "== $$b"; $$b; done
	@$(WITH_ENV) set -e; for b in $(wildcard tests/bench/bench_*.lua); do echo "== $$b"; $(LUA) $$b; done

PEER_OPTIONS = $(foreach v,WORKS PRECISIONS PEERS SKIP ROUNDS SECONDS THREADS SAVE,$(if $($(v)),$(v)='$($(v))'))
bench-peers: lua            ## time the same steps in PyTorch, Keras, JAX (installs 8 GB once; see docs/benchmarks.md)
	@$(WITH_ENV) $(LUA) tests/bench/compare.lua BUILD='$(BUILD)' $(PEER_OPTIONS)

fuzz:                       ## fuzz the file readers with libFuzzer (clang), FUZZ_SECONDS (60) each
	@$(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)/fuzz CC=clang SAN='-fsanitize=fuzzer-no-link,address,undefined -O1 -g' \
	    ISA_SAN=-fno-sanitize=all fuzz-run
fuzz-run: $(LIB_A)
	@set -e; for f in json safetensors idx png; do \
	    $(CC) $(PROG_CFLAGS) -fsanitize=fuzzer -o $(BUILD)/fuzz_$$f tests/fuzz/fuzz_$$f.c $(LIB_A) $(EXT_LIBS); \
	    mkdir -p $(BUILD)/corpus_$$f; echo "== fuzz_$$f"; \
	    $(BUILD)/fuzz_$$f -max_total_time=$(or $(FUZZ_SECONDS),60) -print_final_stats=1 -artifact_prefix=$(BUILD)/ $(BUILD)/corpus_$$f \
	        $$(test $$f = json && echo tests/fuzz/seeds/json || echo tests/vectors/io) 2>&1 | tail -n 8; done

lint:                       ## house rules, formatting, Lua globals, warnings of gcc and clang
	@sh tests/support/install-deps.sh build check lint
	@sh tests/support/lint.sh
	@sh tests/support/lint-selftest.sh
	@$(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)/lint-gcc CC=gcc WERROR=1 check-bin bench-bin >/dev/null
	@$(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)/lint-clang CC=clang WERROR=1 check-bin bench-bin >/dev/null
	@echo "lint: no warnings with gcc and clang"
bench-bin: $(BENCH_BIN)

docs: lua                   ## write docs/reference anew from the sources
	@$(WITH_ENV) $(LUA) tests/support/make_reference.lua

C_FILES = $(wildcard src/*/*.[ch] include/*.h tests/c/*.[ch] tests/bench/*.[ch] examples/*.c)
fmt:                        ## format the C files in place
	clang-format -i $(C_FILES)

env:                        ## print the exports that let lua5.4 find this tree's build
	@echo "export LUA_PATH='$(ENV_PATH)'; export LUA_CPATH='$(ENV_CPATH)'; unset LUA_PATH_5_4 LUA_CPATH_5_4"

# ---- install ---------------------------------------------------------------------------------------------------------
D = $(DESTDIR)
install: install-c install-lua  ## install under PREFIX (honours DESTDIR)
	mkdir -p $(D)$(SHAREDIR)
	cp -R examples $(D)$(SHAREDIR)/

install-c: lib $(LIB_LUA)
	mkdir -p $(D)$(LIBDIR)/pkgconfig $(D)$(INCLUDEDIR)
	cp -P $(LIB_A) $(LIB_LUA) $(LIB_SO)* $(D)$(LIBDIR)/
	$(pc_file) > $(D)$(LIBDIR)/pkgconfig/forger.pc
	cp $(wildcard include/*.h) $(D)$(INCLUDEDIR)/

install-lua: $(MODULE)      # what LuaRocks installs
	mkdir -p $(D)$(BINDIR) $(D)$(LUADIR) $(D)$(INST_LIBDIR)/forger
	cp -R lua/forger $(D)$(LUADIR)/
	cp $(MODULE) $(D)$(INST_LIBDIR)/forger/
	cp bin/forger $(D)$(BINDIR)/ && chmod 755 $(D)$(BINDIR)/forger

uninstall:                  ## remove what install put under PREFIX
	rm -f $(D)$(LIBDIR)/libforger.a $(D)$(LIBDIR)/libforger_lua.a $(D)$(LIBDIR)/libforger.so*
	rm -f $(D)$(LIBDIR)/pkgconfig/forger.pc $(D)$(INCLUDEDIR)/forger.h $(D)$(INCLUDEDIR)/forger_lua.h $(D)$(BINDIR)/forger
	rm -rf $(D)$(LUADIR)/forger $(D)$(INST_LIBDIR)/forger $(D)$(SHAREDIR)

dist:                       ## a source tarball of the last commit
	@mkdir -p $(BUILD)
	git archive --prefix=forger-$(VERSION)/ -o $(BUILD)/forger-$(VERSION).tar.gz HEAD
	@echo $(BUILD)/forger-$(VERSION).tar.gz

clean:                      ## remove everything that was built
	rm -rf $(BUILD)

-include $(CORE_OBJ:.o=.d) $(DOUBLE_OBJ:.o=.d) $(BIND_OBJ:.o=.d) $(EMBED_OBJ:.o=.d) $(addsuffix .d,$(TEST_BIN) $(BENCH_BIN) $(EXAMPLE_BIN))
