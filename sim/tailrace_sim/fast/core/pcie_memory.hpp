// Host memory, and how it answers reads: latency, jitter, reordering, splitting.

#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "api.hpp"
#include "pcie_tlp.hpp"
#include "random.hpp"

namespace tailrace {

class HostMemory {
public:
    void attach(uint8_t *data, uint64_t base, uint64_t size, const uint8_t *mapped);

    // True if the function may access these bytes. A TLP never leaves a page.
    bool allows(uint64_t address, uint64_t length, uint32_t function) const;

    const uint8_t *at(uint64_t address) const { return data_ + (address - base_); }
    void write(const Request &request);

private:
    uint8_t *data_ = nullptr;
    const uint8_t *mapped_ = nullptr;
    uint64_t base_ = 0, size_ = 0;
};

// A piece of an answer: descriptor fields and data.
struct Answered {
    CompletionFields fields;
    const uint8_t *data = nullptr;
};

class Completer {
public:
    Completer(const tr_pcie &settings, uint64_t seed, uint32_t device);

    // Answer a read, with the memory as it is now.
    void answer(const Request &request, uint32_t requester, const uint8_t *data, uint64_t now);
    void refuse(const Request &request, uint32_t requester, uint64_t now);

    // The next completion that is due; what it points to is valid until the next call.
    bool next(uint64_t now, Answered &answered);
    void reset();

private:
    struct Answer {
        uint64_t due;
        uint64_t start, end;  // what is still to be sent: whole dwords
        uint64_t origin;      // bus address of data[0]
        uint32_t left;        // byte count
        uint32_t offset;      // of the first enabled byte
        uint32_t split, rcb, limit;
        CompletionFields fields;
        std::array<uint8_t, 4 * max_dwords> data;
    };

    Answer &enqueue(const Request &request, uint32_t requester, uint64_t now);
    size_t choose(uint64_t now);
    uint64_t stop_of(const Answer &answer);

    const tr_pcie &settings_;
    Random latency_, reorder_, split_;
    std::deque<std::unique_ptr<Answer>> answers_;
    std::vector<std::unique_ptr<Answer>> spare_;
    std::unique_ptr<Answer> sent_;  // keeps the data of the last answer's last completion
};

}  // namespace tailrace
