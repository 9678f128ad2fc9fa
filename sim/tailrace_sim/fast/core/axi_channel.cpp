#include "axi_channel.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace tailrace {

constexpr uint64_t boundary = 4096;

static uint64_t value_of(const Pin &pin) {
    uint64_t value = 0;
    std::memcpy(&value, pin.bytes(), std::min<uint32_t>(pin.size(), sizeof value));
    return value;
}

AxiInput::AxiInput(Pins &pins, Reporter &reporter, const std::string &port,
                   const std::string &channel, std::vector<Pin> payload)
    : valid_(pins.find(port + "__" + channel + "valid")),
      ready_(pins.find(port + "__" + channel + "ready")), payload_(std::move(payload)),
      reporter_(reporter), name_(port + ": " + channel) {
    size_t size = 0;
    for (const Pin &pin : payload_) {
        size += pin.size();
    }
    last_.resize(size);
}

void AxiInput::remember() {
    size_t place = 0;
    for (const Pin &pin : payload_) {
        std::memcpy(last_.data() + place, pin.bytes(), pin.size());
        place += pin.size();
    }
}

bool AxiInput::changed() const {
    size_t place = 0;
    for (const Pin &pin : payload_) {
        if (std::memcmp(last_.data() + place, pin.bytes(), pin.size()) != 0) {
            return true;
        }
        place += pin.size();
    }
    return false;
}

bool AxiInput::sample() {
    const bool valid = valid_.flag();
    if (waits_ && !valid) {
        reporter_.broken(name_ + "valid falls before the transfer is taken");
    } else if (waits_ && changed()) {
        reporter_.broken(name_ + ": what is offered changes before it is taken");
    }
    waits_ = valid && !ready_.flag();
    if (waits_) {
        remember();
    }
    return valid && !waits_;
}

void AxiInput::reset() {
    ready_.flag(false);
    waits_ = false;
}

AxiAddress::AxiAddress(Pins &pins, Reporter &reporter, const std::string &port,
                       const std::string &channel, uint32_t lanes)
    : id_(pins.find(port + "__" + channel + "id")),
      address_(pins.find(port + "__" + channel + "addr")),
      length_(pins.find(port + "__" + channel + "len")),
      size_(pins.find(port + "__" + channel + "size")),
      burst_(pins.find(port + "__" + channel + "burst")),
      input_(pins, reporter, port, channel, {id_, address_, length_, size_, burst_}),
      reporter_(reporter), name_(port + ": " + channel), lanes_(lanes) {}

const char *AxiAddress::mistake(const AxiBurst &burst, uint32_t size) const {
    const uint64_t aligned = burst.address & ~uint64_t{burst.bytes - 1};
    if ((1u << size) > lanes_) {
        return "size: a beat is wider than the bus";
    }
    if (burst.type > wrap_burst) {
        return "burst: a reserved type";
    }
    if (burst.type == incr_burst &&
        aligned % boundary + uint64_t{burst.beats} * burst.bytes > boundary) {
        return "addr: a burst crosses a 4 KiB boundary";
    }
    if (burst.type == fixed_burst && burst.beats > 16) {
        return "len: a FIXED burst of more than 16 beats";
    }
    if (burst.type == wrap_burst && burst.beats != 2 && burst.beats != 4 && burst.beats != 8 &&
        burst.beats != 16) {
        return "len: a WRAP burst of other than 2, 4, 8 or 16 beats";
    }
    if (burst.type == wrap_burst && aligned != burst.address) {
        return "addr: a WRAP burst that is not aligned to its beats";
    }
    return nullptr;
}

bool AxiAddress::sample(AxiBurst &burst) {
    if (!input_.sample()) {
        return false;
    }
    const auto size = static_cast<uint32_t>(value_of(size_));
    burst.id = static_cast<uint32_t>(value_of(id_));
    burst.address = value_of(address_);
    burst.beats = static_cast<uint32_t>(value_of(length_)) + 1;
    burst.bytes = std::min(1u << size, lanes_);
    burst.type = static_cast<uint32_t>(value_of(burst_));
    if (const char *wrong = mistake(burst, size)) {
        reporter_.broken(name_ + wrong);
        // It is answered all the same, beat by beat.
        burst.type = burst.type == fixed_burst ? fixed_burst : incr_burst;
    }
    return true;
}

}  // namespace tailrace
