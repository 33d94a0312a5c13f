// Listeners that share a port: what is under way at one that closes goes over to another.
#include "environment.h"

#include <bpf/bpf.h>

#include <mutex>
#include <sys/socket.h>

/*
 * Without a program of this kind the kernel answers the last packet of a handshake whose listener
 * has closed with a reset (unless the sysctl tcp_migrate_req is set). The program chooses nothing:
 * the kernel's own choice, by hash, stays.
 */
static int load_migration()
{
	const struct bpf_insn program[] = {
	    {.code = BPF_ALU64 | BPF_MOV | BPF_K,
	     .dst_reg = BPF_REG_0,
	     .src_reg = 0,
	     .off = 0,
	     .imm = SK_PASS},
	    {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options,
		    .expected_attach_type = BPF_SK_REUSEPORT_SELECT_OR_MIGRATE);
	return bpf_prog_load(BPF_PROG_TYPE_SK_REUSEPORT, "kmesh_migrate", "GPL", program,
			     sizeof(program) / sizeof(program[0]), &options);
}

// One program serves all listeners of the process; it is never closed.
static int migration()
{
	static std::mutex mutex;
	static int program = -1;

	std::lock_guard<std::mutex> lock(mutex);
	if (program < 0)
		program = load_migration();
	return program;
}

static Napi::Value reuseport_migrate(const Napi::CallbackInfo &info)
{
	int program = migration();
	if (program < 0)
		return number(info, program);
	return result_of(info, setsockopt(int_at(info, 0), SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF,
					  &program, sizeof(program)));
}

void register_reuseport(Napi::Env env, Napi::Object exports)
{
	define<reuseport_migrate>(env, exports, "reuseportMigrate");
}
