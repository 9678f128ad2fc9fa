// Where the time goes: the program counter, sampled by a timer of CPU time.

#pragma once

#include <cstdint>

namespace tailrace {

// Samples count for so many bytes of code.
constexpr uint64_t sample_bytes = 16;

// `hz` samples a second, 0: no more. False if this machine cannot.
bool profile(uint32_t hz);

// Samples by address in the library / sample_bytes, and those outside of it.
uint32_t samples(const uint32_t **counts, uint64_t *elsewhere);

}  // namespace tailrace
