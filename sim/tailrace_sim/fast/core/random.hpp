// Random numbers that are the same on every machine.

#pragma once

#include <cstdint>

namespace tailrace {

// What a generator is for. Each purpose has its own, so that more choices in one place don't move
// those of another.
enum class Purpose : uint64_t {
    latency = 1,
    reorder,
    split,
    stall_rq,
    stall_rc,
    link,
    axi_latency,
    axi_reorder,
    axi_stall,
};

// Counts in steps of the golden ratio and scrambles the count (the construction of SplitMix64).
class Random {
public:
    Random(uint64_t seed, Purpose purpose, uint64_t index)
        : state_(scramble(scramble(seed + static_cast<uint64_t>(purpose)) + index)) {}

    uint64_t next() {
        state_ += golden;
        return scramble(state_);
    }

    // 0 to limit - 1; `limit` is at most 2^32. The bias of less than 2^-32 doesn't matter here.
    uint64_t below(uint64_t limit) { return ((next() >> 32) * limit) >> 32; }

    // True in `share` of `of` cases.
    bool chance(uint64_t share, uint64_t of) { return share != 0 && below(of) < share; }

private:
    static constexpr uint64_t golden = 0x9E3779B97F4A7C15;

    static uint64_t scramble(uint64_t value) {
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return value ^ (value >> 31);
    }

    uint64_t state_;
};

}  // namespace tailrace
