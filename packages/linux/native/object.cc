// BPF objects: open from bytes, edit, load on a worker thread.
#include "environment.h"
#include "libbpf_log.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <string_view>
#include <unistd.h>
#include <vector>

struct Object {
	// Owned; null once closed.
	struct bpf_object *object;
	bool loading = false;

	~Object()
	{
		if (object != nullptr)
			bpf_object__close(object);
	}
};

static Object &object_at(const Napi::CallbackInfo &info)
{
	Object *object = info[0].As<Napi::External<Object>>().Data();

	if (object->object == nullptr || object->loading)
		broken_contract("a BPF object is used while it loads or after it was closed");
	return *object;
}

static Napi::Value object_open(const Napi::CallbackInfo &info)
{
	Bytes bytes = bytes_at(info, 0);
	std::string name = string_at(info, 1);
	LibbpfLog log;

	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name.c_str());
	struct bpf_object *opened = bpf_object__open_mem(bytes.data, bytes.length, &options);
	if (opened == nullptr) {
		int error = errno;
		auto failure = Napi::Object::New(info.Env());
		failure.Set("errno", error);
		failure.Set("log", log.text);
		return failure;
	}
	return Napi::External<Object>::New(info.Env(), new Object{opened},
					   [](Napi::Env, Object *object) { delete object; });
}

static Napi::Object program_entry(Napi::Env env, const struct bpf_program *program)
{
	auto entry = Napi::Object::New(env);

	entry.Set("name", bpf_program__name(program));
	entry.Set("section", bpf_program__section_name(program));
	entry.Set("type", static_cast<int>(bpf_program__type(program)));
	entry.Set("attachType", static_cast<int>(bpf_program__expected_attach_type(program)));
	entry.Set("fd", -1);
	return entry;
}

static Napi::Value object_programs(const Napi::CallbackInfo &info)
{
	auto list = Napi::Array::New(info.Env());
	struct bpf_program *program;
	uint32_t index = 0;

	bpf_object__for_each_program(program, object_at(info).object)
	    list.Set(index++, program_entry(info.Env(), program));
	return list;
}

static Napi::Value object_map_names(const Napi::CallbackInfo &info)
{
	auto list = Napi::Array::New(info.Env());
	struct bpf_map *map;
	uint32_t index = 0;

	bpf_object__for_each_map(map, object_at(info).object) list.Set(index++, bpf_map__name(map));
	return list;
}

struct Symbol {
	uint8_t *memory;
	size_t size;
};

// Finds a global in .rodata, .data or .bss through the object's BTF.
static Symbol find_symbol(struct bpf_object *object, const std::string &wanted)
{
	const struct btf *btf = bpf_object__btf(object);
	struct bpf_map *map;

	if (btf == nullptr)
		return {nullptr, 0};
	bpf_object__for_each_map(map, object)
	{
		size_t length = 0;
		auto *memory = static_cast<uint8_t *>(bpf_map__initial_value(map, &length));
		// The value type of a map of globals is its section; the map's name is truncated.
		const struct btf_type *data = btf__type_by_id(btf, bpf_map__btf_value_type_id(map));
		if (memory == nullptr || data == nullptr || !btf_is_datasec(data))
			continue;
		const struct btf_var_secinfo *variable = btf_var_secinfos(data);
		for (int i = 0; i < btf_vlen(data); i++, variable++) {
			const struct btf_type *type = btf__type_by_id(btf, variable->type);
			if (wanted != btf__name_by_offset(btf, type->name_off))
				continue;
			if (variable->offset + variable->size > length)
				return {nullptr, 0};
			return {memory + variable->offset, variable->size};
		}
	}
	return {nullptr, 0};
}

static Napi::Value object_constant_size(const Napi::CallbackInfo &info)
{
	Symbol symbol = find_symbol(object_at(info).object, string_at(info, 1));

	return number(info, symbol.memory == nullptr ? -ENOENT : static_cast<int64_t>(symbol.size));
}

static Napi::Value object_set_constant(const Napi::CallbackInfo &info)
{
	Symbol symbol = find_symbol(object_at(info).object, string_at(info, 1));
	Bytes bytes = bytes_at(info, 2);

	if (symbol.memory == nullptr || symbol.size != bytes.length)
		return number(info, -EINVAL);
	memcpy(symbol.memory, bytes.data, bytes.length);
	return number(info, 0);
}

static Napi::Value object_set_max_entries(const Napi::CallbackInfo &info)
{
	auto *map =
	    bpf_object__find_map_by_name(object_at(info).object, string_at(info, 1).c_str());

	return number(info,
		      map == nullptr ? -ENOENT : bpf_map__set_max_entries(map, uint_at(info, 2)));
}

static Napi::Value object_map_definition(const Napi::CallbackInfo &info)
{
	auto *map =
	    bpf_object__find_map_by_name(object_at(info).object, string_at(info, 1).c_str());

	if (map == nullptr)
		return number(info, -ENOENT);
	auto definition = Napi::Object::New(info.Env());
	definition.Set("type", static_cast<int>(bpf_map__type(map)));
	definition.Set("keySize", bpf_map__key_size(map));
	definition.Set("valueSize", bpf_map__value_size(map));
	definition.Set("maxEntries", bpf_map__max_entries(map));
	definition.Set("flags", bpf_map__map_flags(map));
	return definition;
}

static Napi::Value object_reuse_map(const Napi::CallbackInfo &info)
{
	auto *map =
	    bpf_object__find_map_by_name(object_at(info).object, string_at(info, 1).c_str());

	return number(info, map == nullptr ? -ENOENT : bpf_map__reuse_fd(map, int_at(info, 2)));
}

static Napi::Value object_set_autoload(const Napi::CallbackInfo &info)
{
	auto *program =
	    bpf_object__find_program_by_name(object_at(info).object, string_at(info, 1).c_str());

	if (program == nullptr)
		return number(info, -ENOENT);
	return number(info,
		      bpf_program__set_autoload(program, info[2].As<Napi::Boolean>().Value()));
}

static Napi::Value object_close(const Napi::CallbackInfo &info)
{
	Object &object = object_at(info);

	bpf_object__close(object.object);
	object.object = nullptr;
	return info.Env().Undefined();
}

// Returns the program that failed, from libbpf's log: the last one with a verifier log.
static std::string blamed_program(const std::string &log)
{
	static constexpr std::string_view marker = "prog '";
	size_t at = log.rfind("failed to load");
	size_t begin = log.rfind(marker, at == std::string::npos ? log.size() : at);

	if (begin == std::string::npos)
		return "";
	begin += marker.size();
	size_t end = log.find('\'', begin);
	return end == std::string::npos ? "" : log.substr(begin, end - begin);
}

class LoadWorker : public Napi::AsyncWorker
{
      public:
	LoadWorker(Napi::Env env, Napi::External<Object> handle, bool statistics)
	    : AsyncWorker(env, "kmesh:bpf-load"), deferred(Napi::Promise::Deferred::New(env)),
	      object_(handle.Data()), handle_(Napi::Persistent(handle)), statistics_(statistics)
	{
		object_->loading = true;
	}

	Napi::Promise::Deferred deferred;

	void Execute() override
	{
		LibbpfLog log;

		if (statistics_)
			ask_for_statistics();
		if (bpf_object__load(object_->object) != 0)
			error_ = errno;
		log_ = std::move(log.text);
		// libbpf prints only logs in buffers that it allocated itself.
		if (error_ != 0)
			for (const auto &[program, text] : verifier_)
				log_ += text.data();
	}

	void OnOK() override
	{
		Napi::Env env = Env();
		object_->loading = false;
		if (!can_run(env))
			return;
		auto result = Napi::Object::New(env);
		auto maps = Napi::Array::New(env);
		auto programs = Napi::Array::New(env);

		if (error_ == 0)
			collect(env, maps, programs);
		result.Set("errno", error_);
		result.Set("program", error_ == 0 ? "" : blamed_program(log_));
		result.Set("log", log_);
		result.Set("maps", maps);
		result.Set("programs", programs);
		deferred.Resolve(result);
	}

      private:
	// Requests only the verifier's statistics, which it also writes for an accepted program.
	void ask_for_statistics()
	{
		static constexpr uint32_t statistics_only = 4; /* BPF_LOG_STATS */
		struct bpf_program *program;

		bpf_object__for_each_program(program, object_->object)
		{
			auto &text = verifier_[bpf_program__name(program)];
			text.resize(1 << 16);
			bpf_program__set_log_level(program, statistics_only);
			bpf_program__set_log_buf(program, text.data(), text.size());
		}
	}

	// Descriptors of the result outlive the libbpf object, which is closed right after.
	void collect(Napi::Env env, Napi::Array maps, Napi::Array programs)
	{
		auto &owned = Environment::of(env).descriptors;
		struct bpf_program *program;
		struct bpf_map *map;
		uint32_t index = 0;

		bpf_object__for_each_map(map, object_->object)
		{
			int fd = fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 0);
			if (fd < 0)
				continue;
			owned.insert(fd);
			auto entry = Napi::Object::New(env);
			entry.Set("name", bpf_map__name(map));
			entry.Set("fd", fd);
			maps.Set(index++, entry);
		}
		index = 0;
		bpf_object__for_each_program(program, object_->object)
		{
			if (!bpf_program__autoload(program))
				continue;
			int fd = fcntl(bpf_program__fd(program), F_DUPFD_CLOEXEC, 0);
			if (fd < 0)
				continue;
			owned.insert(fd);
			auto entry = program_entry(env, program);
			entry.Set("fd", fd);
			if (statistics_)
				entry.Set("log", verifier_[bpf_program__name(program)].data());
			programs.Set(index++, entry);
		}
	}

	Object *object_;
	Napi::Reference<Napi::External<Object>> handle_;
	bool statistics_;
	int error_ = 0;
	std::string log_;
	// Log buffers by program; libbpf writes into them during the load.
	std::map<std::string, std::vector<char>> verifier_;
};

static Napi::Value object_load(const Napi::CallbackInfo &info)
{
	object_at(info);
	auto *worker = new LoadWorker(info.Env(), info[0].As<Napi::External<Object>>(),
				      info[1].As<Napi::Boolean>().Value());

	worker->Queue();
	return worker->deferred.Promise();
}

void register_object(Napi::Env env, Napi::Object exports)
{
	define<object_open>(env, exports, "objectOpen");
	define<object_programs>(env, exports, "objectPrograms");
	define<object_map_names>(env, exports, "objectMapNames");
	define<object_constant_size>(env, exports, "objectConstantSize");
	define<object_set_constant>(env, exports, "objectSetConstant");
	define<object_set_max_entries>(env, exports, "objectSetMaxEntries");
	define<object_map_definition>(env, exports, "objectMapDefinition");
	define<object_reuse_map>(env, exports, "objectReuseMap");
	define<object_set_autoload>(env, exports, "objectSetAutoload");
	define<object_load>(env, exports, "objectLoad");
	define<object_close>(env, exports, "objectClose");
}
