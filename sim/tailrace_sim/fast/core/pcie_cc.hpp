// The completer completion interface: beats to completions for Python. One TLP a beat.

#pragma once

#include <array>
#include <cstdint>

#include "events.hpp"
#include "pcie_tlp.hpp"
#include "pins.hpp"

namespace tailrace {

class CcSink {
public:
    CcSink(Pins &pins, Reporter &reporter);

    // At an edge, before it.
    void sample() {
        if (valid_.flag() && ready_.flag()) {
            take();
        }
    }
    void drive() { ready_.flag(true); }
    void reset();

private:
    void take();

    Pin valid_, ready_, last_, data_, keep_, user_;
    Reporter &reporter_;
    bool wide_;
    bool discontinue_ = false;
    uint32_t count_ = 0;
    std::array<uint32_t, completion_header + max_dwords> dwords_;
};

}  // namespace tailrace
