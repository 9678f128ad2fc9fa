#include "profile.hpp"

#include <csignal>
#include <link.h>
#include <sys/time.h>
#include <ucontext.h>

#include <vector>

namespace tailrace {
namespace {

// One a process, as there is one timer.
std::vector<uint32_t> counts;
uint64_t base = 0, outside = 0;

#if defined(__x86_64__)
uint64_t counter_of(const ucontext_t &context) {
    return static_cast<uint64_t>(context.uc_mcontext.gregs[REG_RIP]);
}
constexpr bool possible = true;
#elif defined(__aarch64__)
uint64_t counter_of(const ucontext_t &context) { return context.uc_mcontext.pc; }
constexpr bool possible = true;
#else
uint64_t counter_of(const ucontext_t &) { return 0; }
constexpr bool possible = false;
#endif

void sampled(int, siginfo_t *, void *context) {
    const uint64_t counter = counter_of(*static_cast<const ucontext_t *>(context));
    const uint64_t place = (counter - base) / sample_bytes;
    if (counter >= base && place < counts.size()) {
        ++counts[place];
    } else {
        ++outside;
    }
}

// Finds the library among what the process has loaded, by an address in it.
int find_library(dl_phdr_info *info, size_t, void *) {
    const auto here = reinterpret_cast<uint64_t>(&sampled);
    for (int index = 0; index < info->dlpi_phnum; ++index) {
        const auto &part = info->dlpi_phdr[index];
        const uint64_t end = part.p_vaddr + part.p_memsz;
        if (part.p_type == PT_LOAD && here >= info->dlpi_addr + part.p_vaddr &&
            here < info->dlpi_addr + end) {
            base = info->dlpi_addr;
            counts.assign(end / sample_bytes + 1, 0);
            return 1;
        }
    }
    return 0;
}

}  // namespace

bool profile(uint32_t hz) {
    if (!possible) {
        return false;
    }
    itimerval timer = {};
    if (hz == 0) {
        return setitimer(ITIMER_PROF, &timer, nullptr) == 0;
    }
    outside = 0;
    if (dl_iterate_phdr(find_library, nullptr) == 0) {
        return false;
    }
    struct sigaction action = {};
    action.sa_sigaction = sampled;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    const long step = 1000000 / hz;
    timer.it_interval = {step / 1000000, step % 1000000};
    timer.it_value = timer.it_interval;
    return sigaction(SIGPROF, &action, nullptr) == 0 &&
           setitimer(ITIMER_PROF, &timer, nullptr) == 0;
}

uint32_t samples(const uint32_t **found, uint64_t *elsewhere) {
    *found = counts.data();
    *elsewhere = outside;
    return static_cast<uint32_t>(counts.size());
}

}  // namespace tailrace
