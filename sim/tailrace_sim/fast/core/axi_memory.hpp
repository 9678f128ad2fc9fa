// Memory behind an AXI4 manager of the design (ARM IHI 0022, AXI4): ports `mem<N>__awid` and so on.

#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "axi_channel.hpp"
#include "events.hpp"
#include "pins.hpp"
#include "random.hpp"

namespace tailrace {

class AxiMemory {
public:
    AxiMemory(Pins &pins, Reporter &reporter, uint64_t seed, uint32_t device, uint32_t index);

    tr_axi settings = {.reorder = 1, .outstanding = 16};

    // Addresses that answer with an error.
    struct Range {
        uint64_t low, high;
        uint32_t response;
    };
    std::vector<Range> faults;

    void attach(uint8_t *data, uint64_t base, uint64_t size);

    // At an edge, before it.
    void sample();
    // Behind the edge.
    void drive();
    void reset();

private:
    // Beats of a write in front of, or behind, the address they belong to.
    struct Data {
        std::vector<uint8_t> bytes, strobes;
        uint32_t beats = 0;
        bool complete = false;
    };
    struct Write {
        AxiBurst burst;
        uint64_t due;
        std::unique_ptr<Data> data;
    };
    struct Read {
        AxiBurst burst;
        uint64_t due;
        uint32_t done;
    };

    void take_data();
    void match();
    void check_strobes(const AxiBurst &burst, const Data &data);
    uint32_t store(const Write &write);
    uint32_t response_at(uint64_t address, uint32_t bytes) const;
    void offer_response();
    void offer_data();
    template <typename Burst>
    size_t choose(const std::deque<Burst> &bursts, Random &random);
    uint64_t due();
    void broken(const std::string &text) { reporter_.broken(name_ + ": " + text); }

    std::string name_;
    AxiAddress aw_, ar_;
    AxiInput w_;
    Pin wdata_, wstrb_, wlast_;
    Pin bid_, bresp_, bvalid_, bready_;
    Pin rid_, rdata_, rresp_, rlast_, rvalid_, rready_;
    Reporter &reporter_;
    Random latency_, reorder_;
    std::array<Random, 5> stalls_;
    uint32_t lanes_;
    uint8_t *memory_ = nullptr;
    uint64_t base_ = 0, size_ = 0;

    std::deque<AxiBurst> addresses_;           // whose data is not complete
    std::deque<std::unique_ptr<Data>> data_;   // in the order of the addresses
    std::vector<std::unique_ptr<Data>> spare_;
    std::deque<Write> writes_;                 // that wait for their response
    std::deque<Read> reads_;
    size_t reading_ = none;                    // the read that goes on with the next beat
    bool was_valid_in_reset_ = false;

    static constexpr size_t none = ~size_t{0};
};

}  // namespace tailrace
