# Rules that both addons share; included by packages/linux/native/Makefile and packages/tunnel/native/Makefile, which set
# NAME (of the addon), HERE (the package), LIBS and COSTLY (headers that take longer to read than most of our files to
# compile). Run from the root of the workspace by scripts/build-addon.sh.

BUILD ?= build
MODULES ?= node_modules
LIBBPF := packages/linux/vendor/libbpf
# Node.js's own headers, with those of libuv and OpenSSL as they are inside it: beside the node binary of the npm package.
NODE_HEADERS := $(firstword $(wildcard $(MODULES)/node/node_modules/node-*/include/node $(MODULES)/node-*/include/node))

CC ?= gcc
CXX ?= g++

# SANITIZE=1 (scripts/test-sanitize.sh, with a BUILD of its own) checks memory and undefined behaviour at run time.
ifdef SANITIZE
HARDEN := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=undefined -Wno-maybe-uninitialized
else
HARDEN := -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection
endif

LIBBPF_CFLAGS := -O2 -fstack-protector-strong -fPIC -fvisibility=hidden -std=gnu89 -D_LARGEFILE64_SOURCE -D_FILE_OFFSET_BITS=64 \
	-I$(LIBBPF)/src -I$(LIBBPF)/include -I$(LIBBPF)/include/uapi -w
COMMON := $(HARDEN) -fPIC -fvisibility=hidden -Wall -Wextra -Werror -isystem $(BUILD)/libbpf/include \
	-isystem $(LIBBPF)/include/uapi -isystem $(NODE_HEADERS)
CXXFLAGS := -std=c++20 -fno-exceptions -fno-rtti -fvisibility-inlines-hidden -isystem $(MODULES)/node-addon-api \
	-DNAPI_VERSION=8 -DNAPI_DISABLE_CPP_EXCEPTIONS -DNODE_ADDON_API_DISABLE_DEPRECATED \
	-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS $(EXTRA_CXXFLAGS)

LIBBPF_SOURCES := $(wildcard $(LIBBPF)/src/*.c)
LIBBPF_OBJECTS := $(LIBBPF_SOURCES:$(LIBBPF)/src/%.c=$(BUILD)/libbpf/%.o)
PUBLIC_HEADERS := $(LIBBPF)/src/libbpf.h $(LIBBPF)/src/bpf.h $(LIBBPF)/src/btf.h \
	$(LIBBPF)/src/libbpf_common.h $(LIBBPF)/src/libbpf_legacy.h $(LIBBPF)/src/libbpf_version.h
SOURCES := $(wildcard $(HERE)/native/*.cc)
OBJECTS := $(SOURCES:$(HERE)/native/%.cc=$(BUILD)/addon-$(NAME)/%.o)
EXPORTS := scripts/addon-exports.map
# What is compiled and how: a removed file or a changed flag rebuilds the addon too.
INPUTS := $(BUILD)/addon-$(NAME)/inputs
# The costly headers, compiled once; a file still names those that it needs.
PREFIX := $(BUILD)/addon-$(NAME)/costly.h

$(BUILD)/kmesh-$(NAME).node: $(OBJECTS) $(BUILD)/libbpf/libbpf.a $(INPUTS) $(EXPORTS)
	$(CXX) -shared $(HARDEN) -o $@.part $(OBJECTS) $(BUILD)/libbpf/libbpf.a $(LIBS) -pthread \
		-Wl,--exclude-libs,ALL -Wl,--version-script=$(EXPORTS) -Wl,-z,now,-z,relro,-z,noexecstack
	mv $@.part $@

$(BUILD)/libbpf/libbpf.a: $(LIBBPF_OBJECTS)
	rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/libbpf/%.o: $(LIBBPF)/src/%.c scripts/addon.mk
	@mkdir -p $(@D)
	$(CC) $(LIBBPF_CFLAGS) -c -o $@ $<

$(BUILD)/libbpf/include/bpf/libbpf.h: $(PUBLIC_HEADERS)
	@mkdir -p $(@D)
	cp $(PUBLIC_HEADERS) $(@D)/
	touch $@

$(BUILD)/addon-$(NAME)/%.o: $(HERE)/native/%.cc $(INPUTS) $(PREFIX).gch $(BUILD)/libbpf/include/bpf/libbpf.h
	$(CXX) $(COMMON) $(CXXFLAGS) -Winvalid-pch -include $(PREFIX) -MMD -MP -c -o $@ $<

$(PREFIX).gch: $(INPUTS)
	printf '#include <%s>\n' $(COSTLY) > $(PREFIX)
	$(CXX) $(COMMON) $(CXXFLAGS) -x c++-header -o $@ $(PREFIX)

$(INPUTS): force
	@mkdir -p $(@D)
	@echo '$(COMMON) $(CXXFLAGS) $(COSTLY) $(SOURCES)' | cmp -s - $@ || echo '$(COMMON) $(CXXFLAGS) $(COSTLY) $(SOURCES)' > $@

.PHONY: force
force:

-include $(OBJECTS:.o=.d)
