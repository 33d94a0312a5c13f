// A seccomp filter for every thread of the process and the programs that it starts: system calls
// that a node proxy never makes, and that could take over a machine, fail with EPERM.
#include "environment.h"

#include <cerrno>
#include <cstddef>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

#if defined(__x86_64__)
static constexpr uint32_t kMachine = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
static constexpr uint32_t kMachine = AUDIT_ARCH_AARCH64;
#else
#error "no seccomp architecture for this machine"
#endif

// x32 calls have this bit on x86-64.
static constexpr uint32_t kForeignBit = 0x40000000;

static constexpr uint32_t kDenied[] = {
    // Other processes.
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    // Kernel images, kernel modules, reboot.
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_reboot,
    // File systems.
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_move_mount,
    SYS_open_tree,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_swapon,
    SYS_swapoff,
    SYS_quotactl,
    SYS_acct,
    // Bypasses paths and permissions of files.
    SYS_open_by_handle_at,
    // The clock.
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    // Keyrings; user-space page faults, a common aid in kernel exploits.
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_userfaultfd,
#if defined(__x86_64__)
    // I/O ports.
    SYS_iopl,
    SYS_ioperm,
#endif
};

static constexpr size_t kDeniedCount = sizeof(kDenied) / sizeof(kDenied[0]);
// A jump spans 255 instructions.
static_assert(kDeniedCount < 250);

static std::vector<sock_filter> filter_of_denied()
{
	const uint32_t refuse = SECCOMP_RET_ERRNO | EPERM;
	std::vector<sock_filter> code = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kMachine, 1, 0),
	    BPF_STMT(BPF_RET | BPF_K, refuse),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kForeignBit, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, refuse),
	};
	for (size_t index = 0; index < kDeniedCount; index++) {
		auto to_refuse = static_cast<uint8_t>(kDeniedCount - index);
		code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kDenied[index], to_refuse, 0));
	}
	code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
	code.push_back(BPF_STMT(BPF_RET | BPF_K, refuse));
	return code;
}

// Returns 0 or a negated errno; requires no_new_privs in every thread.
static Napi::Value deny_system_calls(const Napi::CallbackInfo &info)
{
	std::vector<sock_filter> code = filter_of_denied();
	sock_fprog program = {static_cast<unsigned short>(code.size()), code.data()};
	// Without SPEC_ALLOW, kernels before 5.16 slow down every thread.
	const unsigned flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	// Positive: the id of a thread that cannot take the filter because it has a different one.
	if (result > 0)
		return number(info, -EBUSY);
	return number(info, result < 0 ? -errno : 0);
}

void register_system_calls(Napi::Env env, Napi::Object exports)
{
	define<deny_system_calls>(env, exports, "denySystemCalls");
}
