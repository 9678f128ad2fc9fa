// Channels of an AXI4 manager as the subordinate sees them: handshakes, addresses, and their rules.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "events.hpp"
#include "pins.hpp"

namespace tailrace {

enum AxiBurstType : uint32_t { fixed_burst = 0, incr_burst = 1, wrap_burst = 2 };
enum AxiResponse : uint32_t { axi_okay = 0, axi_slverr = 2, axi_decerr = 3 };

// What an address channel asks for (IHI 0022, "Address structure").
struct AxiBurst {
    uint64_t address = 0;
    uint32_t id = 0, beats = 1, bytes = 1, type = incr_burst;  // bytes: of a beat

    // Address of a beat; all but the first are aligned to their size.
    uint64_t beat(uint32_t index) const {
        const uint64_t aligned = address & ~uint64_t{bytes - 1};
        if (index == 0 || type == fixed_burst) {
            return address;
        }
        if (type == incr_burst) {
            return aligned + uint64_t{index} * bytes;
        }
        const uint64_t size = uint64_t{beats} * bytes, low = address & ~(size - 1);
        return low + ((aligned - low + uint64_t{index} * bytes) & (size - 1));
    }

    // Bytes of the memory that a beat holds, from its address on.
    uint32_t bytes_of(uint32_t index) const {
        return bytes - static_cast<uint32_t>(beat(index) & (bytes - 1));
    }
};

// A channel into the subordinate: what is offered stays until it is taken (IHI 0022, "Handshake
// process").
class AxiInput {
public:
    AxiInput(Pins &pins, Reporter &reporter, const std::string &port, const std::string &channel,
             std::vector<Pin> payload);

    // At an edge, before it: true if something is handed over.
    bool sample();
    void ready(bool value) const { ready_.flag(value); }
    bool valid() const { return valid_.flag(); }
    void reset();

private:
    void remember();
    bool changed() const;

    Pin valid_, ready_;
    std::vector<Pin> payload_;
    Reporter &reporter_;
    std::string name_;
    std::vector<uint8_t> last_;  // what was offered and not taken
    bool waits_ = false;
};

// AW or AR.
class AxiAddress {
public:
    AxiAddress(Pins &pins, Reporter &reporter, const std::string &port, const std::string &channel,
               uint32_t lanes);

    // At an edge, before it: true if a burst is handed over; it is then sound, whatever was asked.
    bool sample(AxiBurst &burst);
    void ready(bool value) const { input_.ready(value); }
    bool valid() const { return input_.valid(); }
    void reset() { input_.reset(); }

private:
    const char *mistake(const AxiBurst &burst, uint32_t size) const;

    Pin id_, address_, length_, size_, burst_;
    AxiInput input_;
    Reporter &reporter_;
    std::string name_;
    uint32_t lanes_;
};

}  // namespace tailrace
