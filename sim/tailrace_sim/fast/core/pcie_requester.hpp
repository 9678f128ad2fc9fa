// The integrated block between RQ and host memory, and back to RC: who may ask, which tags are
// under way, sequence numbers, what ends a request.

#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "events.hpp"
#include "pcie_memory.hpp"
#include "pcie_space.hpp"
#include "pcie_tlp.hpp"
#include "pins.hpp"

namespace tailrace {

class Requester {
public:
    Requester(Pins &pins, tr_pcie &settings, Reporter &reporter, uint64_t seed, uint32_t device);

    HostMemory memory;
    // Of each function, for those that have memory of their own.
    std::array<std::unique_ptr<Space>, 8> spaces;

    // Address ranges whose reads Python answers.
    struct Range {
        uint64_t low, high;
    };
    std::vector<Range> faults;

    // A request whose last beat was handed over in this cycle.
    void take(const Request &request, uint64_t cycle);

    // The next completion for RC.
    bool next(Completion &completion);

    // Give up on every read of a function, 255: all.
    void end(uint32_t function, uint32_t code);

    // No request should be taken now.
    bool full() const;

    // A completion that Python made, descriptor first.
    void complete(const uint32_t *dwords, uint32_t count, bool discontinue);

    // At an edge, before it and before requests are taken.
    void sample();
    // Behind the edge: sequence numbers.
    void drive();
    void reset();

private:
    struct Active {
        bool busy = false;
        uint64_t since = 0, address = 0;
        uint32_t length = 0, first_be = 0, last_be = 0;
        uint32_t requester = 0, traffic_class = 0, attributes = 0;
    };

    bool is_well_formed(const Request &request);
    bool is_message(const Request &request) const;
    void count(const Request &request, uint64_t cycle);
    void read(const Request &request, uint32_t requester);
    void write(const Request &request);
    bool is_fault(const Request &request) const;
    void export_dma(uint32_t kind, const Request &request);
    void report(uint32_t kind, const Request &request, uint64_t a, uint64_t b);
    void give_up(uint32_t tag, uint32_t code);
    void release(uint32_t tag);
    void judge(CompletionFields &fields);
    void look_for_timeouts();
    bool masters_bus(uint32_t function) const;
    Space *own(const Request &request) const;

    Pin status_, number_[2], number_valid_[2];
    tr_pcie &settings_;
    Reporter &reporter_;
    Completer completer_;
    std::array<Active, 256> active_;
    std::deque<Completion> immediate_;  // completions that wait for nothing but RC
    std::deque<uint8_t> numbers_;
    size_t numbers_due_ = 0;            // those that may be shown behind this edge
    uint64_t timeout_ = 0, next_look_ = ~uint64_t{0};
};

}  // namespace tailrace
