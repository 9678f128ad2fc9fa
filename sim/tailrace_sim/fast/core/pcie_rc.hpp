// The requester completion interface: TLPs to beats, two TLPs a beat at 512 bits.

#pragma once

#include <cstdint>

#include "events.hpp"
#include "pcie_requester.hpp"
#include "pcie_tlp.hpp"
#include "pins.hpp"
#include "random.hpp"

namespace tailrace {

class RcSource {
public:
    RcSource(Pins &pins, const tr_pcie &settings, Reporter &reporter, Requester &requester,
             uint64_t seed, uint32_t device);

    // At an edge, before it.
    void sample() { taken_ = !valid_.flag() || ready_.flag(); }
    void drive(uint32_t stall);
    void reset();

private:
    bool next();
    void start(uint32_t first);
    void end(uint32_t last);
    void put(uint32_t first, uint32_t lanes);

    Pin valid_, ready_, last_, data_, keep_, user_;
    const tr_pcie &settings_;
    Reporter &reporter_;
    Requester &requester_;
    Random stall_;
    bool wide_;
    bool taken_ = true;
    bool open_ = false;
    uint32_t done_ = 0;                 // dwords of the open TLP that are in beats
    uint32_t starts_ = 0, ends_ = 0;    // in this beat
    Completion completion_;
};

}  // namespace tailrace
