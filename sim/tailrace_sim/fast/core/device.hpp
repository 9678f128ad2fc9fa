// One Verilated device with its clocks and what its pins meet.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "Vdevice.h"
#include "axi_memory.hpp"
#include "events.hpp"
#include "mac_port.hpp"
#include "pcie.hpp"
#include "pins.hpp"
#include "waves.hpp"

namespace tailrace {

// A clock pin, and the BFMs that live in its domain.
struct Clock {
    uint32_t index;  // among the pins
    Pin pin, reset;
    uint64_t period = 0, next = ~uint64_t{0}, cycles = 0;
    Pcie *pcie = nullptr;
    MacPort *port = nullptr;
    std::vector<AxiMemory *> memories;
    bool due = false, in_reset = false;
};

class Device {
public:
    Device(uint32_t index, uint64_t seed, Events &events, const uint64_t &now, bool &urgent,
           uint64_t &deadline);
    ~Device();

    Clock &clock(uint32_t pin);
    void run_clock(uint32_t pin, uint64_t period, uint64_t phase, uint64_t now);
    MacPort *port(uint32_t index);
    AxiMemory *memory(uint32_t index);

    void peek(uint32_t pin, uint32_t *words);
    void poke(uint32_t pin, const uint32_t *words);
    // As soon as the edge is over.
    void poke_later(uint32_t pin, const uint32_t *words);

    // Time of the next rising edge; all ones: no clock runs.
    uint64_t next_edge() const { return next_edge_; }
    // True if an edge of a watched clock is due now.
    bool is_watched(uint64_t now) const;
    // The edges of all clocks that are due now.
    void edge(uint64_t now);
    void open_waves(const char *path, uint64_t from, uint64_t to) {
        waves_.open(*model_, path, from, to);
    }
    void flush_waves() { waves_.flush(); }
    // Pokes that waited for the edge, for a device that had none.
    void settle();

    uint64_t watched = 0;
    std::unique_ptr<Pcie> pcie;

private:
    struct Poke {
        uint32_t pin;
        std::vector<uint32_t> words;
    };

    void add_domains(uint64_t seed, uint32_t index);
    void add_memories(uint64_t seed, uint32_t index);
    void sample(Clock &clock);
    void drive(Clock &clock);
    void evaluate();

    VerilatedContext context_;
    std::unique_ptr<Vdevice> model_;
    Pins pins_;
    Waves waves_;
    Reporter reporter_;
    std::vector<std::unique_ptr<MacPort>> ports_;
    std::vector<std::unique_ptr<AxiMemory>> memories_;
    std::vector<std::unique_ptr<Clock>> clocks_;
    std::vector<Poke> later_;
    uint64_t next_edge_ = ~uint64_t{0};
    bool stale_ = false;  // inputs changed since the last evaluation
};

}  // namespace tailrace
